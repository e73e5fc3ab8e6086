"""How long after `python REST.py` comes the first caption, and where does the time go?

    .venv/bin/python -m benchmarks.startup [--runs 5]

Starts the service on the demonstration model with each engine (a warm page cache from the second run on; the first
is not counted) and, beside it, times the stages of loading in fresh processes. Prints medians in seconds, the last
line as JSON.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from functools import partial

from config.values import CHECKOUT

PORT = 7791
POLL_S = 0.01
GIVE_UP_S = 180
ENGINES = ("auto", "lavis")  # the fast path, and LAVIS itself
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine needs no proxy
EXAMPLES = CHECKOUT / "examples"

# what a device's thread does, one stage after another
STAGES = """
import time, json, sys
times, last = {}, time.perf_counter()
def stage(name):
    global last
    times[name], last = time.perf_counter() - last, time.perf_counter()
import torch
stage("import_torch")
from services.captioning.engines import load_captioner
captioner = load_captioner("demo", sys.argv[1], "cpu", "auto", lambda progress: None)
stage("load_model")
from PIL import Image
with Image.open(sys.argv[2]) as picture:
    captioner.caption([captioner.prepare(picture.convert("RGB"))], None)
stage("first_caption")
print(json.dumps(times))
"""


def time_service(engine: str, picture: str) -> dict[str, float]:
    """Seconds from the start of the process to: the port answers, the model is loaded, the first caption."""
    environment = {**os.environ, "MODEL": "demo", "DEVICE": "cpu", "PORT": str(PORT), "LOG_LEVEL": "error"}
    environment |= {"IMAGE_ROOTS": str(EXAMPLES), "ENGINE": engine}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(CHECKOUT / "REST.py")], env=environment)
    times: dict[str, float] = {}
    try:
        while time.perf_counter() - started < GIVE_UP_S:
            try:
                status = ask("/health")["model_status"]
            except OSError:
                time.sleep(POLL_S)
                continue
            times.setdefault("port_answers", time.perf_counter() - started)
            if status == "loaded":
                times["model_loaded"] = time.perf_counter() - started
                ask(f"/v3/analyze?file={picture}")
                times["first_caption"] = time.perf_counter() - started
                return times
            time.sleep(POLL_S)
        raise RuntimeError("the service never had its model")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def ask(path: str) -> dict[str, str]:
    with DIRECT.open(f"http://127.0.0.1:{PORT}{path}", timeout=60) as response:
        answer: dict[str, str] = json.load(response)
    return answer


def time_stages(engine: str, picture: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-c", STAGES, engine, picture]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time from the start to the first caption.")
    parser.add_argument("--runs", type=int, default=5)
    count = parser.parse_args().runs
    first = json.loads((EXAMPLES / "captions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    picture = str(EXAMPLES / first["file"])
    results: dict[str, dict[str, dict[str, float]]] = {}
    for engine in ENGINES:
        service, stages = partial(time_service, engine, picture), partial(time_stages, engine, picture)
        results[engine] = {
            name: medians([measure() for _ in range(count + 1)][1:])
            for name, measure in (("service", service), ("stages", stages))
        }
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, medians of {count} runs, seconds")
    titles = {"service": "from `python REST.py` until", "stages": "stages of loading, one after another"}
    for part, title in titles.items():
        print(f"{title:<40}" + "".join(f"{engine:>8}" for engine in ENGINES))
        for name in results["auto"][part]:
            print(f"  {name:<38}" + "".join(f"{results[engine][part][name]:8.2f}" for engine in ENGINES))
    print(json.dumps(results | {"runs": count}))


if __name__ == "__main__":
    main()
