"""Draw scenes: one to three emoji pictures on a ground, damaged as photographs are, with a true caption.

    python -m training.scenes --count N --seed S OUT_DIR

writes N pictures (PNG and JPEG) and `captions.jsonl` beside them, a line a picture:
`{"file", "caption", "things": [{"word", "emoji"}]}`. Scene i of seed S is always the same.

A caption follows from the picture alone: what stands left comes before what stands right (`next to`), what
is on top before what is below (`above`), what is in the middle first (`between`), and two of a kind before
one of another (`and`). Arrangements that would leave room for doubt are not drawn.
"""

import argparse
import functools
import io
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from training.backgrounds import BACKGROUNDS, Background
from training.things import THINGS, Thing

DRAWINGS = Path(__file__).with_name("drawings")

# How hard the pictures are. A test pins these figures; README of the model quotes them.
SIDES_PX = (128, 192, 256)
SIDE_SHARES = (0.8, 0.1, 0.1)
SMALLEST, LARGEST = 0.12, 0.60  # of the picture's side
LARGEST_AMONG = {1: LARGEST, 2: 0.48, 3: 0.38}  # so that the things of one picture find room
MAX_ROTATION_DEG = 30.0
MAX_NOISE = 12.0  # standard deviation, of 255
MAX_BLUR = 0.007  # radius, of the picture's side
MAX_GAIN_SHIFT = 0.15  # of each colour channel
JPEG_SHARE = 0.5
JPEG_QUALITY = (40, 95)

CROWD = 14  # the most things in a picture without a caption
CROWDED = 1  # sets their random numbers apart

NUMBERS = {1: "one", 2: "two", 3: "three"}
# kinds of arrangement: name, share
ARRANGEMENTS = {
    "one": 0.16,
    "several": 0.20,
    "next to": 0.15,
    "above": 0.15,
    "and": 0.17,
    "between": 0.08,
    "above two": 0.09,
}
# as the captions tell them apart
KINDS = ("one", "two", "three", "next to", "above", "and", "between", "above two")


@dataclass(frozen=True)
class Placed:
    """One drawing in the picture; lengths are fractions of the picture's side."""

    thing: Thing
    x: float  # of the centre, from the left
    y: float  # of the centre, from the top
    size: float  # the drawing's longer side before rotation
    angle_deg: float

    @property
    def reach(self) -> float:
        """Half the side of the upright box around the rotated drawing."""
        angle = math.radians(abs(self.angle_deg))
        return self.size / 2 * (math.cos(angle) + math.sin(angle))

    def clear_of(self, other: "Placed") -> bool:
        apart = self.reach + other.reach
        return abs(self.x - other.x) > apart or abs(self.y - other.y) > apart

    def left_of(self, other: "Placed") -> bool:
        return self.x + self.reach < other.x - other.reach


@dataclass(frozen=True)
class Scene:
    kind: str  # of arrangement, as in KINDS; "" for a crowd
    caption: str
    background: Background
    placed: tuple[Placed, ...]
    words: tuple[tuple[str, Thing], ...]  # each thing as the caption names it
    picture: Image.Image  # RGB, square
    jpeg: bytes | None  # the file, where the picture went through JPEG

    def things(self) -> list[dict[str, str]]:
        return [{"word": word.replace(" ", "_"), "emoji": thing.emoji} for word, thing in self.words]


@functools.cache
def _drawing(thing: Thing) -> Image.Image:
    return Image.open(DRAWINGS / thing.drawing).convert("RGBA")


def _sorted(kind: str, placed: list[Placed]) -> list[Placed]:
    """The places in the order in which the caption of this kind names them."""
    if kind == "next to":
        return sorted(placed, key=lambda p: p.x)
    if kind == "above":
        return sorted(placed, key=lambda p: p.y)
    if kind == "between":
        left, middle, right = sorted(placed, key=lambda p: p.x)
        return [middle, left, right]
    if kind == "above two":
        top, *below = sorted(placed, key=lambda p: p.y)
        return [top, *sorted(below, key=lambda p: p.x)]
    return placed


