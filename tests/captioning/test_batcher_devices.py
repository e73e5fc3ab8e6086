"""The devices behind the queue: how they load, and how several share it."""

import threading
from collections.abc import Sequence
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
from services.errors import ModelNotReady
from tests.captioning.echo import BEAMS, INFO, WAIT_S, Echo, ask, running, started
from tests.fakes import loads, wait_for


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


def test_the_thread_that_loaded_a_model_has_ended() -> None:
    """It may have helpers of torch's, which would be in the way of the model's own."""
    loaded_by: list[threading.Thread] = []

    def load(_: ReportProgress) -> Captioner:
        loaded_by.append(threading.current_thread())
        return Echo()

    with started([load]) as batcher:
        wait_for(lambda: batcher.state.status is ModelStatus.LOADED)
        assert [thread.is_alive() for thread in loaded_by] == [False]


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
    with running(*devices, max_batch=1) as batcher, ExitStack() as places:
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
