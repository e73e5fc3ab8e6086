"""What does less precision change: which captions of the demonstration model, and how much of a large encoder?

    .venv/bin/python -m benchmarks.precision [--precision int8] [--device cpu] [--scenes 1000] [--images 4]

captions drawn scenes in fp32 and in the other precision, with the defaults of decoding; then compares the outputs
of the encoder of `blip_caption/large_coco` (full size, random weights) for `images` pictures. Prints as its last
line JSON: `identical`, the share of the captions that are the same, and `encoder_cosine`, the smallest cosine of a
picture's features, all tokens taken as one vector.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import full_size

SEED = 31_503  # of the scenes
BATCH = 20


def pair(model: str, device: str, precision: str) -> tuple[Any, Any]:
    from services.captioning.blip.captioner import load_blip_captioner

    exact = load_blip_captioner(model, device, "fp32", lambda progress: None)
    return exact, load_blip_captioner(model, device, precision, lambda progress: None)


def identical(exact: Any, other: Any, scenes: int) -> int:
    from tqdm import tqdm

    from training.scenes import draw_scene

    same = 0
    for start in tqdm(range(0, scenes, BATCH), unit=f"×{BATCH} scenes"):
        pictures = [draw_scene(SEED, index).picture for index in range(start, min(start + BATCH, scenes))]
        texts = [
            [of_one[0].text for of_one in captioner.caption([captioner.prepare(picture) for picture in pictures])]
            for captioner in (exact, other)
        ]
        same += sum(a == b for a, b in zip(*texts, strict=True))
    return same


def smallest_cosine(exact: Any, other: Any, images: int) -> float:
    import torch

    from training.scenes import draw_scene

    cosines = []
    with torch.inference_mode():
        for index in range(images):
            picture = exact.prepare(draw_scene(SEED, index, 384).picture)
            a, b = (one.blip.vision(one.pixels([picture])).flatten().double() for one in (exact, other))
            cosines.append(torch.nn.functional.cosine_similarity(a, b, dim=0).item())
    return min(cosines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a precision with fp32.")
    parser.add_argument("--precision", default="int8", choices=("int8", "bf16", "fp16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=4)
    args = parser.parse_args()
    same = identical(*pair("demo", args.device, args.precision), args.scenes)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(full_size.environment(Path(folder)))
        full_size.write_tokenizer(Path(folder))
        full_size.write_checkpoint(full_size.DEFAULT_MODEL)
        cosine = smallest_cosine(*pair(full_size.DEFAULT_MODEL, args.device, args.precision), args.images)
    result = {"precision": args.precision, "device": args.device, "scenes": args.scenes}
    print(json.dumps({**result, "identical": same / args.scenes, "encoder_cosine": round(cosine, 6)}))


if __name__ == "__main__":
    main()
