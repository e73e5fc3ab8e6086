"""A model that nobody uses is unloaded; who wants it then waits until it is back."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from services.captioning import hosted
from services.captioning.batcher import Batcher, ModelStatus
from services.captioning.captioner import Captioner, LoadProgress, ReportProgress
from services.captioning.memory import release_memory
from services.errors import ModelNotReady, Overloaded
from tests.captioning.echo import BEAMS, INFO, WAIT_S, Echo, ask, started, text_of
from tests.fakes import wait_for

SOON_S = 0.05  # how long a model is unused here before it is unloaded


class Weights:
    """Loads a new captioner each time, and knows whether one of them is in memory.

    may_load: each load waits for it. fails: loads fail while it is set.
    """

    def __init__(self) -> None:
        self.n_loads = 0
        self.latest: weakref.ref[Echo] | None = None
        self.may_load = threading.Event()
        self.may_load.set()
        self.loading = threading.Event()
        self.fails = False

    def load(self, report: ReportProgress) -> Captioner:
        assert not self.in_memory, "two copies at once"
        self.n_loads += 1
        report(LoadProgress("downloading", 1, 4))
        self.loading.set()
        assert self.may_load.wait(WAIT_S)
        if self.fails:
            raise MemoryError("too little memory")
        echo = Echo()
        self.latest = weakref.ref(echo)
        return echo

    @property
    def in_memory(self) -> bool:
        return bool(self.latest and self.latest())

    @property
    def echo(self) -> Echo:
        echo = self.latest and self.latest()
        assert echo
        return echo

    def halt(self) -> None:
        self.loading.clear()
        self.may_load.clear()


@contextmanager
def unloading(
    *weights: Weights, idle_s: float = SOON_S, free_memory: Callable[[], None] = lambda: None
) -> Iterator[Batcher]:
    """A batcher on models "0", "1", …, all loaded at first."""
    models = {str(i): [each.load] for i, each in enumerate(weights)}
    with started(models, idle_s=idle_s, free_memory=free_memory) as batcher:
        wait_for(lambda: all(each.n_loads for each in weights))
        wait_for(lambda: batcher.state.progress is None)
        try:
            yield batcher
        finally:
            for each in weights:
                each.may_load.set()


def status(batcher: Batcher, model: str = "0") -> ModelStatus:
    return batcher.state.models[model].status


def wait_for_idle(batcher: Batcher, model: str = "0") -> None:
    wait_for(lambda: status(batcher, model) is ModelStatus.IDLE)


def test_what_nobody_uses_is_gone_and_comes_back_on_demand() -> None:
    """Without the help of Python's collector, whose time nobody knows."""
    weights = Weights()
    was_in_memory: list[bool] = []
    gc.disable()
    try:
        with unloading(weights, free_memory=lambda: was_in_memory.append(weights.in_memory)) as batcher:
            for n_loads in (1, 2):
                assert ask(batcher, "a", model="0") == "A"
                assert weights.n_loads >= n_loads
                wait_for_idle(batcher)
                wait_for(lambda n=n_loads: len(was_in_memory) >= n)  # type: ignore[misc]
                assert batcher.state.admitting
                assert batcher.state.info == INFO  # what it was and will be
                batcher.check_admitting("0")
    finally:
        gc.enable()
    assert not any(was_in_memory)


def test_after_a_batch_that_failed_nothing_is_left_either() -> None:
    """The error and the frames of its traceback refer to each other: that takes what the service does itself."""
    weights = Weights()
    freed = threading.Event()

    def free() -> None:
        release_memory()
        freed.set()

    gc.disable()
    try:
        with unloading(weights, free_memory=free) as batcher:
            with batcher.admit() as place:
                assert place.wait_until_loaded(WAIT_S)
                assert isinstance(place.submit("lose", BEAMS).exception(WAIT_S), RuntimeError)
            freed.clear()
            wait_for(lambda: freed.is_set() and not weights.in_memory)
    finally:
        gc.enable()


def test_without_the_setting_nothing_is_unloaded() -> None:
    stays, goes = Weights(), Weights()
    with unloading(stays, idle_s=0) as for_ever, unloading(goes) as batcher:
        wait_for_idle(batcher)
        assert status(for_ever) is ModelStatus.LOADED


def test_who_holds_a_place_keeps_the_model_and_only_that() -> None:
    used, unused = Weights(), Weights()
    with unloading(used, unused) as batcher, batcher.admit("0") as place:  # fetches its picture, say
        assert place.wait_until_loaded(WAIT_S)
        wait_for_idle(batcher, "1")
        assert used.in_memory
        assert text_of(place.submit("a", BEAMS)) == "A"


def test_a_batch_whose_asker_left_keeps_the_model() -> None:
    used, unused = Weights(), Weights()
    with unloading(used, unused) as batcher:
        with batcher.admit("0") as place:
            assert place.wait_until_loaded(WAIT_S)
            used.echo.hold()
            place.submit("a", BEAMS)
            wait_for(lambda: used.echo.tried == [1])
        wait_for_idle(batcher, "1")
        assert status(batcher) is ModelStatus.LOADED
        used.echo.go()
        wait_for_idle(batcher)


