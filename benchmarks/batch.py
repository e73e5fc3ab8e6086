"""How many images a second does the fast path caption, in batches of 1 to 16?

    .venv/bin/python -m benchmarks.batch [--model blip_caption/large_coco] [--sizes 1,2,4,8,16] [--rounds 2]

At full size with random weights (the demonstration model with its own), fp32, 3 beams, 20 tokens at least and at
most (16 steps after the prompt), on the CPU, in one process; the sizes are gone through in turn, `rounds` times.
Prints medians, and JSON as its last line: `images_per_s` by batch size.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import full_size

SEED = 31_502  # of the scenes


def main() -> None:
    parser = argparse.ArgumentParser(description="Images a second by batch size.")
    parser.add_argument("--model", default=full_size.DEFAULT_MODEL)
    parser.add_argument("--sizes", default="1,2,4,8,16")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        if args.model != "demo":
            os.environ.update(full_size.environment(Path(folder)))
            full_size.write_tokenizer(Path(folder))
            full_size.write_checkpoint(args.model)
        from services.captioning.captioner import DecodingOptions
        from services.captioning.engines import load_captioner
        from training.scenes import draw_scene

        captioner = load_captioner(args.model, "auto", "cpu", "auto", lambda progress: None)
        options = DecodingOptions(min_length=20, max_length=20)
        pictures = [captioner.prepare(draw_scene(SEED, index).picture) for index in range(max(sizes))]
        captioner.caption(pictures[:1], options)  # maps the weights in
        rates: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(args.rounds):
            for size in sizes:
                started = time.perf_counter()
                captioner.caption(pictures[:size], options)
                rates[size].append(size / (time.perf_counter() - started))
    medians = {size: round(statistics.median(seen), 3) for size, seen in rates.items()}
    print(f"{args.model}, {os.cpu_count()} CPUs, {captioner.info.precision}, 3 beams, 16 steps")
    print(f"{'batch':>8}{'images/s':>12}{'to batch 1':>12}")
    for size, rate in medians.items():
        print(f"{size:>8}{rate:12.2f}{rate / medians[sizes[0]]:12.2f}")
    print(json.dumps({"model": args.model, "images_per_s": medians}))


if __name__ == "__main__":
    main()
