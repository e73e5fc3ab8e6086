"""The grounds on which scenes are drawn: each a painter of RGB pixels and the words a caption uses for it.

A painter takes a random generator and a side in pixels and gives (side, side, 3), about 0..255. Colours,
scales and phases vary from picture to picture, so that no ground is a constant.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.floating]
Painter = Callable[[np.random.Generator, int], Pixels]


def _noise(rng: np.random.Generator, side: int, cells: int) -> Pixels:
    """Smooth noise (side, side), about -1..1, with `cells` bumps along a side."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def _tint(rng: np.random.Generator, rgb: tuple[int, int, int], spread: float = 14) -> Pixels:
    return (np.array(rgb) + rng.uniform(-spread, spread, 3)).astype(np.float32)


def _axes(side: int) -> tuple[Pixels, Pixels]:
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    return x, y


def _shaded(colour: Pixels, shade: Pixels) -> Pixels:
    return colour + shade[..., None]


def _grass(rng: np.random.Generator, side: int) -> Pixels:
    blades = _noise(rng, side, int(rng.integers(28, 44))) * rng.uniform(15, 30)
    return _shaded(_tint(rng, (92, 158, 62)), blades + _noise(rng, side, 4) * 12)


def _sand(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    ripples = np.sin((y + 0.06 * _noise(rng, side, 5)) * rng.uniform(50, 80)) * rng.uniform(4, 9)
    return _shaded(_tint(rng, (222, 196, 142)), ripples + _noise(rng, side, 5) * 8 + x * 4)


def _snow(rng: np.random.Generator, side: int) -> Pixels:
    drifts = _noise(rng, side, int(rng.integers(4, 7))) * rng.uniform(6, 12)
    pixels = _shaded(_tint(rng, (232, 238, 246), 6), drifts)
    flakes = rng.random((side, side)) < 0.01
    pixels[flakes] = 255
    return pixels


def _water(rng: np.random.Generator, side: int) -> Pixels:
    _, y = _axes(side)
    phase = y * rng.uniform(60, 90) + _noise(rng, side, 9) * 3
    return _shaded(_tint(rng, (40, 122, 160)), np.sin(phase) * rng.uniform(12, 22))


def _night(rng: np.random.Generator, side: int) -> Pixels:
    _, y = _axes(side)
    pixels: Pixels = _tint(rng, (16, 18, 48), 8) + y[..., None] * np.array([18, 14, 40], np.float32)
    for _ in range(int(rng.integers(25, 60))):
        row, column = rng.integers(0, side, 2)
        size = max(1, side // 128)
        pixels[row : row + size, column : column + size] = rng.uniform(150, 255)
    return pixels


def _sky(rng: np.random.Generator, side: int) -> Pixels:
    _, y = _axes(side)
    clouds = np.clip(_noise(rng, side, int(rng.integers(4, 7))) - rng.uniform(0.05, 0.3), 0, 1)[..., None]
    blue: Pixels = _tint(rng, (96, 164, 232)) + y[..., None] * 50
    cover = np.clip(clouds * 2.2, 0, 1)
    return np.asarray(blue + (250 - blue) * cover)


def _wood(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    boards = int(rng.integers(4, 7))
    place = (x + rng.random()) * boards
    grain = np.sin(x * 160 + np.sin(y * 5 + np.floor(place) * 2) * 6) * 6
    tone = np.sin(np.floor(place) * 37.7) * 9
    gaps = np.where(place % 1 < 0.06, -60, 0)
    return _shaded(_tint(rng, (158, 104, 60)), grain + tone + gaps)


def _bricks(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    rows = int(rng.integers(7, 11))
    row = np.floor(y * rows)
    column = x * rows / 2 + (row % 2) / 2
    mortar = ((y * rows) % 1 < 0.13) | (column % 1 < 0.07)
    tone = np.sin(row * 12.9 + np.floor(column) * 78.2) * 16
    pixels = _shaded(_tint(rng, (158, 72, 56)), tone + _noise(rng, side, 40) * 8)
    pixels[mortar] = _tint(rng, (200, 192, 180), 8)
    return pixels


def _road(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    pixels = _shaded(_tint(rng, (92, 92, 96), 8), _noise(rng, side, 50) * 12)
    where = rng.uniform(0.3, 0.7)
    dashes = (np.abs(x - where) < 0.02) & ((y * rng.uniform(3, 5) + rng.random()) % 1 < 0.6)
    pixels[dashes] = _tint(rng, (236, 226, 150), 10)
    return pixels


def _tiles(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    count = int(rng.integers(5, 8))
    seam = (((x + rng.random()) * count) % 1 < 0.06) | (((y + rng.random()) * count) % 1 < 0.06)
    pixels = _shaded(_tint(rng, (196, 214, 210), 10), _noise(rng, side, 6) * 6)
    pixels[seam] = _tint(rng, (128, 140, 140), 8)
    return pixels


def _sunset(rng: np.random.Generator, side: int) -> Pixels:
    _, y = _axes(side)
    top, bottom = _tint(rng, (116, 70, 140)), _tint(rng, (252, 160, 74))
    streaks = _noise(rng, side, 3) * 10 + np.sin(y * 26 + _noise(rng, side, 4) * 2) * 6
    return _shaded(top + (bottom - top) * y[..., None], streaks)


def _rain(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    slant = x * rng.uniform(40, 60) + y * rng.uniform(8, 14)
    drops = np.where((slant % 1 < 0.16) & (np.sin(y * 40 + np.floor(slant) * 5.1) > 0.1), 42, 0)
    return _shaded(_tint(rng, (118, 130, 144), 10), drops + _noise(rng, side, 4) * 8)


def _carpet(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    count = rng.uniform(5, 8) * 2 * np.pi
    diamonds = np.sign(np.sin((x + y) * count) * np.sin((x - y) * count)) * rng.uniform(8, 14)
    return _shaded(_tint(rng, (150, 26, 46)), diamonds + _noise(rng, side, 48) * 8)


def _tablecloth(rng: np.random.Generator, side: int) -> Pixels:
    x, y = _axes(side)
    count = rng.uniform(5, 8)
    bands = ((x * count + rng.random()) % 1 < 0.5).astype(np.float32)
    bands = bands + ((y * count + rng.random()) % 1 < 0.5)
    white, red = _tint(rng, (244, 240, 236), 6), _tint(rng, (206, 66, 66))
    cloth: Pixels = white + (red - white) * (bands / 2)[..., None]
    return cloth


@dataclass(frozen=True)
class Background:
    name: str
    phrase: str  # as captions end
    paint: Painter


BACKGROUNDS = (
    Background("grass", "on the grass", _grass),
    Background("sand", "on the sand", _sand),
    Background("snow", "in the snow", _snow),
    Background("water", "on the water", _water),
    Background("night sky", "under the night sky", _night),
    Background("blue sky", "in the blue sky", _sky),
    Background("wooden floor", "on a wooden floor", _wood),
    Background("brick wall", "in front of a brick wall", _bricks),
    Background("road", "on the road", _road),
    Background("tiled floor", "on a tiled floor", _tiles),
    Background("sunset", "in the sunset", _sunset),
    Background("rain", "in the rain", _rain),
    Background("carpet", "on a red carpet", _carpet),
    Background("tablecloth", "on a checkered tablecloth", _tablecloth),
)