def test_all_who_want_it_share_one_load() -> None:
    weights = Weights()
    with unloading(weights) as batcher, ThreadPoolExecutor(8) as pool:
        wait_for_idle(batcher)
        before = weights.n_loads
        weights.halt()
        texts = pool.map(lambda i: ask(batcher, f"a{i}"), range(8))
        assert weights.loading.wait(WAIT_S)
        wait_for(lambda: batcher.state.queue_depth == 8)
        state = batcher.state
        assert (state.status, state.admitting, state.info) == (ModelStatus.LOADING, True, INFO)
        assert state.progress == LoadProgress("downloading", 1, 4)
        weights.may_load.set()
        assert list(texts) == [f"A{i}" for i in range(8)]
        assert weights.n_loads == before + 1


def test_a_full_queue_refuses_while_the_model_comes_back() -> None:
    weights = Weights()
    with started({"0": [weights.load]}, queue_capacity=1, idle_s=SOON_S, free_memory=lambda: None) as batcher:
        wait_for(lambda: weights.n_loads == 1)
        wait_for_idle(batcher)
        with batcher.admit(), pytest.raises(Overloaded), batcher.admit():
            pass


def test_the_memory_is_given_back_before_the_model_is_loaded_again() -> None:
    weights = Weights()
    frees, may_free = threading.Event(), threading.Event()

    def free() -> None:
        frees.set()
        assert may_free.wait(WAIT_S)

    with unloading(weights, free_memory=free) as batcher:
        try:
            assert frees.wait(WAIT_S)
            before = weights.n_loads
            with batcher.admit() as place:  # in the middle of it
                assert not place.wait_until_loaded(0.1)
                assert weights.n_loads == before
                may_free.set()
                assert place.wait_until_loaded(WAIT_S)
                assert text_of(place.submit("a", BEAMS)) == "A"
        finally:
            may_free.set()


def test_a_model_comes_back_although_its_memory_was_not_given_back() -> None:
    def cannot_free() -> None:
        raise RuntimeError("a lost device")

    with unloading(Weights(), free_memory=cannot_free) as batcher:
        wait_for_idle(batcher)
        assert ask(batcher, "a") == "A"


def test_while_one_comes_back_the_others_work() -> None:
    slow, other = Weights(), Weights()
    with unloading(slow, other) as batcher:
        wait_for_idle(batcher, "0")
        with batcher.admit("1") as kept:
            assert kept.wait_until_loaded(WAIT_S)
            slow.halt()
            with batcher.admit("0") as place:
                assert not place.wait_until_loaded(0)
                assert slow.loading.wait(WAIT_S)
                assert text_of(kept.submit("b", BEAMS)) == "B"
                slow.may_load.set()
                assert place.wait_until_loaded(WAIT_S)


def test_a_reload_that_fails_is_told() -> None:
    weights, other = Weights(), Weights()
    with unloading(weights, other) as batcher:
        wait_for_idle(batcher)
        weights.fails = True
        before = weights.n_loads
        with pytest.raises(ModelNotReady, match="too little memory") as told:
            ask(batcher, "a", model="0")
        assert told.value.retry_after_s
        assert weights.n_loads == before + 1
        assert (status(batcher), batcher.state.error) == (ModelStatus.FAILED, "too little memory")
        with pytest.raises(ModelNotReady, match="too little memory") as refused:
            batcher.check_admitting("0")
        assert refused.value.retry_after_s
        assert ask(batcher, "b", model="1") == "B"


def test_after_the_pause_a_reload_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "RELOAD_RETRY_S", 2.0)
    weights = Weights()
    with unloading(weights) as batcher:
        wait_for_idle(batcher)
        weights.fails = True
        with pytest.raises(ModelNotReady):
            ask(batcher, "a")
        weights.fails = False
        wait_for_idle(batcher)
        assert batcher.state.error == "too little memory"  # of the last time
        assert ask(batcher, "b") == "B"
        assert batcher.state.error is None


@pytest.mark.parametrize("grace_s", [0, 60])
def test_stopping_while_it_comes_back(grace_s: float) -> None:
    """Who was admitted is captioned if it comes back within the grace, else told."""
    weights = Weights()
    with unloading(weights) as batcher:
        wait_for_idle(batcher)
        weights.halt()
        with batcher.admit() as place:
            assert not place.wait_until_loaded(0)
            assert weights.loading.wait(WAIT_S)
            batcher.stop(grace_s)
            if grace_s:
                weights.may_load.set()
                assert place.wait_until_loaded(WAIT_S)
                assert text_of(place.submit("a", BEAMS)) == "A"
            else:
                with pytest.raises(Overloaded, match="stopping"):
                    place.wait_until_loaded(WAIT_S)
        weights.may_load.set()
        assert batcher.join(WAIT_S)


def test_a_stop_in_the_middle_of_the_first_load_ends_when_that_does() -> None:
    first, second = Weights(), Weights()
    first.halt()
    with started({"0": [first.load], "1": [second.load]}) as batcher:
        assert first.loading.wait(WAIT_S)
        batcher.stop(grace_s=60)
        first.may_load.set()
        assert batcher.join(WAIT_S)
    assert second.n_loads == 0  # nobody would have had anything of it


def test_requests_meet_unloading_at_every_moment() -> None:
    """Unused for a thousandth of a second is enough here, so that many a request comes while a model goes."""
    weights = [Weights(), Weights()]

    def asks(number: int) -> None:
        for i in range(100):
            assert ask(batcher, f"a{i}", model=str(number % 2)) == f"A{i}"
            threading.Event().wait(0.003 * (i % 3))

    with unloading(*weights, idle_s=0.001) as batcher, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(asks, number) for number in range(4)]:
            done.result(60)
    assert all(each.n_loads > 5 for each in weights)
