"""Small files that would cost much time or memory, if they were taken at their word.

Each is made when it is asked for. `MAX_PIXELS` is the service's default limit; of bytes, a small part of what
is allowed is enough to tell a reader that counts from one that does not.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from services.errors import TooLarge, UnreadableImage
from tests.images.tricky import Outcome, four_corners, png_chunk, saved

MAX_BYTES = 3 * 2**20
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Bomb:
    name: str
    make: Callable[[], bytes]
    outcome: Outcome


def _filled_up(before: bytes, filling: bytes, after: bytes, n_bytes: int = MAX_BYTES) -> bytes:
    return before + filling * ((n_bytes - len(before) - len(after)) // len(filling)) + after


# PNG


def _png_around(middle: bytes, pixels: bytes | None = None) -> bytes:
    """A PNG of 48 × 32 pixels with `middle` before its pixels, or packed `pixels` of its own."""
    whole = saved(four_corners(), "PNG")
    header, rest = whole[:33], whole[33:]
    if pixels is not None:
        rest = png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return header + middle + rest


def _png_filled_up(kind: bytes) -> bytes:
    whole = saved(four_corners(), "PNG")
    return _filled_up(whole[:33], png_chunk(kind, b""), whole[33:])


def _packed_zeros(n_bytes: int) -> bytes:
    packer = zlib.compressobj(9)
    megabyte = bytes(2**20)
    return b"".join(packer.compress(megabyte) for _ in range(n_bytes >> 20)) + packer.flush()


def png_of_zeros(size: tuple[int, int], depth: int, colour_type: int, interlaced: bool = False) -> bytes:
    """A black or transparent PNG, with more packed bytes than its pixels need."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    n_bytes = (size[0] * samples * depth // 8 + 2) * size[1] * (2 if interlaced else 1)
    header = struct.pack(">LLBBBBB", *size, depth, colour_type, 0, 0, interlaced)
    palette = png_chunk(b"PLTE", bytes(768)) + png_chunk(b"tRNS", bytes(256)) if colour_type == 3 else b""
    pixels = png_chunk(b"IDAT", _packed_zeros(n_bytes + 2**20))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + png_chunk(b"IHDR", header) + palette + pixels + png_chunk(b"IEND", b"")


def _png() -> list[Bomb]:
    def packed_text(kind: bytes) -> Callable[[], bytes]:
        return lambda: _png_around(png_chunk(kind, b"name\0\0" + _packed_zeros(2**26)) * 4)

    huge = struct.pack(">LL", 2**30, 2**30)
    return [
        Bomb("png_texts_that_unpack", packed_text(b"zTXt"), "ok"),
        Bomb("png_profile_that_unpacks", packed_text(b"iCCP"), "ok"),
        Bomb("png_more_pixels_than_announced", lambda: _png_around(b"", bytes(_packed_zeros(2**26))), "ok"),
        Bomb("png_empty_chunks", lambda: _png_filled_up(b"IDAT"), UnreadableImage),
        Bomb("png_empty_texts", lambda: _png_filled_up(b"tEXt"), UnreadableImage),
        Bomb("png_second_header", lambda: _png_around(png_chunk(b"IHDR", huge + b"\x08\6\0\0\0")), TooLarge),
    ]


# JPEG


def jpeg_with(middle: bytes, *, behind_scan: bytes = b"") -> bytes:
    """A JPEG of 48 × 32 pixels with `middle` in its header and `behind_scan` before its end."""
    whole = saved(four_corners(), "JPEG")
    return whole[:2] + middle + whole[2:-2] + behind_scan + whole[-2:]


