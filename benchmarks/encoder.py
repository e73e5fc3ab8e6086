"""How much of the machine's rate of matrix products does the vision encoder reach?

    .venv/bin/python -m benchmarks.encoder [--threads N] [--rounds 5]

For `blip_caption/large_coco`'s encoder with random weights, fp32, on the CPU. The rate of products is measured in
the same process, turn by turn: at the encoder's own shapes for one image (its four linear layers), and at 4096³,
both as torch does them and with packed weights, as the encoder has them where that is faster; the better counts.
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

from services.captioning.blip.model import BLIP_MODELS, Blip
from services.captioning.blip.packed import pack
from services.captioning.blip.vision import VisionDimensions, encode
from services.captioning.kernels import FOR_AN_IMAGE, fastest

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
    blip = Blip(BLIP_MODELS["blip_caption/large_coco"]).eval().requires_grad_(False)
    dims, encoder = BLIP_MODELS["blip_caption/large_coco"].vision, blip.vision
    nn.init.normal_(encoder.positions, std=0.02)
    nn.init.zeros_(encoder.class_token)
    pack(blip)
    pixels = torch.randn(8, 3, dims.image_px, dims.image_px)
    x, width = torch.randn(dims.positions, dims.width), dims.width
    wide, square = torch.randn(dims.positions, 4 * width), torch.randn(EDGE, EDGE)
    shapes = [(x, 3 * width), (x, width), (x, 4 * width), (wide, width)]
    layers = [(given, nn.Linear(given.shape[1], out).requires_grad_(False)) for given, out in shapes]
    big = nn.Linear(EDGE, EDGE).requires_grad_(False)
    kernel = fastest(FOR_AN_IMAGE, layers[2][1], dims.positions)
    packed = [(given, kernel(layer, dims.positions)) for given, layer in layers]
    big_packed = kernel(big, EDGE)
    measured: dict[str, Callable[[], object]] = {
        "one image": lambda: encode(encoder, pixels[:1]),
        "own shapes": lambda: [layer(given) for given, layer in layers],
        "own shapes, packed": lambda: [layer(given) for given, layer in packed],
        "8 images": lambda: encode(encoder, pixels),
        "4096³": lambda: big(square),
        "4096³, packed": lambda: big_packed(square),
    }
    own, cube = 2.0 * 12 * width * width * dims.positions, 2.0 * EDGE**3
    image = encoder_flop(dims)
    flop = dict(zip(measured, (image, own, own, 8 * image, cube, cube), strict=True))
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
        print(f"{name:<20}{rate:8.0f}")
    shares = {
        "encoder_peak_share": round(rates["one image"] / max(rates["own shapes"], rates["own shapes, packed"]), 3),
        "batch8_peak_share": round(rates["8 images"] / max(rates["4096³"], rates["4096³, packed"]), 3),
    }
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
