"""A GIF file -> only those of its blocks that make its first frame.

Pillow goes through comments and extensions in Python, keeps them, and prepares for frames that nobody asks for.
Source: GIF89a (CompuServe, 1990), 15 (sub-blocks), 18 to 23 (screen, image, graphic control).
"""

import struct
from io import BytesIO

from PIL import GifImagePlugin

from services.errors import UnreadableImage

MAX_BLOCKS = 200_000  # before the first frame; 32 MiB in full sub-blocks are 131,586

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9


def read_gif(data: bytes) -> GifImagePlugin.GifImageFile:
    """The first frame in `data`, not decoded yet.

    Raises UnreadableImage, LookupError or ValueError when there is no frame, and what Pillow raises for damaged
    headers.
    """
    return GifImagePlugin.GifImageFile(BytesIO(_first_frame(data)))


def _first_frame(data: bytes) -> bytes:
    """The file without what lies between its header and its first frame, but for that frame's transparency.

    Raises IndexError when it ends before.
    """
    header_end = at = 13 + _table_size(data[10])
    control, in_extension = b"", False
    for _ in range(MAX_BLOCKS):
        if in_extension:
            size = data[at]
            in_extension = size > 0
            at += 1 + size
        elif data[at] == _IMAGE:
            return data[:header_end] + _transparency(control) + data[at:]
        elif data[at] == _EXTENSION:
            if data[at + 1] == _GRAPHIC_CONTROL:
                control = data[at + 3 : at + 3 + data[at + 2]]
            in_extension = True
            at += 2
        elif data[at] == _END:
            raise ValueError("no frame")
        else:  # some programs leave bytes between blocks
            at += 1
    raise UnreadableImage(f"Failed to load image: a GIF file of more than {MAX_BLOCKS:,} blocks is not read")


def _transparency(control: bytes) -> bytes:
    """A graphic control extension that says which colour is transparent, and not what follows the frame."""
    if len(control) < 4 or not control[0] & 1:
        return b""
    return struct.pack("<BBBBHBB", _EXTENSION, _GRAPHIC_CONTROL, 4, 1, 0, control[3], 0)


def _table_size(flags: int) -> int:
    """Bytes of the colour table that a screen or image descriptor announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
