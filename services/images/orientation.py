"""Which way up a camera was held, from the EXIF data of a picture.

Read by hand, because Pillow's reader warns about the damaged EXIF that many programs write, through Python's
warnings, which cannot be silenced for one thread alone.
Source: EXIF 2.32 (CIPA DC-008), 4.6.2 (structure of an IFD) and 4.6.4 A (Orientation).
"""

import struct

from PIL import Image

_ORIENTATION_TAG = 0x0112
_VALUE_FORMATS = {1: "B", 3: "H", 4: "L"}  # SHORT by the standard; some programs write BYTE or LONG
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}

# What has to be done to see a picture of this orientation upright. 1 is upright already.
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in a block of EXIF data; 1 when it has none or is damaged."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return 1
    try:
        (ifd,) = struct.unpack_from(order + "L", tiff, 4)
        (n_entries,) = struct.unpack_from(order + "H", tiff, ifd)
        for entry in range(ifd + 2, ifd + 2 + 12 * n_entries, 12):  # tag, type, count, value: 12 bytes
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _ORIENTATION_TAG and kind in _VALUE_FORMATS:
                (value,) = struct.unpack_from(order + _VALUE_FORMATS[kind], tiff, entry + 8)
                return value if value in _METHODS else 1
    except struct.error:  # the data ends before the tag
        pass
    return 1


def turn_upright(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture as it was seen by the photographer; the same object when nothing is to be done."""
    method = _METHODS.get(orientation)
    return picture if method is None else picture.transpose(method)
