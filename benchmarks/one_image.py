"""How long does the caption of one image take: LAVIS, and the fast path?

    .venv/bin/python -m benchmarks.one_image [--model blip_caption/large_coco] [--runs 3] [--threads N]

At full size with random weights, 3 beams, fp32, on the CPU; each engine in a process of its own, one after the
other, three times round, so that a drift of the machine meets both. `fixed` has 20 tokens at least and at most,
which are 16 steps after the prompt; `defaults` are LAVIS's, up to 30 tokens. Prints medians in seconds and, as its
last line, JSON: `lavis_s`, `fp32_s` and their ratio for `fixed`, the same under `defaults`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import full_size
from config.values import CHECKOUT

ENGINES = {"lavis_s": "lavis", "fp32_s": "auto"}
ROUNDS = 3

TIMED = """
import json, sys, time
import torch
from services.captioning.captioner import DecodingOptions
from services.captioning.engines import load_captioner
from training.scenes import draw_scene
model, engine, runs, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
captioner = load_captioner(model, engine, "cpu", lambda progress: None)
picture = captioner.prepare(draw_scene(31_501, 0, 384).picture)
def seconds(options):
    started = time.perf_counter()
    captioner.caption([picture], options)
    return time.perf_counter() - started
asked = {"fixed": DecodingOptions(min_length=20, max_length=20), "defaults": DecodingOptions()}
seconds(asked["fixed"])  # warms caches, and maps the weights in
print(json.dumps({name: [seconds(options) for _ in range(runs)] for name, options in asked.items()}))
"""


def time_engine(
    engine: str, model: str, runs: int, threads: int, environment: dict[str, str]
) -> dict[str, list[float]]:
    """Seconds of each run, for `fixed` and for `defaults`."""
    command = [sys.executable, "-W", "ignore", "-c", TIMED, model, engine, str(runs), str(threads)]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    times: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the caption of one image.")
    parser.add_argument("--model", default=full_size.DEFAULT_MODEL)
    parser.add_argument("--runs", type=int, default=3, help="of each engine in each of three rounds")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    times: dict[str, dict[str, list[float]]] = {key: {"fixed": [], "defaults": []} for key in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        environment = full_size.environment(Path(folder))
        write = [sys.executable, "-W", "ignore", "-m", "benchmarks.full_size", folder, args.model]
        subprocess.run(write, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        for _ in range(ROUNDS):
            for key, engine in ENGINES.items():
                measured = time_engine(engine, args.model, args.runs, args.threads, environment)
                for lengths, seconds in measured.items():
                    times[key][lengths] += seconds
    medians = {
        lengths: {key: round(statistics.median(times[key][lengths]), 3) for key in ENGINES}
        for lengths in ("fixed", "defaults")
    }
    print(
        f"{args.model}, {args.threads} threads, fp32, 3 beams, medians of {ROUNDS * args.runs} captions, seconds"
    )
    print(f"{'':<12}{'LAVIS':>8}{'ours':>8}{'ratio':>8}")
    for lengths, seconds_of in medians.items():
        lavis_s, ours_s = seconds_of["lavis_s"], seconds_of["fp32_s"]
        print(f"{lengths:<12}{lavis_s:8.2f}{ours_s:8.2f}{lavis_s / ours_s:8.2f}")
    ratio = round(medians["fixed"]["lavis_s"] / medians["fixed"]["fp32_s"], 2)
    settings = {"model": args.model, "threads": args.threads, "min_length": 20, "max_length": 20, "num_beams": 3}
    print(json.dumps({**medians["fixed"], "ratio": ratio, "defaults": medians["defaults"], **settings}))


if __name__ == "__main__":
    main()
