import threading
from collections.abc import Callable

import pytest
from PIL import Image, ImageFile

from services.errors import CaptioningError, TooLarge, UnreadableImage
from services.images.decode import decode
from tests.images.tricky import TRICKY, TrickyPicture, exif, four_corners, png, saved

MAX_PIXELS = 50_000_000

GOOD = [tricky for tricky in TRICKY if tricky.outcome == "ok"]
BAD = [tricky for tricky in TRICKY if tricky.outcome != "ok"]


def corners_of(picture: Image.Image) -> list[object]:
    right, bottom = picture.width - 1, picture.height - 1
    return [picture.getpixel(corner) for corner in ((0, 0), (right, 0), (0, bottom), (right, bottom))]


@pytest.mark.parametrize("tricky", GOOD, ids=lambda tricky: tricky.name)
def test_tricky_pictures_come_out_upright_and_in_true_colours(tricky: TrickyPicture) -> None:
    picture = decode(tricky.data, MAX_PIXELS)

    assert picture.mode == "RGB"
    assert picture.size == tricky.size
    for found, expected in zip(corners_of(picture), tricky.corners, strict=True):
        assert found == pytest.approx(expected, abs=6)  # JPEG does not keep colours exactly


@pytest.mark.parametrize("tricky", BAD, ids=lambda tricky: tricky.name)
def test_everything_else_is_refused_with_the_right_error(tricky: TrickyPicture) -> None:
    assert tricky.outcome != "ok"
    with pytest.raises(tricky.outcome) as raised:
        decode(tricky.data, MAX_PIXELS)
    assert type(raised.value) is tricky.outcome


@pytest.mark.parametrize(
    ("shade", "expected"), [(0, 0), (128, 0), (129, 1), (257, 1), (32896, 128), (65406, 254), (65535, 255)]
)
def test_16_bits_are_rounded_to_the_nearest_of_8(shade: int, expected: int) -> None:
    picture = decode(png((1, 1), 16, 0, [shade.to_bytes(2, "big")]), MAX_PIXELS)
    assert picture.getpixel((0, 0)) == (expected, expected, expected)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_the_limit_on_pixels_is_exact_in_every_format(name: str) -> None:
    data = saved(four_corners(), name)

    assert decode(data, max_pixels=48 * 32).size == (48, 32)
    with pytest.raises(TooLarge, match="48 × 32 pixels, more than the 1,535"):
        decode(data, max_pixels=48 * 32 - 1)


def test_a_limit_above_pillows_own_is_kept_too() -> None:
    size = (20_000, 9_000)  # Pillow refuses more than 178,956,970 pixels by itself
    data = png(size, 1, 0, [b"\xff" * 2_500] * 9_000)
    with pytest.raises(TooLarge, match="20000 × 9000"):
        decode(data, max_pixels=size[0] * size[1] - 1)


def test_nothing_is_left_that_would_turn_the_picture_again() -> None:
    picture = decode(saved(four_corners(), "JPEG", exif=exif(6)), MAX_PIXELS)
    assert picture.size == (32, 48)
    assert dict(picture.getexif()) == {}
    assert picture.info == {}


@pytest.mark.parametrize("tricky", [t for t in GOOD if t.size == (48, 32)][::7], ids=lambda t: t.name)
def test_any_cut_or_flipped_byte_gives_a_picture_or_an_error_of_ours(tricky: TrickyPicture) -> None:
    data = tricky.data
    step = max(1, len(data) // 60)
    for at in range(0, len(data), step):
        flipped = bytearray(data)
        flipped[at] ^= 0xFF
        assert _outcome(data[:at]) in {"ok", "UnreadableImage", "UnsupportedFormat"}
        assert _outcome(bytes(flipped)) in {"ok", "UnreadableImage", "UnsupportedFormat", "TooLarge"}


def test_threads_do_not_disturb_each_other() -> None:
    outcomes: dict[str, list[str]] = {}

    def decode_all(name: str, order: Callable[[list[TrickyPicture]], list[TrickyPicture]]) -> None:
        outcomes[name] = sorted(f"{tricky.name} {_outcome(tricky.data)}" for tricky in order(TRICKY))

    threads = [
        threading.Thread(target=decode_all, args=(str(start), lambda all_, n=start: all_[n:] + all_[:n]))
        for start in (0, 30, 60, 90)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    alone = sorted(
        f"{tricky.name} {tricky.outcome if tricky.outcome == 'ok' else tricky.outcome.__name__}"
        for tricky in TRICKY
    )
    assert list(outcomes.values()) == [alone] * 4


def _outcome(data: bytes) -> str:
    try:
        decode(data, MAX_PIXELS)
    except CaptioningError as exc:
        return type(exc).__name__
    return "ok"


def test_a_cut_picture_is_refused_whatever_other_packages_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAVIS, once imported, has Pillow fill up what is missing."""
    cut = [picture for picture in TRICKY if picture.name.endswith("cut_in_half")]
    assert cut
    for picture in cut:
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        with pytest.raises(UnreadableImage):
            decode(picture.data, 50_000_000)
