"""What the queue promises: one owner of each model, places counted at the door, an answer for everybody."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import (
    Caption,
    Captioner,
    DecodingOptions,
    LoadCaptioner,
    LoadProgress,
    ModelInfo,
    ReportProgress,
)
from services.captioning.jobs import Answer
from services.errors import ModelNotReady, Overloaded
from tests.captioning.echo import BEAMS, GREEDY, INFO, WAIT_S, Echo, ask, queued, running, started, text_of
from tests.fakes import loads, wait_for


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


def test_while_loading_requests_are_refused_and_progress_shows() -> None:
    reported, go_on = threading.Event(), threading.Event()

    def load(report: ReportProgress) -> Captioner:
        report(LoadProgress("downloading", 250, 1000))
        reported.set()
        assert go_on.wait(WAIT_S)
        return Echo()

    with started([load]) as batcher:
        assert reported.wait(WAIT_S)
        state = batcher.state
        assert (state.status, state.info, state.admitting) == (ModelStatus.LOADING, None, False)
        assert state.progress is not None
        assert state.progress.fraction == 0.25
        with pytest.raises(ModelNotReady) as refused, batcher.admit():
            pass
        assert refused.value.retry_after_s
        go_on.set()
        wait_for(lambda: batcher.state.status is ModelStatus.LOADED)
        assert batcher.state.progress is None


def fails(reason: str) -> LoadCaptioner:
    def load(_: ReportProgress) -> Captioner:
        raise OSError(reason)

    return load


@pytest.mark.parametrize(
    ("loaders", "error"),
    [
        ([fails("no such weights")], "no such weights"),
        ([fails("")], "OSError"),
        ([fails("too old"), fails("too small")], "device 1 of 2: too old; device 2 of 2: too small"),
    ],
)
def test_a_failed_load_says_why_and_has_no_retry(loaders: Sequence[LoadCaptioner], error: str) -> None:
    with started(loaders) as batcher:
        wait_for(lambda: batcher.state.status is ModelStatus.FAILED)
        assert batcher.state.error == error
        with pytest.raises(ModelNotReady, match=error) as refused, batcher.admit():
            pass
        assert refused.value.retry_after_s is None


def test_two_devices_work_at_once_and_each_answer_says_which_it_was() -> None:
    both = threading.Barrier(2)

    class Device(Echo):
        def caption(self, pictures: Sequence[str], options: DecodingOptions | None) -> list[list[Caption]]:
            both.wait(WAIT_S)  # breaks, unless both have a batch at the same time
            return super().caption(pictures, options)

    devices = [Device(ModelInfo("echo", f"cuda:{i}", "a test", "fp32", "fake")) for i in range(2)]
    with started([loads(device) for device in devices], max_batch=1) as batcher, ExitStack() as places:
        futures = {text: places.enter_context(batcher.admit()).submit(text, BEAMS) for text in "abcdef"}
        answers = {text: future.result(WAIT_S) for text, future in futures.items()}
    for text, answer in answers.items():
        assert answer.captions == (Caption(text.upper()),)
        [device] = [device for device in devices if [text.upper()] in device.batches]
        assert answer.model == device.info
    assert [len(device.batches) for device in devices] == [3, 3]
    assert [device.threads for device in devices] == [{"batcher-0"}, {"batcher-1"}]


def test_places_count_for_each_device() -> None:
    devices = [Echo(), Echo()]
    for device in devices:
        device.hold()
    with running(*devices, queue_capacity=1, max_batch=1) as batcher, ExitStack() as places:
        futures = [places.enter_context(batcher.admit()).submit(text, BEAMS) for text in "ab"]
        wait_for(lambda: [device.tried for device in devices] == [[1], [1]])
        assert (batcher.state.queue_depth, batcher.state.admitting) == (0, True)
        places.enter_context(batcher.admit())
        assert (batcher.state.queue_depth, batcher.state.admitting) == (1, False)
        devices[0].go()
        wait_for(lambda: sum(future.done() for future in futures) == 1)
        wait_for(lambda: batcher.state.admitting)  # it is idle, and will take the one that waits
        assert batcher.state.queue_depth == 0


def test_a_device_that_failed_to_load_is_shown_while_another_works() -> None:
    echo = Echo()
    with started([fails("no driver"), loads(echo)]) as batcher:
        wait_for(lambda: batcher.state.status is ModelStatus.LOADED)
        assert batcher.state.error == "device 1 of 2: no driver"
        assert batcher.state.info == INFO
        assert [ask(batcher, text) for text in "ab"] == ["A", "B"]
    assert echo.threads == {"batcher-1"}


@pytest.mark.parametrize(
    ("first", "status"), [(loads(Echo()), ModelStatus.LOADED), (fails("no driver"), ModelStatus.LOADING)]
)
def test_while_a_second_device_loads_the_first_decides(first: LoadCaptioner, status: ModelStatus) -> None:
    second_loads, go_on = threading.Event(), threading.Event()

    def second(_: ReportProgress) -> Captioner:
        second_loads.set()
        assert go_on.wait(WAIT_S)
        return Echo()

    with started([first, second]) as batcher:
        assert second_loads.wait(WAIT_S)
        assert (batcher.state.status, batcher.state.admitting) == (status, status is ModelStatus.LOADED)
        if batcher.state.admitting:
            assert ask(batcher, "a") == "A"
        go_on.set()
        wait_for(lambda: batcher.state.status is ModelStatus.LOADED)
        assert ask(batcher, "b") == "B"


def test_devices_load_one_after_another() -> None:
    meeting = threading.Barrier(2)
    met: list[bool] = []

    def load(_: ReportProgress) -> Captioner:
        try:
            meeting.wait(0.2)
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)
        return Echo()

    with started([load, load]):
        wait_for(lambda: len(met) == 2)
    assert met == [False, False]


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


def test_when_the_grace_is_over_the_queued_are_refused() -> None:
    echo = Echo()
    with running(echo, max_batch=1) as batcher, batcher.admit() as place:
        echo.hold()
        first = place.submit("a", BEAMS)
        wait_for(lambda: echo.tried == [1])
        with batcher.admit() as second_place, batcher.admit() as third_place:
            waiting = [second_place.submit("b", BEAMS), third_place.submit("c", GREEDY)]
            batcher.stop(grace_s=0)
            echo.go()
            assert text_of(first) == "A"  # it was running
            for future in waiting:
                with pytest.raises(Overloaded, match="stopping"):
                    future.result(WAIT_S)
