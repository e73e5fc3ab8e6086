"""The way of one image through the stages, as code.

`Pipeline.analyze` runs in the request's thread: it takes a place in the queue, waits for the model if that was
unloaded, fetches, decodes in one of a few slots, and then waits for a device's thread.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from services.captioning.batcher import Batcher, BatcherState, ModelState, ModelStatus
from services.captioning.captioner import Caption, DecodingOptions, ModelInfo, can_answer, default_options
from services.captioning.device_memory import device_memory
from services.captioning.jobs import Answer, nobody_left
from services.emoji.in_use import MapHolder, MapInUse
from services.emoji.mapper import EmojiPair
from services.errors import BadRequest, DeadlineExceeded, InvalidParameter, NoCaption, UrlUnreachable
from services.images.source import BytesSource, FileSource, ImageSource, UrlSource

# what a caller of the pipeline needs of the stages
__all__ = [
    "STAGES",
    "Analysis",
    "BatcherState",
    "BytesSource",
    "DecodingOptions",
    "FileSource",
    "ImageSource",
    "ModelInfo",
    "ModelState",
    "ModelStatus",
    "Pipeline",
    "Prediction",
    "UrlSource",
    "can_answer",
    "default_options",
]


CLIENT_LOOK_S = 0.25  # between two looks whether a waiting client is still there

# What a picture's time is spent on, in this order. load: waiting for a model that was unloaded; fetch: a URL or a
# file (uploads have none); decode: bytes to the model's picture, the wait for a slot included; queue: until a
# device begins with its batch; caption: the model's call for the whole batch.
STAGES = ("load", "fetch", "decode", "queue", "caption", "emoji")
# is told a stage, when it began and when it ended, in time.monotonic(); also where it ended in an error
Timed = Callable[[str, float, float], None]


def not_timed(_stage: str, _began_at: float, _ended_at: float) -> None:
    pass


@dataclass(frozen=True)
class Prediction:
    caption: Caption
    emoji_pairs: tuple[EmojiPair, ...]


@dataclass(frozen=True)
class Analysis:
    predictions: tuple[Prediction, ...]  # one for each caption, the likeliest first
    model: ModelInfo  # that answered
    emoji_map_version: str


class Reader(Protocol):
    def read(self, source: ImageSource, timeout_s: float) -> bytes: ...


class Pipeline:
    """One image in, its captions and their emojis out. Thread-safe."""

    def __init__(
        self,
        reader: Reader,
        decode: Callable[[bytes], Any],
        batcher: Batcher,
        emoji_maps: MapHolder,
        decode_slots: int,
        url_timeout_s: float,
    ) -> None:
        self._reader = reader
        self._decode = decode
        self._batcher = batcher
        self._emoji_maps = emoji_maps
        self._slots = threading.BoundedSemaphore(decode_slots)
        self._url_timeout_s = url_timeout_s

    @property
    def state(self) -> BatcherState:
        return self._batcher.state

    @property
    def map_in_use(self) -> MapInUse:
        """The emoji map that answers at this moment."""
        return self._emoji_maps.current

    @property
    def device_memory(self) -> dict[str, dict[str, int]]:
        """Bytes by device and kind; see services.captioning.device_memory."""
        return device_memory({device for model in self.state.models.values() for device in model.devices})

    def check_admitting(self, model: str | None = None) -> None:
        """Raises Overloaded or ModelNotReady if no image would be taken now, for that model; None: for any."""
        self._batcher.check_admitting(model)

    def analyze(
        self,
        source: ImageSource,
        timeout_s: float,
        spent_s: float = 0.0,
        options: DecodingOptions | None = None,
        client_left: Callable[[], bool] = nobody_left,
        model: str | None = None,
        timed: Timed = not_timed,
    ) -> Analysis:
        """Caption one image within `timeout_s` seconds, of which `spent_s` are over.

        Raises Overloaded and ModelNotReady before any work, what the stages raise for the image
        (services.errors), NoCaption, and DeadlineExceeded when the time is over, wherever it was spent.
        client_left: once it is true the image never reaches the model. Called by several threads; must not block.
        model: None for the default one. timed: is told each stage that the picture came to; of a picture that got
        no answer from the model, neither queue nor caption.
        """
        deadline = time.monotonic() + timeout_s - spent_s
        try:
            answer = self._caption(source, deadline, options, client_left, model, timed)
        except TooLate:
            raise DeadlineExceeded(f"The request took longer than its {timeout_s:g} s") from None
        captions = [caption for caption in answer.captions if caption.text.strip()]
        if not captions:
            raise NoCaption("The model gave no caption for this image")
        emojis = self.map_in_use  # once: it may be replaced at any time, and the version must name what answered
        with _timing(timed, "emoji"):
            pairs = [tuple(emojis.mapper.map(caption.text)) for caption in captions]
        predictions = tuple(Prediction(*both) for both in zip(captions, pairs, strict=True))
        return Analysis(predictions, answer.model, emojis.emoji_map.version)

    def _caption(
        self,
        source: ImageSource,
        deadline: float,
        options: DecodingOptions | None,
        client_left: Callable[[], bool],
        model: str | None,
        timed: Timed,
    ) -> Answer:
        with self._batcher.admit(model) as place:
            with _timing(timed, "load"):
                _wait_until(place.wait_until_loaded, deadline, client_left)  # before it has anything in memory
            with nullcontext() if isinstance(source, BytesSource) else _timing(timed, "fetch"):
                data = self._read(source, deadline)
            with _timing(timed, "decode"), self._slot(deadline):
                future = place.submit(self._decode(data), options, client_left)
            queued_at = time.monotonic()
            del data  # it may be large, and the wait long
            try:
                _wait_until(lambda s: bool(concurrent.futures.wait([future], s).done), deadline, client_left)
            finally:
                future.cancel()  # does nothing to one that is done
        try:
            answer = future.result()
        except ValueError as exc:
            if options is None:
                raise
            raise InvalidParameter(str(exc)) from exc  # the model cannot follow these options, and says why
        timed("queue", min(queued_at, answer.began_at), answer.began_at)  # an idle device may have begun already
        timed("caption", answer.began_at, answer.ended_at)
        return answer

    def _read(self, source: ImageSource, deadline: float) -> bytes:
        left_s = _left_s(deadline)
        if left_s <= 0:
            raise TooLate
        try:
            return self._reader.read(source, min(self._url_timeout_s, left_s))
        except UrlUnreachable:
            if _left_s(deadline) <= 0:  # it was the request that had too little time, not the fetch
                raise TooLate from None
            raise

    @contextmanager
    def _slot(self, deadline: float) -> Iterator[None]:
        """One of the few slots for decoding, so that many large pictures at once do not fill the memory."""
        if not self._slots.acquire(timeout=_left_s(deadline)):
            raise TooLate
        try:
            yield
        finally:
            self._slots.release()


class TooLate(Exception):
    """The deadline passed; becomes a DeadlineExceeded, which says how long the request had."""


@contextmanager
def _timing(timed: Timed, stage: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        timed(stage, started, time.monotonic())


def _wait_until(is_so: Callable[[float], bool], deadline: float, client_left: Callable[[], bool]) -> None:
    """Returns when `is_so(seconds to wait for it)`. Raises TooLate, and BadRequest where nobody waits any more."""
    while not is_so(min(_left_s(deadline), CLIENT_LOOK_S)):
        if client_left():
            raise BadRequest("The client closed its connection while it waited")
        if _left_s(deadline) <= 0:
            raise TooLate


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
