"""Legal pictures as few programs write them, each with the colours of its four corners."""

import struct
import zlib
from collections.abc import Sequence

from PIL import Image

from services.errors import UnreadableImage
from tests.images.bombs import bmp_of, gif, gif_frame, jpeg_with, webp, webp_chunk, webp_head
from tests.images.tricky import (
    BLUE,
    CORNERS,
    GREEN,
    HEIGHT,
    RED,
    WHITE,
    WIDTH,
    YELLOW,
    TrickyPicture,
    four_corners,
    png,
    png_chunk,
    saved,
)

# First column, column step, first row, row step of each pass (PNG, 8.1).
ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
HALF = WIDTH // 2


def _numbers() -> list[list[int]]:
    """Rows of colour numbers: 0, 1, 2, 3 in the four quarters."""
    return [[2 * (y >= HEIGHT // 2) + (x >= HALF) for x in range(WIDTH)] for y in range(HEIGHT)]


def _packed(row: Sequence[int], bits: int) -> bytes:
    per_byte = 8 // bits
    groups = (row[start : start + per_byte] for start in range(0, len(row), per_byte))
    return bytes(sum(n << (8 - bits * (i + 1)) for i, n in enumerate(group)) for group in groups)


def _interlaced_png() -> bytes:
    rows = _numbers()
    passes = b""
    for left, step_x, top, step_y in ADAM7:
        for row in rows[top::step_y]:
            passes += b"\0" + b"".join(bytes(CORNERS[number]) for number in row[left::step_x])
    header = struct.pack(">LLBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(passes)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _pngs() -> list[TrickyPicture]:
    size = (WIDTH, HEIGHT)
    rows = [_packed(row, 2) for row in _numbers()]
    palette = png_chunk(b"PLTE", b"".join(map(bytes, CORNERS)))
    greys = ((0, 0, 0), (85, 85, 85), (170, 170, 170), WHITE)
    grey_alpha = [b"".join(struct.pack(">HH", 0x8080, 0xFFFF * (n < 3)) for n in row) for row in _numbers()]
    whole = saved(four_corners(), "PNG")
    pixels_at = whole.index(b"IDAT") + 4
    n_bytes = int.from_bytes(whole[pixels_at - 8 : pixels_at - 4])
    single = b"".join(png_chunk(b"IDAT", whole[at : at + 1]) for at in range(pixels_at, pixels_at + n_bytes))
    in_pieces = whole[: pixels_at - 8] + single + png_chunk(b"IEND", b"")
    return [
        TrickyPicture("png_interlaced", _interlaced_png()),
        TrickyPicture("png_palette_2_bits", png(size, 2, 3, rows, palette)),
        TrickyPicture("png_grey_2_bits", png(size, 2, 0, rows), corners=greys),
        TrickyPicture("png_grey_alpha_16_bits", png(size, 16, 4, grey_alpha),
                      corners=((128, 128, 128),) * 3 + (WHITE,)),
        TrickyPicture("png_pixels_in_chunks_of_one_byte", in_pieces),
        TrickyPicture("png_with_another_behind", whole + whole),
    ]  # fmt: skip


def _jpegs() -> list[TrickyPicture]:
    whole = saved(four_corners(), "JPEG", quality=95)
    frame = whole.index(b"\xff\xc0")

    def as_frame(kind: int, bits: int = 8) -> bytes:
        marker, length = bytes([0xFF, kind]), whole[frame + 2 : frame + 4]
        return whole[:frame] + marker + length + bytes([bits]) + whole[frame + 5 :]

    fill = whole[:2] + b"\xff" * 9 + whole[2:]
    no_height = whole[: frame + 5] + b"\0\0" + whole[frame + 7 :]
    return [
        TrickyPicture("jpeg_restarts", saved(four_corners(), "JPEG", quality=95, restart_marker_blocks=1)),
        TrickyPicture("jpeg_not_subsampled", saved(four_corners(), "JPEG", quality=95, subsampling=0)),
        TrickyPicture("jpeg_exact_tables", saved(four_corners(), "JPEG", quality=95, optimize=True)),
        TrickyPicture("jpeg_fill_before_markers", fill),
        TrickyPicture("jpeg_unknown_segments", jpeg_with(b"\xff\xef\0\4ab\xff\xe3\0\2\xff\xfe\0\3!")),
        TrickyPicture("jpeg_padded_behind_its_end", whole + b"\xff" * 5000),
        TrickyPicture("jpeg_thumbnail_inside", jpeg_with(b"\xff\xed" + struct.pack(">H", len(whole) + 2) + whole)),
        TrickyPicture("jpeg_12_bits", as_frame(0xC1, bits=12), UnreadableImage),
        TrickyPicture("jpeg_lossless", as_frame(0xC3), UnreadableImage),
        TrickyPicture("jpeg_hierarchical", as_frame(0xC5), UnreadableImage),
        TrickyPicture("jpeg_height_not_known_yet", no_height, UnreadableImage),
    ]


def _bmps() -> list[TrickyPicture]:
    rows = _numbers()[::-1]  # the lowest row comes first
    size = (WIDTH, HEIGHT)

    def of_numbers(bits: int) -> bytes:
        data = bytearray(bmp_of(size, bits, b"".join(_packed(row, bits) for row in rows)))
        for number, colour in enumerate(CORNERS[: 1 << bits]):
            data[54 + 4 * number : 58 + 4 * number] = bytes((*colour[::-1], 0))
        return bytes(data)

    def of_words(green_bits: int) -> bytes:
        def word(colour: tuple[int, int, int]) -> bytes:
            red, green, blue = colour
            return struct.pack("<H", red >> 3 << 5 + green_bits | green >> 8 - green_bits << 5 | blue >> 3)

        return b"".join(word(CORNERS[number]) for row in rows for number in row)

    os2_head = struct.pack("<LHHHH", 12, *size, 1, 1) + bytes(RED[::-1] + GREEN[::-1])
    os2_pixels = b"".join(_packed([n & 1 for n in row], 1) + b"\0\0" for row in rows)
    os2_file = b"BM" + struct.pack("<LHHL", 0, 0, 0, 32) + os2_head + os2_pixels
    masks = struct.pack("<LLL", 0xF800, 0x7E0, 0x1F)
    words_565 = bytearray(bmp_of(size, 16, masks + of_words(6), compression=3, offset=66))
    runs = b"".join(bytes((HALF, row[0], HALF, row[-1], 0, 0)) for row in rows) + b"\0\1"
    rle8 = bytearray(bmp_of(size, 8, runs, compression=1))
    rle8[54:70] = b"".join(bytes((*colour[::-1], 0)) for colour in CORNERS)
    four_bytes = b"".join(bytes((*CORNERS[number][::-1], 9)) for row in rows for number in row)
    return [
        TrickyPicture("bmp_4_bits", of_numbers(4)),
        TrickyPicture("bmp_8_bits", of_numbers(8)),
        TrickyPicture("bmp_16_bits", bmp_of(size, 16, of_words(5))),
        TrickyPicture("bmp_16_bits_of_which_6_green", bytes(words_565)),
        TrickyPicture("bmp_32_bits", bmp_of(size, 32, four_bytes)),
        TrickyPicture("bmp_os2", os2_file, corners=(RED, GREEN, RED, GREEN)),
        TrickyPicture("bmp_run_length_8", bytes(rle8)),
    ]


def _gifs() -> list[TrickyPicture]:
    picture = four_corners().quantize(4)
    plain = saved(picture, "GIF", interlace=False)
    stray = plain.index(b",", 13)
    # A frame of one pixel of the second colour, with a table of its own, on a canvas that stays transparent.
    own_table = b"," + struct.pack("<HHHHB", 2, 1, 1, 1, 0x80) + bytes(YELLOW + BLUE) + b"\x02\x02\x4c\x01\0"
    return [
        TrickyPicture("gif_interlaced", saved(picture, "GIF", interlace=True)),
        TrickyPicture("gif_bytes_between_blocks", plain[:stray] + b"\0\0\0" + plain[stray:]),
        TrickyPicture("gif_own_table_in_a_corner", gif((3, 2), own_table), "ok",
                      (WHITE, WHITE, WHITE, BLUE), (3, 2)),
        TrickyPicture("gif_comment_first", gif((1, 1), b"!\xfe\5hello\0", gif_frame((1, 1))), "ok",
                      (RED,) * 4, (1, 1)),
    ]  # fmt: skip


def _webps() -> list[TrickyPicture]:
    rgba = four_corners("RGBA")
    rgba.paste((255, 255, 0, 0), (HALF, HEIGHT // 2, WIDTH, HEIGHT))
    corner = saved(Image.new("RGB", (2, 2), RED), "WEBP", lossless=True)[12:]
    frame = webp_chunk(b"ANMF", (1).to_bytes(3, "little") * 4 + bytes(4) + corner)  # offsets are halved
    return [
        TrickyPicture("webp_lossy_with_alpha", saved(rgba, "WEBP", quality=99), corners=(*CORNERS[:3], WHITE)),
        TrickyPicture("webp_frame_in_a_corner", webp(webp_head((4, 4), 0x12), frame), "ok",
                      (WHITE, WHITE, WHITE, RED), (4, 4)),
    ]  # fmt: skip


ODD = [*_pngs(), *_jpegs(), *_bmps(), *_gifs(), *_webps()]
