import pytest

from services.errors import CaptioningError
from services.images.decode import decode
from tests.images.odd import ODD
from tests.images.test_decode import MAX_PIXELS, corners_of
from tests.images.tricky import TrickyPicture


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_odd_pictures_are_read_like_any_other_or_refused(odd: TrickyPicture) -> None:
    if odd.outcome != "ok":
        with pytest.raises(CaptioningError) as raised:
            decode(odd.data, MAX_PIXELS)
        assert type(raised.value) is odd.outcome
        return
    picture = decode(odd.data, MAX_PIXELS)
    assert (picture.mode, picture.size) == ("RGB", odd.size)
    for found, expected in zip(corners_of(picture), odd.corners, strict=True):
        assert found == pytest.approx(expected, abs=8)  # 5 bits of 8, and JPEG
