"""What the queue promises: one owner of each model, places counted at the door, an answer for everybody."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import (
    Caption,
    DecodingOptions,
)
from services.captioning.jobs import Answer
from services.errors import Overloaded
from tests.captioning.echo import BEAMS, GREEDY, INFO, WAIT_S, Echo, ask, queued, running, text_of
from tests.fakes import wait_for


def test_each_request_gets_its_own_caption_from_one_thread() -> None:
    echo = Echo()
    with running(echo) as batcher, ThreadPoolExecutor(64) as pool:
        texts = list(pool.map(lambda i: ask(batcher, f"picture {i}"), range(64)))
    assert texts == [f"PICTURE {i}" for i in range(64)]
    assert echo.threads == {"batcher-0"}
    assert sum(echo.tried) == 64


@pytest.mark.parametrize(
    ("waiting", "max_batch", "batches"),
    [
        ("abc", 8, ["ABC"]),
        ("abcde", 2, ["AB", "CD", "E"]),
        ("abc", 1, ["A", "B", "C"]),
    ],
)
def test_what_waits_forms_a_batch(waiting: str, max_batch: int, batches: list[str]) -> None:
    echo = Echo()
    with running(echo, max_batch=max_batch) as batcher, queued(batcher, echo, *waiting) as futures:
        echo.go()
        assert [text_of(future) for future in futures] == list(waiting.upper())
    assert echo.batches == [["FIRST"], *map(list, batches)]


def test_only_equal_options_share_a_batch_and_the_oldest_goes_first() -> None:
    echo = Echo()
    also_greedy = DecodingOptions(num_beams=1)  # equal, not the same
    options = [GREEDY, BEAMS, also_greedy, BEAMS, GREEDY]
    with (
        running(echo, max_batch=2) as batcher,
        queued(batcher, echo, *"abcde", options=options) as futures,
    ):
        echo.go()
        assert [text_of(future) for future in futures] == list("ABCDE")
    assert echo.batches == [["FIRST"], ["A", "C"], ["B", "D"], ["E"]]
    assert echo.options == [BEAMS, GREEDY, BEAMS, GREEDY]


def test_many_captions_of_a_picture_count_as_many() -> None:
    echo = Echo()
    few, many = DecodingOptions(num_captions=3, top_p=0.9), DecodingOptions(num_captions=10, top_p=0.9)
    with (
        running(echo, max_batch=8) as batcher,
        queued(batcher, echo, *"abcde", options=[few] * 3 + [many] * 2) as futures,
    ):
        echo.go()
        assert [text_of(future) for future in futures] == list("ABCDE")
    assert echo.batches == [["FIRST"], ["A", "B"], ["C"], ["D"], ["E"]]


def test_an_idle_device_takes_a_single_picture() -> None:
    echo = Echo()
    with running(echo, max_batch=64) as batcher, batcher.admit(), batcher.admit():  # two more may come
        assert ask(batcher, "alone") == "ALONE"
    assert echo.batches == [["ALONE"]]


def test_every_caption_that_was_asked_for_comes() -> None:
    with running(Echo()) as batcher, batcher.admit() as place:
        answer = place.submit("a", DecodingOptions(num_captions=3)).result(WAIT_S)
    assert answer == Answer((Caption("A"),) * 3, INFO)


def test_the_abandoned_take_no_place_in_a_batch() -> None:
    echo = Echo()
    with running(echo, max_batch=2) as batcher, queued(batcher, echo, *"abcde") as futures:
        assert futures[0].cancel()
        assert futures[2].cancel()
        echo.go()
        assert [text_of(futures[i]) for i in (1, 3, 4)] == ["B", "D", "E"]
    assert echo.batches == [["FIRST"], ["B", "D"], ["E"]]


def test_whose_client_left_never_reaches_the_model() -> None:
    echo = Echo()
    left = threading.Event()
    with (
        running(echo, max_batch=2) as batcher,
        queued(batcher, echo, "a", "b") as futures,
        batcher.admit() as place,
    ):
        gone = place.submit("gone", BEAMS, left.is_set)
        left.set()  # at the last moment, and nobody has cancelled
        echo.go()
        assert [text_of(future) for future in futures] == ["A", "B"]
        assert ask(batcher, "c") == "C"
    assert echo.batches == [["FIRST"], ["A", "B"], ["C"]]
    assert not gone.done()


def test_who_gives_up_while_his_picture_runs_harms_nobody() -> None:
    echo = Echo()
    echo.hold()
    with running(echo) as batcher:
        with batcher.admit() as place:
            future = place.submit("given up", BEAMS)
            wait_for(lambda: echo.tried == [1])
            future.cancel()
        echo.go()
        assert ask(batcher, "next") == "NEXT"


def test_places_are_counted_at_the_door() -> None:
    echo = Echo()
    with running(echo, queue_capacity=2, max_batch=8) as batcher:
        with queued(batcher, echo, *"ab") as futures:  # one with the model, two in the queue
            assert (batcher.state.queue_depth, batcher.state.admitting) == (2, False)
            with pytest.raises(Overloaded) as refused, batcher.admit():
                pass
            assert refused.value.retry_after_s
            with pytest.raises(Overloaded):
                batcher.check_admitting()
            echo.go()
            assert [text_of(future) for future in futures] == ["A", "B"]
        assert batcher.state.queue_depth == 0
        assert ask(batcher, "again") == "AGAIN"


@pytest.mark.parametrize(("n_devices", "wait_s"), [(1, 5), (2, 3)])
def test_a_refusal_says_when_the_queue_will_be_done(n_devices: int, wait_s: int) -> None:
    """As long as nothing has been timed, a picture counts as one second."""
    devices = [Echo() for _ in range(n_devices)]
    for device in devices:
        device.hold()
    with running(*devices, queue_capacity=5 - n_devices, max_batch=1) as batcher, ExitStack() as places:
        wait_for(lambda: batcher.state.status is ModelStatus.LOADED)
        for n in range(n_devices):
            places.enter_context(batcher.admit()).submit("running", BEAMS)
            wait_for(lambda n=n: sum(len(device.tried) for device in devices) == n + 1)  # type: ignore[misc]
        for _ in range(5 - n_devices):
            places.enter_context(batcher.admit())
        with pytest.raises(Overloaded, match=f"try again in {wait_s} s") as refused:
            batcher.check_admitting()
    assert refused.value.retry_after_s == wait_s


def test_what_runs_does_not_wait() -> None:
    """A batch of any size leaves the queue as a whole, and does not come back when who asked has left."""
    echo = Echo()
    with running(echo, queue_capacity=3) as batcher, ExitStack() as later:
        with queued(batcher, echo, *"abc") as futures:
            assert not batcher.state.admitting
            echo.go(1)
            wait_for(lambda: echo.tried == [1, 3])
            assert (batcher.state.queue_depth, batcher.state.admitting) == (0, True)
        for depth in (1, 2, 3):
            later.enter_context(batcher.admit())
            assert batcher.state.queue_depth == depth
        assert not batcher.state.admitting
        echo.go()
        assert [text_of(future) for future in futures] == ["A", "B", "C"]


def test_stopping_captions_what_is_queued_and_refuses_the_new() -> None:
    echo = Echo()
    with running(echo) as batcher, batcher.admit() as late:  # admitted, but still fetching its picture
        with queued(batcher, echo, "a", "b") as futures:
            batcher.stop(grace_s=60)
            with pytest.raises(Overloaded, match="stopping"), batcher.admit():
                pass
            echo.go()
            assert [text_of(future) for future in futures] == ["A", "B"]
        assert text_of(late.submit("c", BEAMS)) == "C"
    assert echo.batches == [["FIRST"], ["A", "B"], ["C"]]


def test_a_stopped_batcher_ends_when_the_last_place_is_given_up() -> None:
    with running(Echo(), Echo()) as batcher:
        with batcher.admit():
            batcher.stop(grace_s=60)
            assert not batcher.join(timeout_s=0.1)
        assert batcher.join(WAIT_S)


@pytest.mark.parametrize("last_batch_s", [0, 60])
def test_when_the_grace_is_over_the_queued_are_refused(last_batch_s: float) -> None:
    echo = Echo()
    with running(echo, max_batch=1) as batcher, batcher.admit() as place:
        echo.hold()
        first = place.submit("a", BEAMS)
        wait_for(lambda: echo.tried == [1])
        with batcher.admit() as second_place, batcher.admit() as third_place:
            waiting = [second_place.submit("b", BEAMS), third_place.submit("c", GREEDY)]
            batcher.stop(0, last_batch_s)
            # while the device still has its batch, which may take longer than is left
            for future in waiting if last_batch_s else [first, *waiting]:
                with pytest.raises(Overloaded, match="stopping"):
                    future.result(WAIT_S)
            echo.go()
            if last_batch_s:
                assert text_of(first) == "A"


def test_a_batch_that_takes_longer_than_the_end_is_refused_in_time() -> None:
    echo = Echo()
    with running(echo) as batcher, batcher.admit() as place:
        echo.hold()
        future = place.submit("a", BEAMS)
        wait_for(lambda: echo.tried == [1])
        batcher.stop(0.01, 0.01)
        with pytest.raises(Overloaded, match="stopping"):
            future.result(WAIT_S)
        echo.go()
