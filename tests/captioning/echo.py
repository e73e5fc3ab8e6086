"""A captioner for tests of the queue, and batchers on it."""

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any

from services.captioning.batcher import Batcher, ModelStatus
from services.captioning.captioner import (
    Caption,
    DecodingOptions,
    DeviceOutOfMemory,
    LoadCaptioner,
    ModelInfo,
)
from services.captioning.jobs import Answer
from tests.fakes import loads, wait_for

WAIT_S = 60.0
BEAMS, GREEDY = DecodingOptions(), DecodingOptions(num_beams=1)
INFO = ModelInfo("echo", "cpu", "a test", "fp32", "fake")


class Tensor:
    """Something that can be watched while it is alive."""


class Echo:
    """Captions a text with itself in capitals, as one device; notes what it was given.

    fits: more pictures at once do not fit into its memory. errors: picture -> what it raises for a batch with
    it. The pictures "lose" and "double" make it give a result too few and too many.
    """

    def __init__(self, info: ModelInfo = INFO, fits: int = 64) -> None:
        self.info = info
        self.fits = fits
        self.errors: dict[str, Exception] = {}
        self.tried: list[int] = []  # the sizes of all batches, noted as they begin
        self.batches: list[list[str]] = []  # those that fitted
        self.options: list[DecodingOptions | None] = []
        self.threads: set[str] = set()
        self.tensor: weakref.ref[Tensor] | None = None  # what the last batch had in memory
        self._turns: threading.Semaphore | None = None  # None: no batch waits

    def hold(self) -> None:
        """From now on each batch waits for a `go`."""
        self._turns = threading.Semaphore(0)

    def go(self, n_batches: int = 1_000) -> None:
        if self._turns:
            self._turns.release(n_batches)

    def prepare(self, picture: str) -> str:
        return picture.upper()

    def caption(self, pictures: Sequence[str], options: DecodingOptions | None) -> list[list[Caption]]:
        self.threads.add(threading.current_thread().name)
        self.tried.append(len(pictures))
        assert not self._turns or self._turns.acquire(timeout=WAIT_S)
        assert self.tensor is None or self.tensor() is None, "the batch before is still in memory"
        tensor = Tensor()
        self.tensor = weakref.ref(tensor)
        if len(pictures) > self.fits:
            raise DeviceOutOfMemory(f"{len(pictures)} pictures")
        self.batches.append(list(pictures))
        self.options.append(options)
        for picture in pictures:
            if picture in self.errors:
                raise self.errors[picture]
        kept = [picture for picture in pictures if picture != "LOSE"]
        each = options.num_captions if options else 1
        return [[Caption(picture)] * each for picture in kept + ["X"] * ("DOUBLE" in pictures)]


@contextmanager
def running(*captioners: Echo, queue_capacity: int = 64, max_batch: int = 8, **more: Any) -> Iterator[Batcher]:
    """A batcher on these, all loaded; at its end they may go on. more: of the Batcher's arguments."""
    with started([loads(captioner) for captioner in captioners], queue_capacity, max_batch, **more) as batcher:
        wait_for(lambda: batcher.state.status is ModelStatus.LOADED)
        try:
            yield batcher
        finally:
            for captioner in captioners:
                captioner.go()


@contextmanager
def started(
    loaders: Sequence[LoadCaptioner] | Mapping[str, Sequence[LoadCaptioner]],
    queue_capacity: int = 64,
    max_batch: int = 8,
    **more: Any,
) -> Iterator[Batcher]:
    """loaders: one a device; of several models by their names, or of one."""
    models = loaders if isinstance(loaders, Mapping) else {"echo": loaders}
    batcher = Batcher(models, queue_capacity, max_batch, **more)
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.stop(grace_s=0)
        assert batcher.join(WAIT_S), "a thread did not end"


def ask(batcher: Batcher, picture: str, options: DecodingOptions | None = BEAMS, model: str | None = None) -> str:
    with batcher.admit(model) as place:
        assert place.wait_until_loaded(WAIT_S)
        return text_of(place.submit(picture, options))


def text_of(future: Future[Answer]) -> str:
    return future.result(WAIT_S).captions[0].text


@contextmanager
def queued(
    batcher: Batcher, echo: Echo, *pictures: str, options: Sequence[DecodingOptions] = ()
) -> Iterator[list[Future[Answer]]]:
    """The futures of `pictures`, all in the queue while the only device holds a picture "first"."""
    n_before = len(echo.tried)
    echo.hold()
    with ExitStack() as places:
        places.enter_context(batcher.admit()).submit("first", BEAMS)
        wait_for(lambda: len(echo.tried) > n_before)
        yield [
            places.enter_context(batcher.admit()).submit(picture, wanted)
            for picture, wanted in zip(pictures, options or [BEAMS] * len(pictures), strict=True)
        ]
