"""A BMP file, unless it is one that would take too long.

Run-length encoded bitmaps are the one thing that Pillow decodes in Python. They are old, and small
where they exist, so a small limit does no harm.
Source: Microsoft, "Bitmap Storage" and "Bitmap Compression" (Win32); headers of 12 and 64 bytes are of OS/2.
"""

from io import BytesIO

from PIL import BmpImagePlugin

from services.errors import TooLarge

HEADER_BYTES = {12, 40, 52, 56, 64, 108, 124}
MAX_RUN_LENGTH_PIXELS = 4_000_000
MAX_RUN_LENGTH_BYTES = 2**21

_RLE8, _RLE4 = 1, 2


def read_bmp(data: bytes) -> BmpImagePlugin.BmpImageFile:
    """The picture in `data`, not decoded yet. Raises TooLarge, and what Pillow raises for damaged headers."""
    picture = BmpImagePlugin.BmpImageFile(BytesIO(data))
    if picture.info["compression"] in (_RLE8, _RLE4):
        n_pixels = picture.width * picture.height
        if n_pixels > MAX_RUN_LENGTH_PIXELS or len(data) > MAX_RUN_LENGTH_BYTES:
            raise TooLarge(
                f"The image is a run-length encoded BMP of more than {MAX_RUN_LENGTH_PIXELS:,} pixels or "
                f"{MAX_RUN_LENGTH_BYTES:,} bytes: send it as PNG"
            )
    return picture
