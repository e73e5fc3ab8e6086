"""A call that never returns is noticed, once; and the process can be ended whatever its threads do."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.captioning.watchdog import Watchdog

CHECKOUT = Path(__file__).parents[2]
WAIT_S = 10.0
ENDS_ITSELF = """
import threading
from services.captioning.watchdog import end_process
threading.Thread(target=threading.Event().wait).start()  # for ever
end_process("Captioning 3 pictures on cuda:0 has not returned for 300 s")
"""


class Told:
    """What a watchdog told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.once = threading.Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self.once.set()


def test_a_call_that_hangs_is_named() -> None:
    told = Told()
    watchdog = Watchdog(0.2, told)
    with watchdog.watch("A call that returned"):
        pass
    watchdog.start()
    with watchdog.watch("Captioning 3 pictures"):
        assert told.once.wait(WAIT_S)
    watchdog.stop()
    assert told.reasons == ["Captioning 3 pictures has not returned for 0.2 s"]


def test_a_long_call_is_left_alone_and_so_are_many_in_a_row() -> None:
    told = Told()
    watchdog = Watchdog(2.0, told)  # it counts in steps of 0.5 s
    watchdog.start()
    for _ in range(3):
        with watchdog.watch("A call"):
            assert not told.once.wait(0.8)  # 2.4 s in all
    watchdog.stop()


def test_a_call_that_fails_is_no_longer_watched() -> None:
    told = Told()
    watchdog = Watchdog(0.2, told)
    with pytest.raises(ZeroDivisionError), watchdog.watch("A call that failed"):
        _ = 1 / 0
    watchdog.start()
    assert not told.once.wait(0.5)
    watchdog.stop()


def test_the_process_ends_although_a_thread_does_not() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS_ITSELF], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == os.EX_SOFTWARE
    assert "Captioning 3 pictures on cuda:0 has not returned for 300 s" in ended.stderr