def _fits(kind: str, placed: list[Placed]) -> bool:
    """Whether the sorted arrangement is what its caption says, beyond doubt."""
    if any(not a.clear_of(b) for i, a in enumerate(placed) for b in placed[:i]):
        return False
    first, *others = placed
    if kind == "next to":
        return abs(others[0].y - first.y) < 0.4 * (others[0].x - first.x)
    if kind == "above":
        return abs(others[0].x - first.x) < 0.4 * (others[0].y - first.y)
    if kind == "between":
        left, right = others
        level = max(p.y for p in placed) - min(p.y for p in placed) < 0.16
        return level and left.left_of(first) and first.left_of(right)
    if kind == "above two":
        left, right = others
        on_top = all(first.y + first.reach < p.y - p.reach for p in others)
        return on_top and left.left_of(right) and abs(left.y - right.y) < 0.16
    return True


def _arrange(rng: np.random.Generator, kind: str, count: int) -> list[Placed]:
    """Places for `count` drawings, in the order of the caption; which drawing goes where is not yet said."""
    largest = LARGEST_AMONG[count]
    for _ in range(1000):
        sizes = SMALLEST + (largest - SMALLEST) * rng.beta(1.8, 1.2, count)
        angles = rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG, count)
        blank = [Placed(THINGS[0], 0, 0, *pair) for pair in zip(sizes, angles, strict=True)]
        room = np.array([[p.reach, 1 - p.reach] for p in blank])
        for centres in rng.uniform(room[:, :1], room[:, 1:], (25, count, 2)):
            placed = [replace(p, x=x, y=y) for p, (x, y) in zip(blank, centres, strict=True)]
            placed = _sorted(kind, placed)
            if _fits(kind, placed):
                return placed
        # crowded: a little smaller, so that every kind of arrangement finds room at last
        largest = max(largest * 0.97, SMALLEST + 0.02)
    raise RuntimeError(f"no room found for {kind}")


def _name(thing: Thing, count: int = 1) -> tuple[str, str]:
    """("two dogs", "dogs"): in the caption, and the word alone."""
    if count == 1:
        return f"{thing.article} {thing.singular}", thing.singular
    return f"{NUMBERS[count]} {thing.plural}", thing.plural


def _compose(rng: np.random.Generator) -> tuple[str, list[Placed], list[tuple[Thing, int]]]:
    """An arrangement: its kind, where everything is, and what the caption counts, in order."""
    kind = str(rng.choice(list(ARRANGEMENTS), p=list(ARRANGEMENTS.values())))
    chosen = [THINGS[i] for i in rng.choice(len(THINGS), 3, replace=False)]
    counted = {
        "one": [(chosen[0], 1)],
        "several": [(chosen[0], int(rng.integers(2, 4)))],
        "and": [(chosen[0], 2), (chosen[1], 1)],
        "next to": [(thing, 1) for thing in chosen[:2]],
        "above": [(thing, 1) for thing in chosen[:2]],
    }.get(kind, [(thing, 1) for thing in chosen])
    members = [thing for thing, count in counted for _ in range(count)]
    places = _arrange(rng, kind, len(members))
    placed = [replace(place, thing=thing) for place, thing in zip(places, members, strict=True)]
    return kind, placed, counted


def _caption(kind: str, names: list[str]) -> str:
    if kind in ("next to", "above", "and"):
        return f"{names[0]} {kind} {names[1]}"
    if kind == "between":
        return f"{names[0]} between {names[1]} and {names[2]}"
    if kind == "above two":
        return f"{names[0]} above {names[1]} and {names[2]}"
    return names[0]


