"""Does the fast path give the token ids that LAVIS gives?

    .venv/bin/python -m benchmarks.parity [--model demo] [--images 500] [--beams 3]

captions drawn scenes by both, with LAVIS's default lengths, and prints as its last line `{"images", "identical"}`.
The published models are taken at full size with random weights, since what is compared is the arithmetic.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import full_size

SEED = 31_500  # of the scenes: none that the demonstration model was trained on
BATCH = 8


def identical(ours: Any, theirs: Any, images: int, beams: int) -> int:
    """How many of `images` scenes get the same token ids of a BlipCaptioner and of LAVIS's BlipCaption."""
    from tqdm import tqdm

    from benchmarks.lavis_reference import lavis_tokens
    from services.captioning.captioner import DecodingOptions
    from training.scenes import draw_scene

    options, same = DecodingOptions(num_beams=beams), 0
    for start in tqdm(range(0, images, BATCH), unit=f"×{BATCH} images"):
        pictures = [draw_scene(SEED, index).picture for index in range(start, min(start + BATCH, images))]
        pixels = ours.pixels([ours.prepare(picture) for picture in pictures])
        best = [texts[0] for texts in ours.tokens(pixels, options)]
        same += sum(a == b for a, b in zip(best, lavis_tokens(theirs, pixels, options), strict=True))
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the fast path with LAVIS.")
    parser.add_argument("--model", default="demo", help="demo, blip_caption/base_coco, blip_caption/large_coco")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--beams", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if args.model != "demo":
            os.environ.update(full_size.environment(home))
            full_size.write_tokenizer(home)
            full_size.write_checkpoint(args.model)
        from services.captioning import lavis_zoo
        from services.captioning.blip.captioner import load_blip_captioner

        name, model_type = lavis_zoo.names_in_lavis(args.model)
        theirs, _, _ = lavis_zoo.load_model_and_preprocess(name, model_type, is_eval=True, device="cpu")
        ours = load_blip_captioner(args.model, "cpu", "auto", lambda progress: None)
        same = identical(ours, theirs, args.images, args.beams)
    print(json.dumps({"images": args.images, "identical": same}))


if __name__ == "__main__":
    main()
