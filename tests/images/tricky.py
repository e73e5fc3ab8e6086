"""Pictures that image services stumble over, each with what must come of it.

Made here, by Pillow where it can write them and by hand where it cannot, so that each says what is tricky
about it.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal

from PIL import Image

from services.errors import CaptioningError, TooLarge, UnreadableImage, UnsupportedFormat

Outcome = Literal["ok"] | type[CaptioningError]

WIDTH, HEIGHT = 48, 32
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
WHITE, GREY = (255, 255, 255), (128, 128, 128)
CORNERS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right


@dataclass(frozen=True)
class TrickyPicture:
    """A file, and "ok" or the error that decoding it under the service's default limits raises.

    `corners` are the colours of a good picture: top left, top right, bottom left, bottom right; `size` is
    (width, height). Both are as seen by the person who looks at it; empty corners are not looked at.
    """

    name: str
    data: bytes = field(repr=False)
    outcome: Outcome = "ok"
    corners: Sequence[tuple[int, int, int]] = CORNERS
    size: tuple[int, int] = (WIDTH, HEIGHT)


def four_corners(mode: str = "RGB") -> Image.Image:
    """A picture of four coloured quarters, so that every turn and every swap of colours shows."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for index, colour in enumerate(CORNERS):
        picture.paste(colour, (index % 2 * WIDTH // 2, index // 2 * HEIGHT // 2, WIDTH, HEIGHT))
    return picture.convert(mode)


def saved(picture: Image.Image, file_format: str, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(
    size: tuple[int, int], depth: int, colour_type: int, rows: Sequence[bytes], extra: bytes = b""
) -> bytes:
    """A PNG file from raw rows; `extra` are chunks before the pixels."""
    header = struct.pack(">LLBBBBB", *size, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def exif(orientation: int, byte_order: str = "<", kind: int = 3) -> bytes:
    """EXIF data with nothing but an orientation, as SHORT (`kind` 3) or LONG (4)."""
    mark = b"II*\0" if byte_order == "<" else b"MM\0*"
    value = struct.pack(byte_order + ("HH" if kind == 3 else "L"), *((orientation, 0)[: 5 - kind]))
    ifd = struct.pack(byte_order + "LHHHL", 8, 1, 0x0112, kind, 1) + value + b"\0\0\0\0"
    return b"Exif\0\0" + mark + ifd


def _turned(orientation: int) -> Image.Image:
    """The picture as a camera stores it that writes this orientation."""
    stored_as = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # to be turned back by 90° clockwise
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    method = stored_as.get(orientation)
    return four_corners() if method is None else four_corners().transpose(method)


def _oriented() -> list[TrickyPicture]:
    jpegs = [
        TrickyPicture(f"jpeg_exif_{n}", saved(_turned(n), "JPEG", quality=95, exif=exif(n)))
        for n in range(1, 9)
    ]
    broken = {
        "no_ifd": exif(6)[:14],
        "offset_beyond_the_end": b"Exif\0\0II*\0" + struct.pack("<L", 2**31),
        "cut_in_the_entry": exif(6)[:20],
        "65535_entries": b"Exif\0\0II*\0" + struct.pack("<LH", 8, 65535) + b"\xff" * 40,
        "noise": b"Exif\0\0" + bytes(range(256)),
        "orientation_99": exif(99),
    }
    return [
        *jpegs,
        TrickyPicture("jpeg_exif_big_endian", saved(_turned(6), "JPEG", quality=95, exif=exif(6, ">"))),
        TrickyPicture("jpeg_exif_long", saved(_turned(6), "JPEG", quality=95, exif=exif(6, ">", 4))),
        TrickyPicture("png_exif_6", saved(_turned(6), "PNG", exif=exif(6))),
        TrickyPicture("webp_exif_8", saved(_turned(8), "WEBP", lossless=True, exif=exif(8))),
        *(
            TrickyPicture(f"jpeg_exif_{name}", saved(four_corners(), "JPEG", quality=95, exif=data))
            for name, data in broken.items()
        ),
        TrickyPicture("png_exif_noise", saved(four_corners(), "PNG", exif=b"Exif\0\0noise")),
        TrickyPicture("webp_exif_noise", saved(four_corners(), "WEBP", lossless=True, exif=b"noise")),
    ]


def _quarters(top_left: bytes, top_right: bytes, bottom_left: bytes, bottom_right: bytes) -> list[bytes]:
    """Rows of a picture of 48 × 32 pixels whose quarters are filled with the given pixels."""
    half = WIDTH // 2
    upper, lower = top_left * half + top_right * half, bottom_left * half + bottom_right * half
    return [upper] * (HEIGHT // 2) + [lower] * (HEIGHT // 2)


def _deep() -> list[TrickyPicture]:
    size = (WIDTH, HEIGHT)
    shades = [struct.pack(">H", shade) for shade in (0, 32896, 51400, 65535)]
    greys = ((0, 0, 0), GREY, (200, 200, 200), WHITE)
    rgb = [struct.pack(">3H", *(257 * part for part in colour)) for colour in CORNERS]
    alpha = [struct.pack(">H", 65535)] * 3 + [struct.pack(">H", 0)]
    last_is_white = (*CORNERS[:3], WHITE)
    with_alpha = [colour + opacity for colour, opacity in zip(rgb, alpha, strict=True)]
    key = {
        "grey_4": struct.pack(">H", 8),
        "grey_16": struct.pack(">H", 32896),
        "rgb_16": struct.pack(">3H", 65535, 65535, 0),
    }
    return [
        TrickyPicture("png_grey_16_bits", png(size, 16, 0, _quarters(*shades)), corners=greys),
        TrickyPicture("png_rgb_16_bits", png(size, 16, 2, _quarters(*rgb))),
        TrickyPicture("png_rgba_16_bits", png(size, 16, 6, _quarters(*with_alpha)), corners=last_is_white),
        TrickyPicture(
            "png_grey_16_bits_with_transparent_shade",
            png(size, 16, 0, _quarters(*shades), png_chunk(b"tRNS", key["grey_16"])),
            corners=((0, 0, 0), WHITE, (200, 200, 200), WHITE),
        ),
        TrickyPicture(
            "png_rgb_16_bits_with_transparent_colour",
            png(size, 16, 2, _quarters(*rgb), png_chunk(b"tRNS", key["rgb_16"])),
            corners=last_is_white,
        ),
        TrickyPicture(
            "png_grey_4_bits_with_transparent_shade",  # each byte is two pixels
            png(size, 4, 0, [row[::2] for row in _quarters(b"\0", b"\x33", b"\x66", b"\x88")],
                png_chunk(b"tRNS", key["grey_4"])),
            corners=((0, 0, 0), (51, 51, 51), (102, 102, 102), WHITE),
        ),
    ]  # fmt: skip


def _transparent() -> list[TrickyPicture]:
    last_is_white = (*CORNERS[:3], WHITE)
    half_red = (255, 127, 127)
    rgba = four_corners("RGBA")
    rgba.paste((255, 255, 0, 0), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    half = four_corners("RGBA")
    half.paste((255, 0, 0, 128), (0, 0, WIDTH // 2, HEIGHT // 2))
    grey = Image.new("LA", (WIDTH, HEIGHT), (0, 0))
    grey.paste((128, 255), (0, 0, WIDTH // 2, HEIGHT // 2))
    palette = four_corners().quantize(4)
    yellow = palette.getpixel((WIDTH - 1, HEIGHT - 1))
    assert isinstance(yellow, int)
    alphas = bytes(0 if index == yellow else 255 for index in range(4))
    return [
        TrickyPicture("png_rgba", saved(rgba, "PNG"), corners=last_is_white),
        TrickyPicture("webp_rgba", saved(rgba, "WEBP", lossless=True), corners=last_is_white),
        TrickyPicture("png_half_transparent", saved(half, "PNG"), corners=(half_red, *CORNERS[1:])),
        TrickyPicture("png_la", saved(grey, "PNG"), corners=(GREY, WHITE, WHITE, WHITE)),
        TrickyPicture("png_palette_one", saved(palette, "PNG", transparency=yellow), corners=last_is_white),
        TrickyPicture("png_palette_bytes", saved(palette, "PNG", transparency=alphas), corners=last_is_white),
        TrickyPicture(
            "png_rgb_with_transparent_colour",
            saved(four_corners(), "PNG", transparency=YELLOW),
            corners=last_is_white,
        ),
        TrickyPicture("gif_transparent", saved(palette, "GIF", transparency=yellow), corners=last_is_white),
    ]


def _adobe_marker(jpeg: bytes) -> tuple[int, int]:
    start = jpeg.index(b"\xff\xee")
    return start, start + 2 + int.from_bytes(jpeg[start + 2 : start + 4])


def _other_colours() -> list[TrickyPicture]:
    bits = Image.new("1", (WIDTH, HEIGHT), 0)
    bits.paste(1, (0, 0, WIDTH // 2, HEIGHT))
    cmyk = saved(four_corners("CMYK"), "JPEG", quality=95)
    start, end = _adobe_marker(cmyk)
    # YCCK: the inverse of each colour as YCbCr, and the inverse of no black. Pillow inverts what it saves.
    inverse = Image.merge("RGB", [band.point(lambda v: 255 - v) for band in four_corners().split()])
    bands = [band.point(lambda v: 255 - v) for band in inverse.convert("YCbCr").split()]
    ycck = saved(Image.merge("CMYK", [*bands, Image.new("L", (WIDTH, HEIGHT), 0)]), "JPEG", quality=95)
    transform = _adobe_marker(ycck)[1] - 1
    ycck = ycck[:transform] + b"\x02" + ycck[transform + 1 :]
    return [
        TrickyPicture("jpeg_cmyk_adobe", cmyk),
        TrickyPicture("jpeg_cmyk_without_marker", cmyk[:start] + cmyk[end:]),
        TrickyPicture("jpeg_ycck", ycck),
        TrickyPicture("jpeg_rgb_not_ycbcr", saved(four_corners(), "JPEG", quality=95, keep_rgb=True)),
        TrickyPicture("jpeg_progressive", saved(four_corners(), "JPEG", quality=95, progressive=True)),
        TrickyPicture("jpeg_grey", saved(Image.new("L", (9, 9), 128), "JPEG"), "ok", (GREY,) * 4, (9, 9)),
        TrickyPicture("png_1_bit", saved(bits, "PNG"), corners=(WHITE, (0, 0, 0), WHITE, (0, 0, 0))),
        TrickyPicture("bmp_1_bit", saved(bits, "BMP"), corners=(WHITE, (0, 0, 0), WHITE, (0, 0, 0))),
        TrickyPicture("gif_grey", saved(Image.new("L", (9, 9), 128), "GIF"), "ok", (GREY,) * 4, (9, 9)),
        TrickyPicture("png_palette_index_beyond_palette",
                      png((2, 2), 8, 3, [b"\x00\x09", b"\x09\x09"], png_chunk(b"PLTE", bytes(RED))),
                      corners=(RED, (0, 0, 0), (0, 0, 0), (0, 0, 0)), size=(2, 2)),
    ]  # fmt: skip


def bmp(height: int, bits: int, pixels: bytes, masks: Sequence[int] = ()) -> bytes:
    """A BMP file as wide as the others here; a negative height means that its top row comes first."""
    compression = 3 if masks else 0
    header = struct.pack("<LllHHLLllLL", 108, WIDTH, height, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    header += struct.pack("<4L", *(masks or (0, 0, 0, 0))) + bytes(108 - 56)
    offset = 14 + len(header)
    return b"BM" + struct.pack("<LHHL", offset + len(pixels), 0, 0, offset) + header + pixels


def _bitmaps() -> list[TrickyPicture]:
    top_down = b"".join(_quarters(*(bytes(colour[::-1]) for colour in CORNERS)))
    unfilled = b"".join(_quarters(*(bytes(colour[::-1]) + b"\0" for colour in CORNERS)))
    alpha_masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return [
        TrickyPicture("bmp_top_down", bmp(-HEIGHT, 24, top_down)),
        TrickyPicture("bmp_alpha_never_filled", bmp(-HEIGHT, 32, unfilled, alpha_masks)),
        TrickyPicture("bmp_palette", saved(four_corners().quantize(4), "BMP")),
    ]


def _several_frames() -> list[TrickyPicture]:
    first, second = four_corners(), Image.new("RGB", (WIDTH, HEIGHT), GREY)
    animated = {"save_all": True, "append_images": [second], "duration": 100, "loop": 0}
    webp = saved(first, "WEBP", lossless=True, **animated)
    small = saved(four_corners().quantize(4), "GIF")
    # The same GIF on a canvas that is wider: what no frame has drawn is transparent.
    canvas = small[:6] + struct.pack("<H", 2 * WIDTH) + small[8:]
    apng = saved(first, "PNG", **animated)
    no_frames = apng.replace(b"acTL" + struct.pack(">L", 2), b"acTL" + struct.pack(">L", 0))
    return [
        TrickyPicture("gif_animated", saved(first.quantize(4), "GIF", **animated)),
        TrickyPicture("webp_animated", webp),
        TrickyPicture("png_animated", apng),
        TrickyPicture("png_animated_badly", no_frames),
        TrickyPicture("jpeg_mpo", saved(first, "MPO", quality=95, save_all=True, append_images=[second])),
        TrickyPicture("jpeg_mpo_cut_after_the_first",
                      saved(first, "MPO", quality=95, save_all=True, append_images=[second])[:-200]),
        TrickyPicture("gif_canvas_wider_than_frame", canvas,
                      corners=(RED, WHITE, BLUE, WHITE), size=(2 * WIDTH, HEIGHT)),
    ]  # fmt: skip


def _small_and_odd() -> list[TrickyPicture]:
    dot = Image.new("RGB", (1, 1), RED)
    strip = Image.new("RGB", (3000, 1), RED)
    jpeg = saved(four_corners(), "JPEG", quality=95)
    profiled = saved(four_corners(), "JPEG", quality=95, icc_profile=b"noise" * 30)
    bad_profile = png_chunk(b"iCCP", b"name\0\x07not a profile") + png_chunk(b"zTXt", b"a\0\0" + b"\xff" * 9)
    return [
        *(TrickyPicture(f"{name.lower()}_1x1", saved(dot, name, **options), "ok", (RED,) * 4, (1, 1))
          for name, options in _LOSSLESS.items()),
        TrickyPicture("jpeg_1x1", saved(Image.new("L", (1, 1), 128), "JPEG"), "ok", (GREY,) * 4, (1, 1)),
        TrickyPicture("png_3000x1", saved(strip, "PNG"), "ok", (RED,) * 4, (3000, 1)),
        TrickyPicture("jpeg_with_text_behind", jpeg + b"<html>more</html>"),
        TrickyPicture("png_broken_profile",
                      png((WIDTH, HEIGHT), 8, 2, _quarters(*map(bytes, CORNERS)), bad_profile)),
        TrickyPicture("jpeg_profile_noise", profiled),
    ]  # fmt: skip


_LOSSLESS: dict[str, dict[str, bool]] = {"PNG": {}, "GIF": {}, "BMP": {}, "WEBP": {"lossless": True}}


def _damaged() -> list[TrickyPicture]:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    whole = {name: saved(noise, name) for name in ("PNG", "JPEG", "GIF", "BMP", "WEBP")}
    good_png = bytearray(whole["PNG"])
    good_png[len(good_png) // 2] ^= 0xFF
    no_frame = b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";"
    no_size = bytearray(whole["PNG"])
    no_size[16:20] = bytes(4)
    no_size[29:33] = struct.pack(">L", zlib.crc32(bytes(no_size[12:29])))
    return [
        *(TrickyPicture(f"{name.lower()}_cut_in_half", data[: len(data) // 2], UnreadableImage)
          for name, data in whole.items()),
        *(TrickyPicture(f"{name.lower()}_cut_after_20_bytes", data[:20], UnreadableImage)
          for name, data in whole.items()),
        TrickyPicture("png_flipped_byte", bytes(good_png), UnreadableImage),
        TrickyPicture("png_palette_missing", png((2, 2), 8, 3, [b"\0\1", b"\1\0"]), UnreadableImage),
        TrickyPicture("png_no_width", bytes(no_size), UnreadableImage),
        TrickyPicture("png_signature_only", whole["PNG"][:8], UnreadableImage),
        TrickyPicture("jpeg_start_only", b"\xff\xd8\xff", UnreadableImage),
        TrickyPicture("gif_without_frame", no_frame, UnreadableImage),
        TrickyPicture("zero_bytes", b"", UnreadableImage),
    ]  # fmt: skip


def _bombs() -> list[TrickyPicture]:
    webp = b"VP8X" + struct.pack("<LL", 10, 0) + (16382).to_bytes(3, "little") * 2
    jpeg = bytearray(saved(Image.new("L", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    white_bits = [b"\xff" * 1250] * 10_000
    return [
        TrickyPicture("png_bomb_header", png((50_000, 50_000), 8, 2, [b"\0"]), TooLarge),
        TrickyPicture("png_2_gigapixels_a_side", png((2**31 - 1, 2**31 - 1), 8, 2, [b"\0"]), TooLarge),
        TrickyPicture("png_bomb_that_unpacks", png((10_000, 10_000), 1, 0, white_bits), TooLarge),
        TrickyPicture("jpeg_bomb_header", bytes(jpeg), TooLarge),
        TrickyPicture("gif_bomb_header", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0), TooLarge),
        TrickyPicture(
            "gif_bomb_frame",  # a small canvas, and a frame that is cleared after it was shown
            b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b"!\xf9\x04\x08\0\0\0\0"
            + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x01\x00\x00;",
            TooLarge,
        ),
        TrickyPicture("bmp_bomb_header", bmp(30_000_000, 24, b"\0" * 99), TooLarge),
        TrickyPicture("webp_bomb_header", b"RIFF" + struct.pack("<L", 22) + b"WEBP" + webp, TooLarge),
    ]  # fmt: skip


def _other_formats() -> list[TrickyPicture]:
    texts = {
        "text_called_jpg": b"This is not a picture, whatever its name says.\n",
        "text_that_begins_like_bmp": b"BMP files begin with two letters, as this text does.\n",
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "pdf": b"%PDF-1.7\n",
        "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(99),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "riff_sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(99),
        "one_byte": b"\0",
    }
    return [
        *(TrickyPicture(name, data, UnsupportedFormat) for name, data in texts.items()),
        *(TrickyPicture(name.lower(), saved(four_corners(), name), UnsupportedFormat)
          for name in ("TIFF", "ICO", "PPM", "TGA", "PCX")),
    ]  # fmt: skip


TRICKY: list[TrickyPicture] = [
    *_oriented(),
    *_deep(),
    *_transparent(),
    *_other_colours(),
    *_bitmaps(),
    *_several_frames(),
    *_small_and_odd(),
    *_damaged(),
    *_bombs(),
    *_other_formats(),
]
