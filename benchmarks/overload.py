"""How does the service behave at its capacity, and at up to ten times as much?

    .venv/bin/python -m benchmarks.overload [--model demo] [--seconds 10] [--capacity 16]

Starts the service on loopback, measures how many images a second it holds (8 clients, one request each at a time),
and then sends uploads of drawn scenes at up to 10 times that rate, whether or not it keeps up, each on a
connection of its own; at last 2,000 requests from 200 clients of which 30 % hang up early ("clients"). Meanwhile
a process of its own asks for /health and /ready, up to 20 times a second each. Prints a table in milliseconds,
and as its last line JSON with the same figures and `worst_health_p99_ms`. p50 and p99 are those of captions alone:
a refusal takes less. `lost` are requests that got neither a caption nor a 503.
"""

import argparse
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.serve import HEADERS, PORT, load, pictures, wait_until_ready
from config.values import CHECKOUT

FACTORS = (0.5, 1, 2, 4, 7, 10)
CLIENTS = 200
REQUESTS_EACH = 10
LEAVING = 0.3
MOST_AT_ONCE = 400  # more than the service lets wait
TIMEOUT_S = 120
LOOKS_PER_S = 20
SEED = 31_505

Answer = tuple[int, float]  # status (0: none came; -1: the client left), seconds


def ask(path: str, picture: bytes | None = None, leaves_after_s: float | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT_S)
    started = time.perf_counter()
    try:
        if picture:
            connection.request("POST", path, picture, HEADERS)
        else:
            connection.request("GET", path)
        if leaves_after_s is not None:
            time.sleep(leaves_after_s)
            return -1, 0.0
        response = connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - started
    except (OSError, http.client.HTTPException):
        return 0, 0.0
    finally:
        connection.close()


def watch() -> None:
    """Ask for /health and /ready until the standard input ends; print the milliseconds that each took."""
    done = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    print("begun", flush=True)
    taken: dict[str, list[float]] = {"/health": [], "/ready": []}
    while not done.wait(1 / LOOKS_PER_S):
        for path, milliseconds in taken.items():
            status, seconds = ask(path)
            # /ready is 503 while the queue is full
            milliseconds.append(1e3 * seconds if status in {200, 503} else 1e3 * TIMEOUT_S)
    print(json.dumps(taken))


def watched(run: Callable[[], list[Answer]]) -> dict[str, float]:
    """The figures of one line of the table."""
    command = [sys.executable, "-m", "benchmarks.overload", "--watch"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout
        watcher.stdout.readline()  # it has begun
        began = time.perf_counter()
        answers = run()
        seconds = time.perf_counter() - began
        looks = json.loads(watcher.communicate()[0])
    captions = [1e3 * taken for status, taken in answers if status == 200]
    return {
        "offered_per_s": round(len(answers) / seconds, 1),
        "images_per_s": round(len(captions) / seconds, 1),
        "captions": len(captions),
        "refused": sum(status == 503 for status, _ in answers),
        "left": sum(status == -1 for status, _ in answers),
        "lost": sum(status not in {-1, 200, 503} for status, _ in answers),
        "p50_ms": percentile(captions, 50),
        "p99_ms": percentile(captions, 99),
        "health_p50_ms": percentile(looks["/health"], 50),
        "health_p99_ms": percentile(looks["/health"], 99),
        "ready_p99_ms": percentile(looks["/ready"], 99),
    }


def percentile(values: Sequence[float], share: int) -> float:
    if len(values) < 2:
        return round(sum(values), 1)
    return round(statistics.quantiles(values, n=100, method="inclusive")[share - 1], 1)


def at_rate(files: list[bytes], per_s: float, seconds: float) -> list[Answer]:
    """So many requests a second, however many of them still wait."""
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        asked = []
        began = time.perf_counter()
        for number in range(round(per_s * seconds)):
            time.sleep(max(0.0, began + number / per_s - time.perf_counter()))
            asked.append(pool.submit(ask, "/v3/analyze", files[number % len(files)]))
        return [one.result() for one in asked]


def of_clients_that_leave(files: list[bytes]) -> list[Answer]:
    def client(number: int) -> list[Answer]:
        chance = random.Random(SEED + number)
        return [
            ask("/v3/analyze", chance.choice(files), chance.uniform(0, 0.3) if chance.random() < LEAVING else None)
            for _ in range(REQUESTS_EACH)
        ]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [answer for mine in pool.map(client, range(CLIENTS)) for answer in mine]


def measure(model: str, seconds: float, capacity: int) -> dict[str, Any]:
    settings = {"MODEL": model, "PORT": str(PORT), "PRIVATE": "true", "LOG_LEVEL": "error"}
    settings |= {"QUEUE_CAPACITY": str(capacity)}
    files = pictures()
    process = subprocess.Popen([sys.executable, str(CHECKOUT / "REST.py")], env={**os.environ, **settings})
    try:
        wait_until_ready()
        load(files, 1, 1.0)  # warms up
        holds = load(files, 8, seconds)["images_per_s"]
        lines: dict[str, Any] = {}
        for factor in FACTORS:
            lines[f"{factor:g}x"] = watched(partial(at_rate, files, factor * holds, seconds))
        lines["clients"] = watched(partial(of_clients_that_leave, files))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    worst = max(line["health_p99_ms"] for line in lines.values())
    told = {"model": model, "capacity": capacity, "holds_images_per_s": round(holds, 1)}
    return {**told, "load": lines, "worst_health_p99_ms": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description="The service at its capacity, and at up to ten times as much.")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--capacity", type=int, default=16, help="places in the queue")
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.watch:
        watch()
        return
    result = measure(args.model, args.seconds, args.capacity)
    holds = f"{args.capacity} places, holds {result['holds_images_per_s']} images/s"
    print(f"{args.model}, {os.cpu_count()} CPUs, {holds}")
    first = next(iter(result["load"].values()))
    print(f"{'load':>8}" + "".join(f"{name.removesuffix('_ms').replace('_per_s', '/s'):>13}" for name in first))
    for name, line in result["load"].items():
        print(f"{name:>8}" + "".join(f"{value:13}" for value in line.values()))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
