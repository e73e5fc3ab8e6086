"""A PNG file -> only those of its chunks that make its picture.

So its texts and its colour profile, packed or not, are never unpacked, and of an animation only the default image
is read, which programs that know no animations show.
Source: PNG, third edition (W3C), 5.3 (chunk layout) and 11.3 (ancillary chunks).
"""

import struct
from io import BytesIO

from PIL import PngImagePlugin

from services.errors import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 50_000  # programs write 8 KiB or more a chunk: some 4,000 for 32 MiB

_PICTURE_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def read_png(data: bytes) -> PngImagePlugin.PngImageFile:
    """The picture in `data`, not decoded yet; its EXIF data, if any, as `info["exif"]`.

    Raises UnreadableImage, and what Pillow raises for damaged headers.
    """
    still, exif = _still(data)
    picture = PngImagePlugin.PngImageFile(BytesIO(still))
    if exif:
        picture.info["exif"] = exif
    if "transparency" in picture.info:
        _scale_transparent_colour(picture, bit_depth=still[24])
    return picture


def _still(data: bytes) -> tuple[bytes, bytes]:
    """The PNG file with only the chunks that make its picture, and its EXIF data (b"" when it has none)."""
    kept, exif = [data[:8]], b""
    start = 8
    for _ in range(MAX_CHUNKS):
        if start + 8 > len(data):
            return b"".join(kept), exif
        length, kind = struct.unpack_from(">L4s", data, start)
        end = start + 12 + length  # length, kind, the data and their checksum
        if kind in _PICTURE_CHUNKS:
            kept.append(data[start:end])
        elif kind == b"eXIf":
            exif = data[start + 8 : end - 4]
        start = len(data) if kind == b"IEND" else end
    raise UnreadableImage(f"Failed to load image: a PNG file of more than {MAX_CHUNKS:,} chunks is not read")


def _scale_transparent_colour(picture: PngImagePlugin.PngImageFile, bit_depth: int) -> None:
    """Brings the one transparent colour of a grey or RGB PNG to 8 bits, as the pixels will be.

    Pillow leaves it as it is in the file. Of 16 bits, neighbouring shades then count as the same colour.
    """
    colour = picture.info["transparency"]
    if picture.mode == "RGB" and bit_depth == 16:
        picture.info["transparency"] = tuple(value >> 8 for value in colour)
    elif picture.mode in ("L", "I;16"):
        picture.info["transparency"] = int(colour * 255 / (2**bit_depth - 1) + 0.5)
