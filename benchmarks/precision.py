"""What does less precision change: which captions of the demonstration model, and how much of a large encoder?

    .venv/bin/python -m benchmarks.precision [--precision int8] [--device cpu] [--scenes 1000] [--images 4]

captions drawn scenes in fp32, in batches, and in the other precision, in batches and one by one (int8 has a kernel
for each), with the defaults of decoding; then compares the outputs of the encoder of
`blip_caption/large_coco` (full size, random weights) for `images` pictures. Prints as its last line JSON:
`identical` and `identical_alone`, the shares of the captions that are fp32's, and `encoder_cosine`, the smallest
cosine of a picture's features, all tokens taken as one vector.
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


def identical(exact: Any, other: Any, scenes: int) -> tuple[int, int]:
    """Captions as fp32's: of batches, and of pictures alone."""
    from tqdm import tqdm

    from training.scenes import draw_scene

    together = alone = 0
    for start in tqdm(range(0, scenes, BATCH), unit=f"×{BATCH} scenes"):
        pictures = [draw_scene(SEED, index).picture for index in range(start, min(start + BATCH, scenes))]
        prepared = [exact.prepare(picture) for picture in pictures]
        right = texts(exact, prepared)
        together += sum(a == b for a, b in zip(right, texts(other, prepared), strict=True))
        alone += sum(a == b for a, [b] in zip(right, (texts(other, [one]) for one in prepared), strict=True))
    return together, alone


def texts(captioner: Any, prepared: list[Any]) -> list[str]:
    return [of_one[0].text for of_one in captioner.caption(prepared)]


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
    together, alone = identical(*pair("demo", args.device, args.precision), args.scenes)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(full_size.environment(Path(folder)))
        full_size.write_tokenizer(Path(folder))
        full_size.write_checkpoint(full_size.DEFAULT_MODEL)
        cosine = smallest_cosine(*pair(full_size.DEFAULT_MODEL, args.device, args.precision), args.images)
    result: dict[str, Any] = {"precision": args.precision, "device": args.device, "scenes": args.scenes}
    result |= {"identical": together / args.scenes, "identical_alone": alone / args.scenes}
    print(json.dumps({**result, "encoder_cosine": round(cosine, 6)}))


if __name__ == "__main__":
    main()
