"""Several models behind one batcher: who gets which, who waits for whom, and whom one's trouble concerns."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack

import pytest

from services.captioning.batcher import Batcher, ModelStatus
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
from tests.captioning.echo import BEAMS, GREEDY, WAIT_S, Echo, ask, queued, started, text_of
from tests.fakes import loads, wait_for


class Loud(Echo):
    """Its answers end with its name, so that they tell who gave them."""

    def __init__(self, name: str, log: list[tuple[str, int]] | None = None) -> None:
        super().__init__(ModelInfo(name, "cpu", "a test", "fp32", "fake"))
        self.name = name
        self.log = [] if log is None else log  # (name, size) of each batch of all that share it

    def prepare(self, picture: str) -> str:
        return f"{picture} as {self.name} sees it"

    def caption(self, pictures: Sequence[str], options: DecodingOptions | None) -> list[list[Caption]]:
        assert all(picture.endswith(f"as {self.name} sees it") for picture in pictures)
        self.log.append((self.name, len(pictures)))
        return super().caption(pictures, options)


def all_loaded(batcher: Batcher) -> bool:
    return all(model.status is ModelStatus.LOADED for model in batcher.state.models.values())


def fails(_: ReportProgress) -> Captioner:
    raise OSError("no such weights")


def models_of(*captioners: Loud) -> dict[str, Sequence[LoadCaptioner]]:
    return {captioner.name: [loads(captioner)] for captioner in captioners}


def test_each_picture_is_prepared_and_captioned_by_the_model_that_was_asked() -> None:
    one, two = Loud("one"), Loud("two")
    with started(models_of(one, two)) as batcher:
        wait_for(lambda: all_loaded(batcher))
        assert ask(batcher, "a", model="two") == "a as two sees it"
        assert ask(batcher, "a", model="one") == "a as one sees it"
        assert ask(batcher, "a") == "a as one sees it"  # the first is the default
        with batcher.admit("two") as place:
            assert place.submit("b", BEAMS).result(WAIT_S).model == two.info
        with pytest.raises(KeyError), batcher.admit("three"):
            pass
    assert one.threads == two.threads == {"batcher-0"}


def test_models_take_turns_and_share_no_batch() -> None:
    log: list[tuple[str, int]] = []
    one, two, three = Loud("one", log), Loud("two", log), Loud("three", log)
    with started(models_of(one, two, three), max_batch=2) as batcher, ExitStack() as places:
        wait_for(lambda: all_loaded(batcher))

        futures: list[Future[Answer]] = []

        def put(model: str, picture: str, options: DecodingOptions = BEAMS) -> None:
            futures.append(places.enter_context(batcher.admit(model)).submit(picture, options))

        with queued(batcher, one):  # it has the device
            for i in range(6):
                put("one", str(i))
            put("two", "a")
            put("two", "b", GREEDY)
            put("three", "x")
            one.go()
            texts = [text_of(future) for future in futures]
    assert log == [("one", 1), ("two", 1), ("three", 1), ("one", 2), ("two", 1), ("one", 2), ("one", 2)]
    assert texts == [
        *(f"{i} as one sees it" for i in range(6)),
        *(f"{i} as two sees it" for i in "ab"),
        "x as three sees it",
    ]


def test_a_crowd_that_never_ends_keeps_nobody_from_another_model() -> None:
    """As soon as one picture of the crowd is done another comes; the single one waits for one batch of theirs."""
    log: list[tuple[str, int]] = []
    crowded, quiet = Loud("crowded", log), Loud("quiet", log)
    crowded.hold()
    with started(models_of(crowded, quiet), max_batch=1) as batcher, ExitStack() as places:
        wait_for(lambda: all_loaded(batcher))

        def one_more() -> None:
            places.enter_context(batcher.admit("crowded")).submit("again", BEAMS)

        one_more()
        wait_for(lambda: len(log) == 1)
        for _ in range(3):
            one_more()
        with batcher.admit("quiet") as place:
            alone = place.submit("alone", BEAMS)
            crowded.go(1)
            assert text_of(alone) == "alone as quiet sees it"
            one_more()
        crowded.go()
    assert log[:2] == [("crowded", 1), ("quiet", 1)]


def test_each_model_has_places_of_its_own() -> None:
    one, two = Loud("one"), Loud("two")
    one.hold()
    two.hold()
    with started(models_of(one, two), queue_capacity=1, max_batch=1) as batcher, ExitStack() as places:
        wait_for(lambda: all_loaded(batcher))
        places.enter_context(batcher.admit("one")).submit("runs", BEAMS)
        wait_for(lambda: one.tried == [1])
        places.enter_context(batcher.admit("one"))
        with pytest.raises(Overloaded), batcher.admit("one"):
            pass
        with pytest.raises(Overloaded):
            batcher.check_admitting("one")
        batcher.check_admitting("two")
        batcher.check_admitting()  # there is one that admits
        state = batcher.state
        assert (state.queue_depth, state.queue_capacity) == (1, 2)
        assert {name: model.admitting for name, model in state.models.items()} == {"one": False, "two": True}
        places.enter_context(batcher.admit("two"))
        with pytest.raises(Overloaded, match="try again in 3 s"):  # a second for each picture, until one is timed
            batcher.check_admitting()
        one.go()
        two.go()


@pytest.mark.parametrize("failing", [0, 1])
def test_a_model_that_cannot_be_loaded_leaves_the_others_alone(failing: int) -> None:
    well = Loud("well")
    models: list[tuple[str, Sequence[LoadCaptioner]]] = [("well", [loads(well)])]
    models.insert(failing, ("ill", [fails]))
    with started(dict(models)) as batcher:
        wait_for(lambda: batcher.state.models["well"].status is ModelStatus.LOADED)
        wait_for(lambda: batcher.state.models["ill"].status is ModelStatus.FAILED)
        assert batcher.state.models["ill"].error == "no such weights"
        assert batcher.state.models["well"].error is None
        with pytest.raises(ModelNotReady, match="no such weights") as refused, batcher.admit("ill"):
            pass
        assert refused.value.retry_after_s is None
        assert ask(batcher, "a", model="well") == "a as well sees it"
        batcher.check_admitting()


def test_a_batch_that_fails_leaves_the_other_models_alone() -> None:
    one, two = Loud("one"), Loud("two")
    one.errors["a as one sees it"] = ValueError("boom")
    with started(models_of(one, two)) as batcher:
        wait_for(lambda: all_loaded(batcher))
        with pytest.raises(ValueError, match="boom"):
            ask(batcher, "a", model="one")
        assert ask(batcher, "a", model="two") == "a as two sees it"
        assert ask(batcher, "b", model="one") == "b as one sees it"


def test_while_a_model_downloads_the_others_work() -> None:
    reported, go_on = threading.Event(), threading.Event()

    def large(report: ReportProgress) -> Captioner:
        report(LoadProgress("downloading", 1, 10))
        reported.set()
        assert go_on.wait(WAIT_S)
        return Loud("large")

    with started({"small": [loads(Loud("small"))], "large": [large]}) as batcher:
        assert reported.wait(WAIT_S)
        assert ask(batcher, "a") == "a as small sees it"
        with pytest.raises(ModelNotReady, match="loading") as refused, batcher.admit("large"):
            pass
        assert refused.value.retry_after_s
        state = batcher.state
        assert [model.status for model in state.models.values()] == [ModelStatus.LOADED, ModelStatus.LOADING]
        assert state.progress is not None
        assert state.progress.fraction == 0.1
        go_on.set()
        wait_for(lambda: all_loaded(batcher))
        assert ask(batcher, "a", model="large") == "a as large sees it"


def test_a_device_serves_what_it_has() -> None:
    """The second model is on the second device alone; what waits for it keeps the first device from nothing."""
    first, second, other = Loud("one"), Loud("one"), Loud("two")
    other.hold()
    with started({"one": [loads(first), loads(second)], "two": [fails, loads(other)]}) as batcher:
        wait_for(lambda: all_loaded(batcher))
        assert batcher.state.models["two"].error == "device 1 of 2: no such weights"
        with batcher.admit("two") as place, batcher.admit("two") as behind:
            futures = [place.submit("a", BEAMS)]
            wait_for(lambda: other.tried == [1])
            futures.append(behind.submit("b", BEAMS))
            assert ask(batcher, "c", model="one") == "c as one sees it"
            other.go()
            assert [text_of(future) for future in futures] == ["a as two sees it", "b as two sees it"]
    assert (first.threads, second.threads, other.threads) == ({"batcher-0"}, set(), {"batcher-1"})


def test_when_one_model_hangs_those_who_wait_for_another_are_told_too() -> None:
    one, two = Loud("one"), Loud("two")
    one.hold()
    reasons: list[str] = []
    with started(models_of(one, two), call_timeout_s=0.2, end=reasons.append) as batcher:
        wait_for(lambda: all_loaded(batcher))
        with batcher.admit("one") as place, batcher.admit("two") as other:
            hung = place.submit("a", BEAMS)
            wait_for(lambda: one.tried == [1])
            for future in (hung, other.submit("b", BEAMS)):
                with pytest.raises(ModelNotReady, match="restarts"):
                    future.result(WAIT_S)
        one.go()
        wait_for(lambda: len(reasons) == 1)
