"""How fast is the fast path on a GPU, beside LAVIS there?

    .venv/bin/python -m benchmarks.gpu [--device cuda:0] [--precision bf16] [--runs 20] [--sizes 1,8,32,64]

`blip_caption/large_coco` at full size with random weights, 3 beams, 20 tokens at least and at most (16 steps).
LAVIS runs under autocast to fp16 in the same process and in turn with the fast path. Prints the p50 of one image
and images a second by batch size and, as its last line, JSON: `one_image_p50_ms`, `lavis_one_image_p50_ms`,
`ratio` (of the best rates), `images_per_s`, `lavis_images_per_s`. `--no-lavis` is for a machine on which LAVIS
cannot be installed.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import full_size

MODEL = full_size.DEFAULT_MODEL
SEED = 31_505


Engine = tuple[Any, Callable[[Any], object]]


def engines(device: str, precision: str, with_lavis: bool) -> dict[str, Engine]:
    """By name: a captioner, and what captions a list of its prepared pictures."""
    import torch

    from services.captioning.captioner import DecodingOptions
    from services.captioning.engines import load_captioner

    options = DecodingOptions(min_length=20, max_length=20)
    ours = load_captioner(MODEL, "auto", device, precision, lambda progress: None)
    run: dict[str, Engine] = {"ours": (ours, lambda batch: ours.caption(batch, options))}
    if with_lavis:
        lavis = load_captioner(MODEL, "lavis", device, "auto", lambda progress: None)

        def caption(batch: Any) -> object:
            with torch.autocast(torch.device(device).type, dtype=torch.float16, enabled=device != "cpu"):
                return lavis.caption(batch, options)

        run["lavis"] = (lavis, caption)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="The fast path on a GPU.")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--sizes", default="1,8,32,64")
    parser.add_argument("--no-lavis", action="store_true")
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    times: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(full_size.environment(Path(folder)))
        full_size.write_tokenizer(Path(folder))
        full_size.write_checkpoint(MODEL)
        from training.scenes import draw_scene

        drawn = [draw_scene(SEED, index % 16, 384).picture for index in range(max(sizes))]
        both = engines(args.device, args.precision, not args.no_lavis)
        batches = {name: [one.prepare(picture) for picture in drawn] for name, (one, _) in both.items()}
        for run in range(args.runs + 1):
            for size in sizes:
                for name, (_, caption) in both.items():
                    started = time.perf_counter()
                    caption(batches[name][:size])  # the texts are on the CPU then: nothing is left to wait for
                    if run:  # the first one warms up
                        times.setdefault((name, size), []).append(time.perf_counter() - started)
    p50 = {key: statistics.median(seconds) for key, seconds in times.items()}
    print(f"{MODEL}, {args.device}, {args.precision}, 3 beams, 16 steps, medians of {args.runs}")
    rates = {name: {size: round(size / p50[name, size], 2) for size in sizes} for name in both}
    for name, by_size in rates.items():
        print(f"{name:<8}" + "".join(f"{size:>6}: {rate:8.2f} images/s" for size, rate in by_size.items()))
    result: dict[str, Any] = {"device": args.device, "precision": args.precision, "images_per_s": rates["ours"]}
    result["one_image_p50_ms"] = round(1e3 * p50["ours", sizes[0]] / sizes[0], 2)
    if not args.no_lavis:
        result["lavis_images_per_s"] = rates["lavis"]
        result["lavis_one_image_p50_ms"] = round(1e3 * p50["lavis", sizes[0]] / sizes[0], 2)
        result["ratio"] = round(max(rates["ours"].values()) / max(rates["lavis"].values()), 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
