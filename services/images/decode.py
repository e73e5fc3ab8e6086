"""The bytes of an image file -> one upright RGB picture of bounded size."""

import struct
import zlib

from PIL import GifImagePlugin, Image

from services.errors import UnreadableImage
from services.images.formats import open_picture
from services.images.orientation import read_orientation, turn_upright

# What Pillow's readers raise when bytes are not what they expect: nearly always one of the first three, now
# and then whatever a wrong number in a header leads to.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """The first picture in `data` as RGB, 8 bits each, upright, without transparency and metadata.

    PNG, JPEG, GIF, BMP and WebP, told apart by their bytes. Transparency is put on white; 16 bits are scaled
    to 8; colour profiles are ignored. Safe to call from several threads.
    Raises UnsupportedFormat, UnreadableImage (empty, damaged, incomplete) and TooLarge (more than
    `max_pixels` pixels, by the header: before anything is decoded).
    """
    if not data:
        raise UnreadableImage("Failed to load image: the file is empty")
    try:
        picture = open_picture(data, max_pixels)
        # Where a GIF's first frame lies on its canvas; known only until it is decoded.
        frame = picture.tile[0].extents if isinstance(picture, GifImagePlugin.GifImageFile) else None
        picture.load()
        if picture.mode == "P" and picture.palette is None:
            raise ValueError("colour numbers without a palette")
    except _DAMAGED as exc:
        raise UnreadableImage("Failed to load image: the file is damaged or incomplete") from exc
    orientation = read_orientation(picture.info.get("exif", b""))
    rgb = _to_rgb(picture, picture.format)
    if frame is not None and frame != (0, 0, *rgb.size):
        rgb = _on_white(rgb.crop(frame), None, rgb.size, frame[:2])
    upright = turn_upright(rgb, orientation)
    upright.info = {}  # so that nobody turns it, or applies its transparency, a second time
    return upright


def _to_rgb(picture: Image.Image, file_format: str | None) -> Image.Image:
    if picture.mode.startswith("I"):
        # Pillow would clip 16 bits to 8, so that all but the darkest shades became white.
        picture = picture.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    alpha = rgba.getchannel("A")
    if file_format == "BMP" and alpha.getextrema() == (0, 0):
        # Many programs write BMP with an alpha channel that they never fill. Browsers show those opaque.
        return rgba.convert("RGB")
    return _on_white(rgba, alpha, picture.size)


def _on_white(
    picture: Image.Image, alpha: Image.Image | None, size: tuple[int, int], corner: tuple[int, int] = (0, 0)
) -> Image.Image:
    canvas = Image.new("RGB", size, "white")
    canvas.paste(picture, corner, alpha)
    return canvas
