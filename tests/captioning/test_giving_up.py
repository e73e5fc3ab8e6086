"""When the model hangs or its device is lost: everybody is told, and the process ends."""

from concurrent.futures import Future

import pytest

from services.captioning.captioner import DeviceLost
from services.captioning.jobs import Answer
from services.errors import ModelNotReady
from tests.captioning.echo import BEAMS, WAIT_S, Echo, ask, queued, running
from tests.fakes import wait_for


class End:
    """In place of the process's end."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)


def assert_told_of_the_restart(future: Future[Answer]) -> None:
    with pytest.raises(ModelNotReady, match="restarts") as refused:
        future.result(WAIT_S)
    assert refused.value.retry_after_s


def test_when_the_model_hangs_all_are_told_and_the_process_ends() -> None:
    echo, end = Echo(), End()
    with (
        running(echo, max_batch=1, call_timeout_s=0.2, end=end) as batcher,
        batcher.admit() as late,  # admitted, but still fetching its picture
        batcher.admit() as place,
        batcher.admit() as behind,
    ):
        echo.hold()
        for future in (place.submit("hung", BEAMS), behind.submit("behind", BEAMS)):
            assert_told_of_the_restart(future)
        assert_told_of_the_restart(late.submit("late", BEAMS))
        with pytest.raises(ModelNotReady, match="restarts"), batcher.admit():
            pass
        wait_for(lambda: bool(end.reasons))
        echo.go()  # it comes back after all: too late, and harmless
        assert batcher.join(WAIT_S)
    assert end.reasons == ["Captioning a batch of 1 on cpu has not returned for 0.2 s"]
    assert echo.batches == [["HUNG"]]


def test_when_a_device_is_lost_all_are_told_and_the_process_ends() -> None:
    echo, end = Echo(), End()
    echo.errors["B"] = DeviceLost("an illegal memory access")
    with running(echo, max_batch=2, end=end) as batcher, queued(batcher, echo, *"abc") as futures:
        echo.go()
        for future in futures:
            assert_told_of_the_restart(future)
        assert batcher.join(WAIT_S)
    assert end.reasons == ["cpu is lost: an illegal memory access"]
    assert echo.batches == [["FIRST"], ["A", "B"]]


def test_another_error_of_the_model_ends_nothing() -> None:
    echo, end = Echo(), End()
    echo.errors["B"] = RuntimeError("boom")
    with running(echo, end=end) as batcher:
        with pytest.raises(RuntimeError, match="boom"):
            ask(batcher, "b")
        assert ask(batcher, "c") == "C"
    assert end.reasons == []
