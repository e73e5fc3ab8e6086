"""Whatever a picture is made of: a right picture or one of three errors, and the process lives."""

import json
import subprocess
import sys

import pytest

from services.errors import CaptioningError
from services.images.decode import decode
from tests.images.bombs import BOMBS, MAX_PIXELS, Bomb
from tests.images.broken import all_broken

# A machine at rest takes seconds. The limit only ends what hangs.
HANGS_S = 900
MAX_PEAK_BYTES = 1_200_000_000


def test_there_are_more_than_a_thousand() -> None:
    names = [broken.name for broken in all_broken()]
    assert len(names) > 5_000
    assert len(set(names)) == len(names)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_broken_picture_gives_a_right_picture_or_an_error_of_ours() -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.images.decode_broken"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert set(found["outcomes"]) == {"ok", "UnsupportedFormat", "UnreadableImage", "TooLarge"}
    assert found["peak_bytes"] < MAX_PEAK_BYTES


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_what_would_take_too_long_is_refused_and_the_rest_read(bomb: Bomb) -> None:
    data = bomb.make()
    if bomb.outcome == "ok":
        assert decode(data, MAX_PIXELS).mode == "RGB"
        return
    with pytest.raises(CaptioningError) as raised:
        decode(data, MAX_PIXELS)
    assert type(raised.value) is bomb.outcome
