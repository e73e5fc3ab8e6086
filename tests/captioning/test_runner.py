"""What one device promises: a failure stays in its batch, and a batch that does not fit is made smaller."""

import gc
import traceback
from collections.abc import Sequence

import pytest

from services.captioning.captioner import Caption, DecodingOptions, DeviceLost
from services.captioning.runner import RECOVERY_BATCHES
from services.captioning.wanted import check_wanted
from services.errors import InvalidParameter, ModelNotReady, Overloaded
from tests.captioning.echo import BEAMS, WAIT_S, Echo, ask, queued, running, text_of
from tests.fakes import wait_for


class Peculiar(Exception):
    """Cannot be copied by its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("boom"), ValueError, "boom"),
        (InvalidParameter("no such beam"), InvalidParameter, "no such beam"),
        (Peculiar("a", "b"), RuntimeError, "Peculiar: ab"),
    ],
)
def test_a_failing_batch_fails_alone(error: Exception, kind: type[Exception], text: str) -> None:
    echo = Echo()
    echo.errors["B"] = error
    with running(echo, max_batch=3) as batcher, queued(batcher, echo, *"abcd") as futures:
        echo.go()
        failures = [future.exception(WAIT_S) for future in futures[:3]]
        assert text_of(futures[3]) == "D"
    assert [(type(failure), str(failure)) for failure in failures] == [(kind, text)] * 3
    # one for each: whoever raises an exception prolongs its traceback
    assert len({id(failure) for failure in failures}) == 3
    for failure in failures:
        assert failure
        assert failure.__cause__ is error
        assert "raise self.errors[picture]" in "".join(traceback.format_exception(failure))


def test_a_failed_batch_leaves_nothing_in_memory() -> None:
    """Without the help of the collector, which comes too late for a GPU."""
    echo = Echo()
    echo.errors["BOOM"] = ValueError("boom")
    gc.disable()
    try:
        with running(echo) as batcher, batcher.admit() as place:
            future = place.submit("boom", BEAMS)
            failure = future.exception(WAIT_S)
            assert ask(batcher, "next") == "NEXT"  # Echo looks whether the tensor is gone
    finally:
        gc.enable()
    assert isinstance(failure, ValueError)


@pytest.mark.parametrize(("picture", "n_results"), [("lose", 1), ("double", 3)])
def test_a_wrong_number_of_results_is_no_answer(picture: str, n_results: int) -> None:
    echo = Echo()
    with running(echo) as batcher:
        with queued(batcher, echo, "a", picture) as futures:
            echo.go()
            for future in futures:
                with pytest.raises(RuntimeError, match=f"{n_results} results for 2 pictures"):
                    future.result(WAIT_S)
        assert ask(batcher, "next") == "NEXT"


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered() -> None:
    echo = Echo(fits=3)
    pictures = [str(i) for i in range(12)]
    with running(echo) as batcher, queued(batcher, echo, *pictures) as futures:
        echo.go()
        assert [text_of(future) for future in futures] == pictures
    assert echo.tried == [1, 8, 4, 2, 2, 2, 2, 2, 2]


def test_the_size_comes_back() -> None:
    echo = Echo(fits=1)
    with running(echo, max_batch=2) as batcher:
        with queued(batcher, echo, *"ab") as futures:
            echo.go()
            assert [text_of(future) for future in futures] == ["A", "B"]
        assert echo.tried == [1, 2, 1, 1]
        echo.fits = 2
        for i in range(RECOVERY_BATCHES):
            ask(batcher, str(i))
        with queued(batcher, echo, *"cd") as futures:
            echo.go()
            assert [text_of(future) for future in futures] == ["C", "D"]
    assert echo.tried[-2:] == [1, 2]


def test_a_single_picture_that_does_not_fit_fails_alone() -> None:
    echo = Echo(fits=0)
    with running(echo) as batcher:
        with queued(batcher, echo, *"abc") as futures:
            echo.go()
            for future in futures:
                with pytest.raises(Overloaded, match="memory") as refused:
                    future.result(WAIT_S)
                assert refused.value.retry_after_s
        echo.fits = 1
        assert ask(batcher, "next") == "NEXT"


def test_who_gives_up_while_a_batch_is_halved_is_dropped() -> None:
    echo = Echo(fits=1)
    with running(echo, max_batch=2) as batcher, queued(batcher, echo, *"ab") as futures:
        futures[0].add_done_callback(lambda _: futures[1].cancel())  # in the device's thread, after the first
        echo.go()
        assert text_of(futures[0]) == "A"
        assert ask(batcher, "c") == "C"
    assert echo.batches == [["FIRST"], ["A"], ["C"]]


def test_what_was_answered_before_the_device_was_lost_stays_answered() -> None:
    echo = Echo(fits=1)
    echo.errors["B"] = DeviceLost("an illegal memory access")
    with (
        running(echo, max_batch=2, end=lambda _: None) as batcher,
        queued(batcher, echo, *"ab") as futures,
    ):
        echo.go()
        assert text_of(futures[0]) == "A"
        with pytest.raises(ModelNotReady):
            futures[1].result(WAIT_S)


def test_a_batch_that_nobody_waits_for_any_more_ends_at_its_next_step() -> None:
    class Stepping(Echo):
        def caption(self, pictures: Sequence[str], options: DecodingOptions | None) -> list[list[Caption]]:
            captions = super().caption(pictures, options)
            for _ in range(3):
                check_wanted()
                self.steps += 1
            return captions

        steps = 0

    echo = Stepping()
    with running(echo) as batcher, queued(batcher, echo, "a") as futures:
        echo.go(1)  # "first"
        wait_for(lambda: len(echo.tried) == 2)
        assert echo.steps == 3
        futures[0].cancel()
        echo.go()
        assert ask(batcher, "c") == "C"
        assert echo.steps == 6
    check_wanted()  # outside of a batch nobody is asked
