"""Do two models side by side keep their captions apart, and does an unused one give its memory back?

    .venv/bin/python -m benchmarks.two_models [--seconds 600] [--idle 5] [--model blip_caption/base_coco]

Starts the service on `demo` and on another model (full size, random weights), each of which is unloaded after
`--idle` seconds without a request. First each model captions each picture alone; with that all later captions are
compared. Then two clients go on, one on each model, with one request at a time; again and again the first, the
second or both of them rest, until their models should be gone. Prints what came, and how large the process was
when both models were loaded and when none was; the last line is JSON. Ends with status 1 if a caption was another
one, a request failed, or a model was not unloaded.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import full_size
from benchmarks.serve import HEADERS, pictures
from config.values import CHECKOUT

PORT = 7795
DEFAULT_MODEL = "blip_caption/base_coco"
PICTURES = 6
START_S = 600
ANSWER_S = 300  # of which the service takes 120 at most: a request without an answer by then is a deadlock
BUSY_S = 15
MARGIN_S = 4  # after `--idle`, for what runs and for the memory
RESTS = ((0,), (1,), (0, 1))  # which of the two clients rest, in turn


@dataclass
class Client:
    model: str
    said: list[str] = field(default_factory=list)  # of each picture, alone
    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def ask(self, file: bytes) -> str:
        started = time.perf_counter()
        status, answer = request("POST", f"/v3/analyze?model={self.model}", file, HEADERS)
        self.seconds.append(time.perf_counter() - started)
        return str(answer["predictions"][0]["text"] if status == 200 else answer)

    def go_on(self, files: list[bytes], until: float) -> None:
        while time.monotonic() < until:
            index = len(self.seconds) % len(files)
            try:
                text = self.ask(files[index])
            except OSError as exc:
                text = repr(exc)
            if text != self.said[index]:
                self.faults.append(f"{self.model}, picture {index}: {text!r}, not {self.said[index]!r}")


def request(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=ANSWER_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.load(response)
    finally:
        connection.close()


def statuses() -> list[str]:
    """Of the two models; empty while nobody answers."""
    try:
        return list(request("GET", "/health")[1]["models"].values())
    except OSError:
        return []


def resident_mb(master: int) -> float:
    """Of gunicorn's worker, which holds the models."""
    worker = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()[0]
    lines = Path(f"/proc/{worker}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


def run(clients: tuple[Client, Client], seconds: float, idle_s: float, master: int) -> dict[str, Any]:
    files = pictures()[:PICTURES]
    until = time.monotonic() + START_S
    while statuses() != ["loaded", "loaded"] and time.monotonic() < until:
        time.sleep(0.2)
    for client in clients:
        client.said = [client.ask(file) for file in files]
        client.seconds.clear()
    loaded, idle, stayed, rounds = [], [], 0, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until or rounds % len(RESTS):
        resting = RESTS[rounds % len(RESTS)]
        together = time.monotonic() + BUSY_S
        ends = [together if i in resting else together + idle_s + MARGIN_S for i in range(2)]
        threads = [
            threading.Thread(target=client.go_on, args=(files, end))
            for client, end in zip(clients, ends, strict=True)
        ]
        for thread in threads:
            thread.start()
        for i in resting:
            threads[i].join()
        if statuses() == ["loaded", "loaded"]:
            loaded.append(resident_mb(master))
        time.sleep(idle_s + MARGIN_S)
        now = statuses()
        stayed += sum(now[i] != "idle" for i in resting)
        if now == ["idle", "idle"]:
            idle.append(resident_mb(master))
        for thread in threads:
            thread.join()
        rounds += 1
    return {"rounds": rounds, "not_unloaded": stayed, "loaded_mb": loaded, "idle_mb": idle}


def main() -> None:
    parser = argparse.ArgumentParser(description="Two models side by side, unloaded when idle.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--idle", type=float, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the second one")
    args = parser.parse_args()
    clients = Client("demo"), Client(args.model)
    with tempfile.TemporaryDirectory() as folder:
        write = [sys.executable, "-W", "ignore", "-m", "benchmarks.full_size", folder, args.model]
        subprocess.run(write, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        settings = {"MODEL": "", "MODELS": f"demo,{args.model}", "MODEL_IDLE_SECONDS": f"{args.idle:g}"}
        settings |= {"DEVICE": "cpu", "PORT": str(PORT), "PRIVATE": "true", "LOG_LEVEL": "error"}
        environment = {**os.environ, **full_size.environment(Path(folder)), **settings}
        process = subprocess.Popen([sys.executable, str(CHECKOUT / "REST.py")], env=environment)
        try:
            result = run(clients, args.seconds, args.idle, process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    faults = [fault for client in clients for fault in client.faults]
    print(*faults[:10], sep="\n")
    for client in clients:
        middle, most = statistics.median(client.seconds), max(client.seconds)
        print(f"{client.model:<24}{len(client.seconds):>7} captions, median {middle:.2f} s, slowest {most:.2f} s")
    for key in ("loaded_mb", "idle_mb"):
        print(f"{key:<24}" + " ".join(f"{size:.0f}" for size in result[key]))
    counts = {client.model: len(client.seconds) for client in clients}
    print(json.dumps({"seconds": args.seconds, "captions": counts, "wrong": len(faults), **result}))
    sys.exit(bool(faults or result["not_unloaded"]))


if __name__ == "__main__":
    main()
