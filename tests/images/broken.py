"""Broken and odd pictures by the hundred, always the same ones.

Every place at which a small file of each format can be cut; bytes flipped, swapped, repeated and lost by a seeded
generator; headers filled with the numbers that programs stumble over; and the bombs.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

from tests.images.bombs import BOMBS
from tests.images.tricky import TRICKY, exif, saved

N_FLIPPED = 60  # of each small file
ABSURD = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER_BYTES = 32  # in which absurd numbers are written, at every second place


@dataclass(frozen=True)
class Broken:
    """whole: the file that was cut, when `data` is its beginning; what can be read of that must be the same."""

    name: str
    data: bytes = field(repr=False)
    whole: bytes | None = field(default=None, repr=False)


def small_files() -> dict[str, bytes]:
    """One of each format and kind, as few bytes as there can be."""
    rgb = Image.new("RGB", (9, 7), (200, 30, 60))
    rgb.putpixel((4, 3), (10, 250, 90))
    rgba = rgb.convert("RGBA")
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    palette = rgb.quantize(4)
    second = Image.new("RGB", (9, 7))
    animated = {"save_all": True, "append_images": [second], "duration": 100}
    return {
        "png": saved(rgb, "PNG", exif=exif(6)),
        "png_alpha": saved(rgba, "PNG"),
        "png_palette": saved(palette, "PNG", transparency=1),
        "png_grey_16": saved(Image.new("I;16", (9, 7), 40_000), "PNG"),
        "png_animated": saved(rgb, "PNG", **animated),
        "jpeg": saved(rgb, "JPEG", exif=exif(6)),
        "jpeg_progressive": saved(rgb, "JPEG", progressive=True),
        "jpeg_cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "gif": saved(palette, "GIF", transparency=1),
        "gif_animated": saved(palette, "GIF", **animated),
        "bmp_24": saved(rgb, "BMP"),
        "bmp_1": saved(rgb.convert("1"), "BMP"),
        "webp": saved(rgb, "WEBP"),
        "webp_lossless": saved(rgba, "WEBP", lossless=True),
        "webp_animated": saved(rgb, "WEBP", lossless=True, exif=exif(6), **animated),
    }


def all_broken() -> Iterator[Broken]:
    for name, whole in small_files().items():
        yield from _cut(name, whole)
        yield from _flipped(name, whole)
        yield from _absurd_numbers(name, whole)
    for tricky in TRICKY:
        yield Broken(f"{tricky.name}_as_it_is", tricky.data)
    for bomb in BOMBS:
        yield Broken(f"{bomb.name}_bomb", bomb.make())


def _cut(name: str, whole: bytes) -> Iterator[Broken]:
    for n_bytes in range(len(whole)):
        yield Broken(f"{name}_cut_to_{n_bytes}", whole[:n_bytes], whole)


def _flipped(name: str, whole: bytes) -> Iterator[Broken]:
    chance = random.Random(name)
    for number in range(N_FLIPPED):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at] = chance.randrange(256)
                case 2:
                    data[at:at] = data[at : at + chance.randrange(1, 40)]
                case 3:
                    del data[at : at + chance.randrange(1, 8)]
        yield Broken(f"{name}_changed_{number}", bytes(data))


def _absurd_numbers(name: str, whole: bytes) -> Iterator[Broken]:
    for at in range(4, HEADER_BYTES, 2):
        for number in ABSURD:
            for order in "<>":
                data = bytearray(whole)
                struct.pack_into(order + ("H" if number <= 0xFFFF else "L"), data, at, number)
                yield Broken(f"{name}_{number:x}_at_{at}_{order}", bytes(data))
