"""Judge the demonstration model on scenes that it has not seen.

    python -m training.evaluate_demo --scenes N --seed S

loads the model through LAVIS, captions N scenes with LAVIS's own `generate` at its defaults and prints, as the
last line, `{"exact", "noun_recall"}`: the share of captions equal to the truth, and the share of the drawn
things whose word is in the caption.
"""

import argparse
import json
import re
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from training.scenes import Scene, draw_scene
from training.things import THINGS

BATCH = 50
# every name of a thing, the longest first
_LONGEST_FIRST = sorted({name for t in THINGS for name in (t.singular, t.plural)}, key=len, reverse=True)
NAMES = re.compile(rf"\b(?:{'|'.join(_LONGEST_FIRST)})\b")


def generate(model: Any, pictures: Sequence[Image.Image]) -> list[str]:
    """Captions of RGB pictures by LAVIS's `BlipCaption.generate` with its defaults."""
    from lavis.processors.blip_processors import BlipImageEvalProcessor

    preprocess = BlipImageEvalProcessor(image_size=model.visual_encoder.patch_embed.img_size[0])
    captions: list[str] = []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            pixels = torch.stack([preprocess(picture) for picture in pictures[start : start + BATCH]])
            captions += model.generate({"image": pixels.to(model.device)})
    return captions


def names(caption: str, word: str) -> bool:
    """Whether the caption names the thing; "hot dog" does not name a dog."""
    return word in NAMES.findall(caption)


def score(scenes: Sequence[Scene], captions: Sequence[str]) -> dict[str, float]:
    pairs = list(zip(scenes, captions, strict=True))
    found = [names(caption, word) for scene, caption in pairs for word, _ in scene.words]
    exact = sum(scene.caption == caption for scene, caption in pairs)
    return {"exact": round(exact / len(pairs), 4), "noun_recall": round(sum(found) / len(found), 4)}


def main() -> None:
    from services.captioning.lavis_zoo import load_model_and_preprocess

    parser = argparse.ArgumentParser(description="Judge the demonstration model.")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--show", type=int, default=10, help="how many wrong captions to print")
    args = parser.parse_args()
    model, _, _ = load_model_and_preprocess("blip_caption_demo", "demo", is_eval=True)
    scenes, captions = [], []
    for start in tqdm(range(0, args.scenes, BATCH), unit=f"×{BATCH} scenes"):
        drawn = [draw_scene(args.seed, i) for i in range(start, min(start + BATCH, args.scenes))]
        scenes += drawn
        captions += generate(model, [scene.picture for scene in drawn])
    wrong = [(s.caption, c) for s, c in zip(scenes, captions, strict=True) if s.caption != c]
    for truth, caption in wrong[: args.show]:
        print(f"is:   {truth}\nsaid: {caption}")
    print(json.dumps(score(scenes, captions)))


if __name__ == "__main__":
    main()
