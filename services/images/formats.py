"""Which of the five formats bytes are, and the reader for it.

Pillow's readers are called one by one rather than through `Image.open`: the bytes alone decide, no other
format's reader is ever loaded, the size is known before anything large is allocated, and what surrounds a picture
(metadata, colour profiles, further pictures) can neither spoil it nor make Pillow warn.
"""

import struct
from collections.abc import Callable
from io import BytesIO

from PIL import Image, ImageFile, WebPImagePlugin

from services.errors import UnsupportedFormat
from services.images import bmp, gif, jpeg, png


def open_picture(data: bytes, admit: Callable[[tuple[int, int]], None]) -> ImageFile.ImageFile:
    """The picture in `data`, of known size and not decoded yet; EXIF data, if any, as `info["exif"]`.

    admit: called with (width, height), once or twice, before anything of that size is allocated; may raise, wait.
    Raises UnsupportedFormat, TooLarge, UnreadableImage, and for damaged headers whatever Pillow raises.
    """
    reader = _reader(data)
    # The limit is the caller's. Pillow's would refuse, or warn about, sizes that are allowed.
    Image.MAX_IMAGE_PIXELS = None
    # Other packages of this process switch this on, for training on damaged pictures (LAVIS does).
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    admit(_declared_size(data))
    picture = reader(data)
    admit(picture.size)
    return picture


def _reader(data: bytes) -> Callable[[bytes], ImageFile.ImageFile]:
    if data.startswith(png.SIGNATURE):
        return png.read_png
    if data.startswith(b"\xff\xd8\xff"):
        return jpeg.read_jpeg
    if data.startswith((b"GIF87a", b"GIF89a")):
        return gif.read_gif
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return lambda webp: WebPImagePlugin.WebPImageFile(BytesIO(webp))
    # "BM" alone is too weak a sign: texts begin with it.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in bmp.HEADER_BYTES:
        return bmp.read_bmp
    raise UnsupportedFormat


def _declared_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, by the first header of a GIF or WebP file; else (0, 0).

    A GIF needs no frame to be too large, though one may enlarge it; the reader of WebP allocates while it opens.
    Sources: GIF89a, 18 (logical screen); RFC 9649, 2.5 to 2.7 (WebP: simple, lossless, extended).
    """
    if data.startswith(b"GIF") and len(data) >= 10:
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"RIFF") and len(data) >= 25:
        chunk = data[12:16]
        if chunk == b"VP8 " and len(data) >= 30:
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        if chunk == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if chunk == b"VP8X" and len(data) >= 30:
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return 0, 0
