"""What does HTTP cost, and what does the service hold?

    .venv/bin/python -m benchmarks.serve [--model demo] [--seconds 10] [--rounds 2]

Starts the service on loopback and sends it uploads of drawn scenes (PNG, 384 px) by 1, 8 and 32 clients, each on
a connection that stays open and with one request at a time; before that, in each round, times the same work in a
process of its own: a picture decoded and captioned alone, and the best throughput of batches of 1 to 16. Models
other than `demo` are taken at full size with random weights. Prints p50 and p99 in milliseconds and, as its last
line, JSON: `clients`, `overhead_ms` (p50 of one client less p50 in-process) and `share_at_32` (images a second of
32 clients over the best in-process). `around_ms` is the median of a request's time less what its own picture took
to be decoded and captioned, as the answer says (Server-Timing): for one client the overhead too, and not changed
by a machine that drifts between the two measurements.
"""

import argparse
import http.client
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import full_size
from config.values import CHECKOUT

PORT = 7793
CLIENTS = (1, 8, 32)
FIGURES = ("p50_ms", "p99_ms", "images_per_s", "around_ms")
PICTURES = 16
SEED = 31_504
START_S = 240
HEADERS = {"Content-Type": "image/png"}

IN_PROCESS = """
import io, json, statistics, sys, time
from services.captioning.engines import load_captioner
from services.images.decode import decode
from benchmarks.serve import pictures
captioner = load_captioner(sys.argv[1], "auto", "auto", "auto", lambda progress: None)
files, seconds = pictures(), float(sys.argv[2])
def prepared(file):
    return captioner.prepare(decode(file, max_pixels=50_000_000))
captioner.caption([prepared(files[0])], None)
times, until = [], time.perf_counter() + seconds
while time.perf_counter() < until or len(times) < 3:
    started = time.perf_counter()
    captioner.caption([prepared(files[len(times) % len(files)])], None)
    times.append(time.perf_counter() - started)
rates = {}
for size in (1, 2, 4, 8, 16):
    batch, runs, started = [prepared(file) for file in files[:size]], 0, time.perf_counter()
    while time.perf_counter() - started < seconds / 4 or not runs:
        captioner.caption(batch, None)
        runs += 1
    rates[size] = size * runs / (time.perf_counter() - started)
print(json.dumps({"p50_ms": 1e3 * statistics.median(times), "images_per_s": rates}))
"""


def pictures() -> list[bytes]:
    from training.scenes import draw_scene

    files = []
    for index in range(PICTURES):
        file = io.BytesIO()
        draw_scene(SEED, index, 384).picture.save(file, "PNG")
        files.append(file.getvalue())
    return files


Asked = tuple[float, float]  # seconds of a request; of these, while its picture was neither decoded nor captioned


def ask(files: list[bytes], until: float, asked: list[Asked]) -> None:
    """Send one picture after another until the time has come."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
    while time.perf_counter() < until or not asked:
        started = time.perf_counter()
        connection.request("POST", "/v3/analyze", files[len(asked) % len(files)], HEADERS)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {body[:200]!r}")
        seconds = time.perf_counter() - started
        stages = dict(re.findall(r"(\w+);dur=([0-9.]+)", response.headers["Server-Timing"]))
        asked.append((seconds, seconds - (float(stages["decode"]) + float(stages["caption"])) / 1e3))
    connection.close()


def load(files: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    times: list[list[Asked]] = [[] for _ in range(clients)]
    started = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(files, started + seconds, mine)) for mine in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - started
    every = sorted(seconds for mine in times for seconds, _ in mine)
    around = [seconds for mine in times for _, seconds in mine]
    if not all(times):
        raise RuntimeError("some client got no answer")
    p99 = every[min(len(every) - 1, round(0.99 * len(every)))]
    rate = len(every) / taken
    figures = {"p50_ms": 1e3 * statistics.median(every), "p99_ms": 1e3 * p99, "images_per_s": rate}
    return figures | {"around_ms": 1e3 * statistics.median(around)}


def wait_until_ready() -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    raise RuntimeError("the service never became ready")


def served(model: str, seconds: float, environment: dict[str, str]) -> dict[int, dict[str, float]]:
    settings = {"MODEL": model, "PORT": str(PORT), "PRIVATE": "true", "MAX_BATCH": "16", "LOG_LEVEL": "error"}
    files = pictures()
    process = subprocess.Popen([sys.executable, str(CHECKOUT / "REST.py")], env=environment | settings)
    try:
        wait_until_ready()
        load(files, 1, 1.0)  # warms up
        return {clients: load(files, clients, seconds) for clients in CLIENTS}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def in_process(model: str, seconds: float, environment: dict[str, str]) -> Any:
    command = [sys.executable, "-W", "ignore", "-c", IN_PROCESS, model, str(seconds)]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="What HTTP costs, and what the service holds.")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if args.model != "demo":
            environment |= full_size.environment(Path(folder))
            write = [sys.executable, "-W", "ignore", "-m", "benchmarks.full_size", folder, args.model]
            subprocess.run(write, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        alone, http_load = [], []
        for _ in range(args.rounds):
            alone.append(in_process(args.model, args.seconds, environment))
            http_load.append(served(args.model, args.seconds, environment))
    best = max(rate for one in alone for rate in one["images_per_s"].values())
    by_clients = {
        clients: {name: round(statistics.median(one[clients][name] for one in http_load), 2) for name in FIGURES}
        for clients in CLIENTS
    }
    p50_ms = statistics.median(one["p50_ms"] for one in alone)
    print(f"{args.model}, {os.cpu_count()} CPUs, medians of {args.rounds} rounds; in-process p50 {p50_ms:.1f} ms,")
    print(f"best throughput in-process {best:.1f} images/s")
    print(f"{'clients':>8}{'p50 ms':>10}{'p99 ms':>10}{'images/s':>10}{'around ms':>11}")
    for clients, figures in by_clients.items():
        row = "".join(f"{figures[name]:10.1f}" for name in FIGURES)
        print(f"{clients:>8}{row}")
    result = {"model": args.model, "clients": by_clients, "in_process_p50_ms": round(p50_ms, 2)}
    result |= {"overhead_ms": round(by_clients[1]["p50_ms"] - p50_ms, 2), "best_images_per_s": round(best, 2)}
    print(json.dumps(result | {"share_at_32": round(by_clients[32]["images_per_s"] / best, 3)}))


if __name__ == "__main__":
    main()