def jpeg_of_scans(size: tuple[int, int], n_scans: int) -> bytes:
    """A grey progressive JPEG whose last scan is there so often that there are `n_scans` (at least 6)."""
    whole = saved(Image.new("L", size, 128), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    missing = n_scans - whole.count(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * missing + whole[-2:]


def jpeg_resized(data: bytes, size: tuple[int, int]) -> bytes:
    """The same data, announced as another size."""
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: frame + 5] + struct.pack(">HH", size[1], size[0]) + data[frame + 9 :]


def _jpeg() -> list[Bomb]:
    exif_part = b"\xff\xe1\x01\x02Exif\0\0" + bytes(250)
    restarts = b"".join(b"\xff" + bytes([0xD0 + n % 8]) for n in range(8))
    small = jpeg_with(b"")
    return [
        Bomb("jpeg_empty_comments", lambda: _filled_up(small[:2], b"\xff\xfe\0\2", small[2:]), UnreadableImage),
        Bomb("jpeg_exif_in_parts", lambda: _filled_up(small[:2], exif_part, small[2:], 2**21), "ok"),
        Bomb("jpeg_fill_in_header", lambda: _filled_up(small[:2], b"\xff", small[2:]), "ok"),
        Bomb("jpeg_zeros_in_header", lambda: _filled_up(small[:20], b"\0", small[20:]), "ok"),
        Bomb("jpeg_fill_in_scan", lambda: _filled_up(small[:-20], b"\xff", small[-20:]), UnreadableImage),
        Bomb("jpeg_fill_behind_scan", lambda: _filled_up(small[:-2], b"\xff", small[-2:]), UnreadableImage),
        Bomb("jpeg_stuffing_in_scan", lambda: _filled_up(small[:-2], b"\xff\0", small[-2:]), "ok"),
        Bomb("jpeg_restarts", lambda: _filled_up(small[:-2], restarts, small[-2:]), "ok"),
        Bomb("jpeg_restarts_everywhere", lambda: _filled_up(_restarting(small)[:-20], restarts, small[-2:]), "ok"),
        Bomb("jpeg_comments_behind", lambda: _filled_up(small[:-2], b"\xff\xfe\0\2", small[-2:]), UnreadableImage),
        Bomb("jpeg_scans", lambda: jpeg_of_scans((64, 64), 501), UnreadableImage),
        Bomb("jpeg_scans_at_this_size", lambda: jpeg_of_scans((1500, 1400), 477), UnreadableImage),
        Bomb("jpeg_without_pixels", lambda: jpeg_resized(small, (65500, 700)), "ok"),
    ]  # fmt: skip


def _restarting(jpeg: bytes) -> bytes:
    """With a restart announced after every block."""
    scan = jpeg.index(b"\xff\xda")
    return jpeg[:scan] + b"\xff\xdd\0\4\0\1" + jpeg[scan:]


# GIF


def gif(size: tuple[int, int], *frames: bytes, table: bytes = b"\xff\0\0\0\0\xff") -> bytes:
    """A GIF file with a colour table of two colours."""
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + table + b"".join(frames) + b";"


def gif_frame(size: tuple[int, int], codes: bytes = b"\x02\x44\x01\0", corner: tuple[int, int] = (0, 0)) -> bytes:
    return b"," + struct.pack("<HHHHB", *corner, *size, 0) + b"\x02" + codes


def _gif() -> list[Bomb]:
    head, frame = gif((9, 9))[:-1], gif_frame((9, 9))
    clear = b"\xff" + b"\x24\x49\x92" * 85  # codes of 3 bits, all "clear"
    return [
        Bomb("gif_comments", lambda: _filled_up(head, b"!\xfe\1a\0", frame), UnreadableImage),
        Bomb("gif_comment_in_parts", lambda: _filled_up(head + b"!\xfe", b"\1a", b"\0" + frame), UnreadableImage),
        Bomb("gif_controls", lambda: _filled_up(head, b"!\xf9\4\1\0\0\0\0", frame), UnreadableImage),
        Bomb("gif_zeros_between_blocks", lambda: _filled_up(head, b"\0", frame), UnreadableImage),
        Bomb("gif_frames", lambda: _filled_up(head, gif_frame((9, 9)), b";"), UnreadableImage),
        Bomb("gif_clear_codes", lambda: _filled_up(head + gif_frame((9, 9), b""), clear, b"\0;"), UnreadableImage),
        Bomb("gif_frame_far_outside", lambda: gif((9, 9), gif_frame((9, 9), corner=(65000, 65000))), TooLarge),
    ]


# BMP


def bmp_of(
    size: tuple[int, int],
    bits: int,
    pixels: bytes,
    *,
    compression: int = 0,
    colours: int = 0,
    offset: int | None = None,
) -> bytes:
    """A BMP file with the classic header of 40 bytes and a colour table of no greys."""
    table = b"".join(bytes((n % 256, 99, 0, 0)) for n in range(1 << bits)) if bits <= 8 else b""
    header = struct.pack("<LllHHLLllLL", 40, *size, 1, bits, compression, len(pixels), 0, 0, colours, 0)
    start = 54 + len(table) if offset is None else offset
    return b"BM" + struct.pack("<LHHL", 54 + len(table) + len(pixels), 0, 0, start) + header + table + pixels


def _bmp() -> list[Bomb]:
    line_ends = b"\1\1\0\0" * 7000 + b"\0\1"
    return [
        Bomb("bmp_rle8_of_line_ends", lambda: bmp_of((7000, 7000), 8, line_ends, compression=1), TooLarge),
        Bomb("bmp_rle4_of_line_ends", lambda: bmp_of((7000, 7000), 4, line_ends, compression=2), TooLarge),
        Bomb("bmp_rle8_without_progress", lambda: bmp_of((9, 9), 8, b"\1\1" * 2**23, compression=1), TooLarge),
        Bomb("bmp_rle8_at_its_limit", lambda: bmp_of((2000, 2000), 8, line_ends[:8000], compression=1), "ok"),
        Bomb("bmp_lowest_height", lambda: bmp_of((1, -(2**31)), 24, b""), TooLarge),
        Bomb("bmp_lowest_width", lambda: bmp_of((-(2**31), 1), 24, b""), TooLarge),
        Bomb("bmp_highest", lambda: bmp_of((2**31 - 1, 2**31 - 1), 1, b""), TooLarge),
        Bomb("bmp_colours", lambda: bmp_of((9, 9), 8, bytes(108), colours=2**31 - 1, offset=54), UnreadableImage),
        Bomb("bmp_far_offset", lambda: bmp_of((9, 9), 24, bytes(252), offset=2**32 - 1), UnreadableImage),
        Bomb("bmp_one_bit_short", lambda: bmp_of((50_000_000, 1), 1, bytes(100)), UnreadableImage),
    ]  # fmt: skip


# WebP


def webp(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<L", len(content)) + content


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<L", len(content)) + content + b"\0" * (len(content) % 2)


def webp_head(size: tuple[int, int], flags: int = 0x02) -> bytes:
    """VP8X, and ANIM when the flags say so (0x02)."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    animation = webp_chunk(b"ANIM", bytes(6)) if flags & 0x02 else b""
    return webp_chunk(b"VP8X", struct.pack("<L", flags) + sides) + animation


def webp_frame(picture: Image.Image) -> bytes:
    content = saved(picture, "WEBP", lossless=True)[12:]
    sides = b"".join((side - 1).to_bytes(3, "little") for side in picture.size)
    return webp_chunk(b"ANMF", bytes(6) + sides + bytes(4) + content)


def _webp() -> list[Bomb]:
    dot = webp_frame(Image.new("RGB", (1, 1)))
    empty = webp_chunk(b"JUNK", b"")

    def frames() -> bytes:
        return webp(webp_head((9, 9)), dot * ((MAX_BYTES - 100) // len(dot)))

    def chunks() -> bytes:
        still = saved(four_corners(), "WEBP", lossless=True)[12:]
        return webp(webp_head((48, 32), 0), empty * ((MAX_BYTES - 1000) // 8), still)

    return [
        Bomb("webp_frames", frames, "ok"),
        Bomb("webp_chunks", chunks, "ok"),
        Bomb("webp_canvas", lambda: webp(webp_head((2**24, 200)), dot), TooLarge),
        Bomb("webp_canvas_of_small_frame", lambda: webp(webp_head((7071, 7071)), dot), "ok"),
        Bomb("webp_lossless_header", lambda: webp(webp_chunk(b"VP8L", b"\x2f" + b"\xff" * 40)), TooLarge),
    ]


BOMBS = [*_png(), *_jpeg(), *_gif(), *_bmp(), *_webp()]


def _jpeg_of_one_colour(mode: str, size: tuple[int, int], progressive: bool) -> bytes:
    return saved(Image.new(mode, size), "JPEG", subsampling=0, progressive=progressive)


def _webp_of_one_colour(mode: str, size: tuple[int, int], lossless: bool) -> bytes:
    return saved(Image.new(mode, size, (1, 2, 3, 4)[: len(mode)]), "WEBP", lossless=lossless, method=0)


# Pictures of a size that decoding takes the most memory for, in each format.
HUNGRY: dict[str, Callable[[tuple[int, int]], bytes]] = {
    "png_16_bit_rgba": lambda size: png_of_zeros(size, 16, 6),
    "png_16_bit_rgba_interlaced": lambda size: png_of_zeros(size, 16, 6, interlaced=True),
    "png_16_bit_grey": lambda size: png_of_zeros(size, 16, 0),
    "png_palette": lambda size: png_of_zeros(size, 8, 3),
    "jpeg_progressive": lambda size: _jpeg_of_one_colour("RGB", size, progressive=True),
    "jpeg_cmyk_progressive": lambda size: _jpeg_of_one_colour("CMYK", size, progressive=True),
    "gif_offset_frame": lambda size: gif(size, gif_frame((1, 1), corner=(9, 9))),
    "bmp_32": lambda size: bmp_of(size, 32, bytes(4 * size[0] * size[1])),
    "webp_lossless": lambda size: _webp_of_one_colour("RGBA", size, lossless=True),
    "webp_lossy": lambda size: _webp_of_one_colour("RGB", size, lossless=False),
    "webp_canvas": lambda size: webp(webp_head(size, 0x12), webp_frame(Image.new("RGB", (1, 1)))),
}
