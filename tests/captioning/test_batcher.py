"""What the queue promises: one owner of the model, places counted at the door, an answer for everybody."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from services.captioning.batcher import Batcher, ModelStatus
from services.captioning.captioner import Caption, Captioner, LoadProgress, ModelInfo, ReportProgress
from services.errors import ModelNotReady, Overloaded

WAIT_S = 5.0


class Echo:
    """Captions a text with itself; "boom" breaks it. `gate` holds it back, `threads` tells who called it."""

    info = ModelInfo("echo", "cpu", "a test", "fp32")

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.seen: list[str] = []
        self.threads: set[str] = set()

    def prepare(self, picture: str) -> str:
        return picture.upper()

    def caption(self, pictures: Sequence[str]) -> list[Caption]:
        self.threads.add(threading.current_thread().name)
        self.busy.set()
        assert self.gate.wait(WAIT_S)
        self.seen += pictures
        if "BOOM" in pictures:
            raise ValueError("boom")
        return [Caption(picture) for picture in pictures]


@contextmanager
def running(captioner: Captioner, queue_capacity: int = 4) -> Iterator[Batcher]:
    batcher = Batcher(lambda report: captioner, queue_capacity)
    batcher.start()
    wait_for(batcher, ModelStatus.LOADED)
    try:
        yield batcher
    finally:
        batcher.stop(0)
        assert batcher.join(WAIT_S)


def wait_for(batcher: Batcher, status: ModelStatus) -> None:
    for _ in range(500):
        if batcher.state.status is status:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"never {status}")


def ask(batcher: Batcher, picture: str) -> str:
    with batcher.admit() as place:
        return place.submit(picture).result(WAIT_S).text


def test_each_request_gets_its_own_caption_from_one_thread() -> None:
    echo = Echo()
    with running(echo, queue_capacity=64) as batcher, ThreadPoolExecutor(64) as pool:
        texts = list(pool.map(lambda i: ask(batcher, f"picture {i}"), range(64)))
    assert texts == [f"PICTURE {i}" for i in range(64)]
    assert echo.threads == {"batcher"}


def test_a_failing_picture_fails_alone() -> None:
    with running(Echo()) as batcher:
        with pytest.raises(ValueError, match="boom"):
            ask(batcher, "boom")
        assert ask(batcher, "next") == "NEXT"


def test_places_are_counted_at_the_door() -> None:
    echo = Echo()
    echo.gate.clear()
    with running(echo, queue_capacity=2) as batcher, ExitStack() as places:
        futures: list[Future[Caption]] = []
        for i in range(3):  # one with the model, two in the queue
            futures.append(places.enter_context(batcher.admit()).submit(str(i)))
        assert batcher.state.queue_depth == 2
        assert not batcher.state.admitting
        with pytest.raises(Overloaded) as refused, batcher.admit():
            pass
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s >= 1
        echo.gate.set()
        assert [future.result(WAIT_S).text for future in futures] == ["0", "1", "2"]
        places.close()
        assert batcher.state.queue_depth == 0
        assert ask(batcher, "again") == "AGAIN"


def test_an_abandoned_picture_never_reaches_the_model() -> None:
    echo = Echo()
    echo.gate.clear()
    with running(echo) as batcher:
        with batcher.admit() as running_place, batcher.admit() as waiting_place:
            first = running_place.submit("first")
            assert echo.busy.wait(WAIT_S)
            assert waiting_place.submit("abandoned").cancel()
            echo.gate.set()
            first.result(WAIT_S)
        assert ask(batcher, "last") == "LAST"
    assert echo.seen == ["FIRST", "LAST"]


def test_while_loading_requests_are_refused_and_progress_shows() -> None:
    reported, go_on = threading.Event(), threading.Event()

    def load(report: ReportProgress) -> Captioner:
        report(LoadProgress("downloading", 250, 1000))
        reported.set()
        assert go_on.wait(WAIT_S)
        return Echo()

    batcher = Batcher(load, 1)
    batcher.start()
    assert reported.wait(WAIT_S)
    state = batcher.state
    assert (state.status, state.info, state.admitting) == (ModelStatus.LOADING, None, False)
    assert state.progress is not None
    assert state.progress.fraction == 0.25
    with pytest.raises(ModelNotReady) as refused, batcher.admit():
        pass
    assert refused.value.retry_after_s
    go_on.set()
    wait_for(batcher, ModelStatus.LOADED)
    assert batcher.state.progress is None
    batcher.stop(0)
    assert batcher.join(WAIT_S)


def test_a_failed_load_says_why_and_has_no_retry() -> None:
    def load(report: ReportProgress) -> Captioner:
        raise OSError("no such weights")

    batcher = Batcher(load, 1)
    batcher.start()
    wait_for(batcher, ModelStatus.FAILED)
    assert batcher.state.error == "no such weights"
    with pytest.raises(ModelNotReady, match="no such weights") as refused, batcher.admit():
        pass
    assert refused.value.retry_after_s is None


def test_stopping_captions_what_is_queued_and_refuses_the_new() -> None:
    echo = Echo()
    echo.gate.clear()
    with running(echo) as batcher, ExitStack() as places:
        futures = [places.enter_context(batcher.admit()).submit(text) for text in ("a", "b")]
        late = places.enter_context(batcher.admit())  # admitted, but still fetching its picture
        batcher.stop(grace_s=60)
        with pytest.raises(Overloaded, match="stopping"), batcher.admit():
            pass
        echo.gate.set()
        futures.append(late.submit("c"))
        assert [future.result(WAIT_S).text for future in futures] == ["A", "B", "C"]


def test_when_the_grace_is_over_the_queued_are_refused() -> None:
    echo = Echo()
    echo.gate.clear()
    with running(echo) as batcher, ExitStack() as places:
        first, second = (places.enter_context(batcher.admit()).submit(text) for text in ("a", "b"))
        assert echo.busy.wait(WAIT_S)
        batcher.stop(grace_s=0)
        echo.gate.set()
        assert first.result(WAIT_S).text == "A"  # it was running
        with pytest.raises(Overloaded, match="stopping"):
            second.result(WAIT_S)