def _paste(canvas: Image.Image, placed: Placed) -> None:
    side = canvas.width
    pixels = max(1, round(placed.size * side))
    drawing = _drawing(placed.thing).resize((pixels, pixels), Image.Resampling.BICUBIC, reducing_gap=2.0)
    drawing = drawing.rotate(placed.angle_deg, Image.Resampling.BICUBIC, expand=True)
    corner = (round(placed.x * side - drawing.width / 2), round(placed.y * side - drawing.height / 2))
    canvas.paste(drawing, corner, drawing)


def _damage(rng: np.random.Generator, picture: Image.Image) -> tuple[Image.Image, bytes | None]:
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, MAX_BLUR) * picture.width))
    pixels = np.asarray(picture, np.float32)
    gain = rng.uniform(1 - MAX_GAIN_SHIFT, 1 + MAX_GAIN_SHIFT, 3).astype(np.float32)
    noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(0, MAX_NOISE))
    picture = Image.fromarray(np.clip(pixels * gain + noise, 0, 255).astype(np.uint8))
    if rng.random() >= JPEG_SHARE:
        return picture, None
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(*JPEG_QUALITY)))
    decoded = Image.open(io.BytesIO(file.getvalue()))
    decoded.load()
    return decoded, file.getvalue()


def draw_scene(seed: int, index: int, side_px: int | None = None) -> Scene:
    """Scene number `index` of `seed`; `side_px` overrides the size drawn by lot."""
    rng = np.random.default_rng([seed, index])
    side = int(rng.choice(SIDES_PX, p=SIDE_SHARES))
    kind, placed, counted = _compose(rng)
    names = [_name(thing, count) for thing, count in counted]
    words = tuple((word, thing) for (_, word), (thing, _) in zip(names, counted, strict=True))
    if kind == "several":
        kind = NUMBERS[len(placed)]
    return _draw(rng, kind, _caption(kind, [name for name, _ in names]), placed, words, side_px or side)


def _draw(
    rng: np.random.Generator,
    kind: str,
    what: str,
    placed: list[Placed],
    words: tuple[tuple[str, Thing], ...],
    side: int,
) -> Scene:
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    pixels = background.paint(rng, side)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    for one in placed:
        _paste(picture, one)
    picture, jpeg = _damage(rng, picture)
    return Scene(kind, f"{what} {background.phrase}", background, tuple(placed), words, picture, jpeg)


def draw_crowd(seed: int, index: int) -> Scene:
    """As many things as find room, without a caption: what the encoder learns to see from, before it reads."""
    rng = np.random.default_rng([seed, index, CROWDED])
    placed: list[Placed] = []
    for which in rng.choice(len(THINGS), CROWD, replace=False):
        size, angle = rng.uniform(SMALLEST, LARGEST_AMONG[3]), rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG)
        blank = Placed(THINGS[which], 0, 0, size, angle)
        for x, y in rng.uniform(blank.reach, 1 - blank.reach, (12, 2)):
            one = replace(blank, x=x, y=y)
            if all(one.clear_of(other) for other in placed):
                placed.append(one)
                break
    return _draw(rng, "", "", placed, (), SIDES_PX[0])


def write_scenes(count: int, seed: int, out_dir: Path, side_px: int | None = None) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    with (out_dir / "captions.jsonl").open("w", encoding="utf-8") as captions:
        for index in range(count):
            scene = draw_scene(seed, index, side_px)
            path = out_dir / f"scene_{seed}_{index:05d}.{'jpg' if scene.jpeg else 'png'}"
            if scene.jpeg:
                path.write_bytes(scene.jpeg)
            else:
                scene.picture.save(path)
            row = {"file": path.name, "caption": scene.caption, "things": scene.things()}
            captions.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw scenes with captions.")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--side", type=int, help="draw every picture at this many pixels")
    parser.add_argument("out_dir", type=Path)
    args = parser.parse_args()
    write_scenes(args.count, args.seed, args.out_dir, args.side)


if __name__ == "__main__":
    main()
