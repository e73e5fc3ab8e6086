"""How long does the caption of one image take: LAVIS, a current transformers, and the fast path?

    .venv/bin/python -m benchmarks.one_image [--runs 3] [--rounds 3] [--threads N]

`blip_caption/large_coco` at full size with random weights, 3 beams, on the CPU; each engine in a process of its
own, one after the other, several rounds, so that a drift of the machine meets all. `fixed` has 20 tokens at least
and at most, which are 16 steps after the prompt; `defaults` are LAVIS's, up to 30 tokens. Then the encoder's share
of the machine's rate (benchmarks.encoder). Prints the medians in seconds, the fastest of each, which a shared
machine disturbs least, and, as its last line, JSON: the medians `lavis_s`, `transformers_s`, `fp32_s` and `int8_s`
for `fixed`, the same under `defaults`, both under `fastest`, `encoder_peak_share` and `batch8_peak_share`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import full_size, transformers_reference
from config.values import CHECKOUT

MODEL = full_size.DEFAULT_MODEL
OURS = {"lavis_s": ("lavis", "auto"), "fp32_s": ("auto", "fp32"), "int8_s": ("auto", "int8")}
KEYS = ("lavis_s", "transformers_s", "fp32_s", "int8_s")
LENGTHS = ("fixed", "defaults")
Times = dict[str, dict[str, list[float]]]  # key -> lengths -> seconds of each caption

TIMED = """
import json, sys, time
import torch
from services.captioning.captioner import DecodingOptions
from services.captioning.engines import load_captioner
from training.scenes import draw_scene
model, engine, precision, runs, threads = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(threads)
captioner = load_captioner(model, engine, "cpu", precision, lambda progress: None)
picture = captioner.prepare(draw_scene(31_501, 0, 384).picture)
def seconds(options):
    started = time.perf_counter()
    captioner.caption([picture], options)
    return time.perf_counter() - started
asked = {"fixed": DecodingOptions(min_length=20, max_length=20), "defaults": DecodingOptions()}
seconds(asked["fixed"])  # warms caches, and maps the weights in
print(json.dumps({name: [seconds(options) for _ in range(runs)] for name, options in asked.items()}))
"""


def time_engine(key: str, runs: int, threads: int, environment: dict[str, str]) -> dict[str, list[float]]:
    """Seconds of each run, for `fixed` and for `defaults`."""
    if key == "transformers_s":
        script = str(CHECKOUT / "benchmarks" / "transformers_reference.py")
        command = [transformers_reference.python_of_its_own(), "-W", "ignore", script, str(runs), str(threads)]
    else:
        command = [sys.executable, "-W", "ignore", "-c", TIMED, MODEL, *OURS[key], str(runs), str(threads)]
    times: dict[str, list[float]] = last_line(command, environment)
    return times


def last_line(command: list[str], environment: dict[str, str]) -> dict[str, list[float]]:
    done = subprocess.run(
        command, cwd=CHECKOUT, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the caption of one image.")
    parser.add_argument("--runs", type=int, default=3, help="of each engine in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    times: Times = {key: {lengths: [] for lengths in LENGTHS} for key in KEYS}
    with tempfile.TemporaryDirectory() as folder:
        environment = full_size.environment(Path(folder))
        write = [sys.executable, "-W", "ignore", "-m", "benchmarks.full_size", folder, MODEL]
        subprocess.run(write, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        for _ in range(args.rounds):
            for key in KEYS:
                for lengths, seconds in time_engine(key, args.runs, args.threads, environment).items():
                    times[key][lengths] += seconds
    shares = last_line([sys.executable, "-m", "benchmarks.encoder", "--threads", str(args.threads)], {})
    print(f"{MODEL}, {args.threads} threads, 3 beams, of {args.rounds * args.runs} captions; seconds")
    medians = print_and_return("median", statistics.median, times)
    fastest = print_and_return("fastest", min, times)
    print("(LAVIS's time divided by them)")
    settings = {"model": MODEL, "threads": args.threads, "min_length": 20, "max_length": 20, "num_beams": 3}
    answer = {**medians["fixed"], "defaults": medians["defaults"], "fastest": fastest, **shares, **settings}
    print(json.dumps(answer))


def print_and_return(name: str, pick: Callable[[list[float]], float], times: Times) -> dict[str, dict[str, float]]:
    """One figure of each engine's times, by lengths."""
    print(f"{name:<12}" + "".join(f"{key.removesuffix('_s'):>20}" for key in KEYS))
    picked = {}
    for lengths in LENGTHS:
        by_key = picked[lengths] = {key: round(pick(times[key][lengths]), 3) for key in KEYS}
        cells = [f"{seconds:.2f} ({by_key['lavis_s'] / seconds:.2f})" for seconds in by_key.values()]
        print(f"{lengths:<12}" + "".join(f"{cell:>20}" for cell in cells))
    return picked


if __name__ == "__main__":
    main()
