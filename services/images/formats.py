"""Which of the five formats bytes are, and Pillow's reader for it.

The readers are called one by one rather than through `Image.open`: the bytes alone decide, the size is known
before anything large is allocated, and what surrounds a picture (metadata, colour profiles, further pictures)
can neither spoil it nor make Pillow warn.
"""

import struct
from collections.abc import Callable
from io import BytesIO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from services.errors import TooLarge, UnsupportedFormat

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_BMP_HEADER_BYTES = {12, 40, 52, 56, 64, 108, 124}


def open_picture(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """The picture in `data`, of known size and not decoded yet; EXIF data, if any, as `info["exif"]`.

    Raises UnsupportedFormat, TooLarge, and for damaged headers whatever Pillow raises.
    """
    reader = _reader(data)
    # Pillow's own limit would refuse, or warn about, sizes that are allowed here. It also stays as a second
    # guard, at twice the number, where a reader allocates memory for sizes that stand deeper in the file.
    Image.MAX_IMAGE_PIXELS = max_pixels
    # Other packages of this process switch this on, for training on damaged pictures (LAVIS does).
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    _check_pixels(_declared_size(data), max_pixels)
    try:
        picture = reader(data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise TooLarge(f"The image has more than {max_pixels:,} pixels: send a smaller one") from exc
    _check_pixels(picture.size, max_pixels)
    return picture


def _reader(data: bytes) -> Callable[[bytes], ImageFile.ImageFile]:
    if data.startswith(_PNG_SIGNATURE):
        return _read_png
    if data.startswith(b"\xff\xd8\xff"):
        return lambda jpeg: _JpegImageFile(BytesIO(jpeg))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return lambda gif: GifImagePlugin.GifImageFile(BytesIO(gif))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return lambda webp: WebPImagePlugin.WebPImageFile(BytesIO(webp))
    # "BM" alone is too weak a sign: texts begin with it.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_BYTES:
        return lambda bmp: BmpImagePlugin.BmpImageFile(BytesIO(bmp))
    raise UnsupportedFormat


class _JpegImageFile(JpegImagePlugin.JpegImageFile):
    """The first picture of a JPEG file; phones put more behind it (MPO), which do not matter here."""

    def _read_dpi_from_exif(self) -> None:
        """Left out: nobody needs the resolution, and reading it warns about damaged EXIF."""


def _read_png(data: bytes) -> ImageFile.ImageFile:
    still, exif = _still_png(data)
    picture = PngImagePlugin.PngImageFile(BytesIO(still))
    if exif:
        picture.info["exif"] = exif
    if "transparency" in picture.info:
        _scale_transparent_colour(picture, bit_depth=still[24])
    return picture


def _scale_transparent_colour(picture: ImageFile.ImageFile, bit_depth: int) -> None:
    """Brings the one transparent colour of a grey or RGB PNG to 8 bits, as the pixels will be.

    Pillow leaves it as it is in the file. Of 16 bits, neighbouring shades then count as the same colour.
    """
    colour = picture.info["transparency"]
    if picture.mode == "RGB" and bit_depth == 16:
        picture.info["transparency"] = tuple(value >> 8 for value in colour)
    elif picture.mode in ("L", "I;16"):
        picture.info["transparency"] = int(colour * 255 / (2**bit_depth - 1) + 0.5)


def _still_png(data: bytes) -> tuple[bytes, bytes]:
    """The PNG file with only the chunks that make its picture, and its EXIF data (b"" when it has none).

    Of an animation this leaves the default image, which programs that know no animations show.
    """
    kept, exif = [data[:8]], b""
    start = 8
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, start)
        end = start + 12 + length  # length, kind, the data and their checksum
        if kind in _PNG_PICTURE_CHUNKS:
            kept.append(data[start:end])
        elif kind == b"eXIf":
            exif = data[start + 8 : end - 4]
        start = end
    return b"".join(kept), exif


def _declared_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header of the two formats whose readers allocate while opening; else (0, 0).

    Sources: GIF89a, 18 (logical screen); RFC 9649, 2.5 to 2.7 (WebP: simple, lossless, extended).
    """
    if data.startswith(b"GIF") and len(data) >= 10:
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"RIFF") and len(data) >= 30:
        chunk = data[12:16]
        if chunk == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        if chunk == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if chunk == b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return 0, 0


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(
            f"The image has {width} × {height} pixels, more than the {max_pixels:,} that are allowed: "
            "send a smaller one"
        )
