"""The bytes of an image file -> one upright RGB picture of bounded size."""

import struct
import threading
import zlib
from contextlib import ExitStack

from PIL import GifImagePlugin, Image, ImageFile

from services.errors import TooLarge, UnreadableImage
from services.images.formats import open_picture
from services.images.limits import check_pixels
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
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)


# A slot for decoding is for pictures of any size, and a picture takes up to 24 bytes a pixel while it is decoded
# (WebP; the others half of that). So of those larger than what phones make, only two are decoded at a time.
LARGE_PIXELS = 12_500_000
LARGE_AT_ONCE = 2
_large_turns = threading.BoundedSemaphore(LARGE_AT_ONCE)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """The first picture in `data` as RGB, 8 bits each, upright, without transparency and metadata.

    PNG, JPEG, GIF, BMP and WebP, told apart by their bytes. Transparency is put on white; 16 bits are scaled
    to 8; colour profiles are ignored. Safe to call from several threads; waits while LARGE_AT_ONCE other pictures
    of more than LARGE_PIXELS are decoded, if this is one too.
    Raises UnsupportedFormat, UnreadableImage (empty, damaged, incomplete, or needlessly laborious) and TooLarge
    (more than `max_pixels` pixels, by the header: before anything is decoded; or more than the memory holds).
    """
    if not data:
        raise UnreadableImage("Failed to load image: the file is empty")
    with ExitStack() as turn:
        has_turn = False

        def admit(size: tuple[int, int]) -> None:
            nonlocal has_turn
            check_pixels(size, max_pixels)
            if size[0] * size[1] > LARGE_PIXELS and not has_turn:
                turn.enter_context(_large_turns)
                has_turn = True

        try:
            return _upright_rgb(open_picture(data, admit))
        # Without their tracebacks, which would keep the picture in memory until the request is answered.
        except _DAMAGED as exc:
            message = "Failed to load image: the file is damaged or incomplete"
            raise UnreadableImage(message) from exc.with_traceback(None)
        except MemoryError as exc:
            message = "The server has too little memory for this image: send a smaller one"
            raise TooLarge(message) from exc.with_traceback(None)


def _upright_rgb(picture: ImageFile.ImageFile) -> Image.Image:
    # Where a GIF's first frame lies on its canvas; known only until it is decoded.
    frame = picture.tile[0].extents if isinstance(picture, GifImagePlugin.GifImageFile) else None
    picture.load()
    if picture.mode == "P" and picture.palette is None:
        raise ValueError("colour numbers without a palette")
    rgb = _to_rgb(picture, picture.format)
    if frame is not None and frame != (0, 0, *rgb.size):
        rgb = _on_white(rgb.crop(frame), None, rgb.size, frame[:2])
    upright = turn_upright(rgb, read_orientation(picture.info.get("exif", b"")))
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
