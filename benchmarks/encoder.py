"""How much of the machine's rate of matrix products does the vision encoder reach?

    .venv/bin/python -m benchmarks.encoder [--threads N] [--rounds 5]

For `blip_caption/large_coco`'s encoder with random weights, fp32, on the CPU. The rate of products is measured in
the same process, turn by turn: at the encoder's own shapes for one image (its four linear layers), and at 4096³,
both as torch does them; and, to see what packing the weights gives, at its own shapes with packed weights.
`encoder_peak_share` is the encoder's rate for one image over the former, `batch8_peak_share` for a batch of 8 over
the latter; the encoder's work is counted as its products alone, linear and of attention.
"""

import argparse
import json
import os
import time
from collections.abc import Callable

import torch
from torch import nn

from services.captioning.blip.model import BLIP_MODELS
from services.captioning.blip.packed import PackedLinear, pack
from services.captioning.blip.vision import VisionDimensions, VisionEncoder, encode

EDGE = 4096


def encoder_flop(dims: VisionDimensions) -> float:
    """Of one image: two for each multiplication."""
    tokens, width = dims.positions, dims.width
    linear = 12 * width * width * tokens
    attention = 2 * tokens * tokens * width
    patches = 3 * dims.patch_px**2 * width * (tokens - 1)
    return 2.0 * (dims.layers * (linear + attention) + patches)


def main() -> None:
    parser = argparse.ArgumentParser(description="The encoder's share of the machine's rate.")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    dims = BLIP_MODELS["blip_caption/large_coco"].vision
    encoder = VisionEncoder(dims).eval().requires_grad_(False)
    nn.init.normal_(encoder.positions, std=0.02)
    nn.init.zeros_(encoder.class_token)
    pack(encoder)
    pixels = torch.randn(8, 3, dims.image_px, dims.image_px)
    x, width = torch.randn(dims.positions, dims.width), dims.width
    wide = torch.randn(dims.positions, 4 * width)
    shapes = [(x, 3 * width), (x, width), (x, 4 * width), (wide, width)]
    layers = [(given, nn.Linear(given.shape[1], out).requires_grad_(False)) for given, out in shapes]
    packed = [(given, PackedLinear(layer, dims.positions)) for given, layer in layers]
    square = torch.randn(EDGE, EDGE)
    measured: dict[str, Callable[[], object]] = {
        "one image": lambda: encode(encoder, pixels[:1]),
        "own shapes": lambda: [layer(given) for given, layer in layers],
        "packed": lambda: [layer(given) for given, layer in packed],
        "8 images": lambda: encode(encoder, pixels),
        "4096³": lambda: square @ square,
    }
    flop = {"one image": encoder_flop(dims), "8 images": 8 * encoder_flop(dims), "4096³": 2.0 * EDGE**3}
    flop["own shapes"] = flop["packed"] = 2.0 * 12 * width * width * dims.positions
    best = dict.fromkeys(measured, float("inf"))
    with torch.inference_mode():
        for _ in range(args.rounds):
            for name, run in measured.items():
                started = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - started)
    rates = {name: flop[name] / seconds / 1e9 for name, seconds in best.items()}
    print(f"{args.threads} threads, fp32, best of {args.rounds}, GFLOP/s")
    for name, rate in rates.items():
        print(f"{name:<12}{rate:8.0f}")
    shares = {
        "encoder_peak_share": round(rates["one image"] / rates["own shapes"], 3),
        "batch8_peak_share": round(rates["8 images"] / rates["4096³"], 3),
    }
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
