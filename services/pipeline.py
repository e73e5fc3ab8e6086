"""The way of one image through the stages, as code.

`Pipeline.analyze` runs in the request's thread: it takes a place in the queue, fetches, decodes in one of a
few slots, and then waits for a device's thread.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from services.captioning.batcher import Batcher, BatcherState, ModelStatus
from services.captioning.captioner import Caption, DecodingOptions, ModelInfo
from services.captioning.jobs import Answer, nobody_left
from services.emoji.in_use import MapHolder, MapInUse
from services.emoji.mapper import EmojiPair
from services.errors import BadRequest, DeadlineExceeded, InvalidParameter, NoCaption, UrlUnreachable
from services.images.source import BytesSource, FileSource, ImageSource, UrlSource

# what a caller of the pipeline needs of the stages
__all__ = [
    "Analysis",
    "BatcherState",
    "BytesSource",
    "DecodingOptions",
    "FileSource",
    "ImageSource",
    "ModelInfo",
    "ModelStatus",
    "Pipeline",
    "Prediction",
    "UrlSource",
]


CLIENT_LOOK_S = 0.25  # between two looks whether a waiting client is still there


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

    def check_admitting(self) -> None:
        """Raises Overloaded or ModelNotReady if no image would be taken now."""
        self._batcher.check_admitting()

    def analyze(
        self,
        source: ImageSource,
        timeout_s: float,
        spent_s: float = 0.0,
        options: DecodingOptions | None = None,
        client_left: Callable[[], bool] = nobody_left,
    ) -> Analysis:
        """Caption one image within `timeout_s` seconds, of which `spent_s` are over.

        Raises Overloaded and ModelNotReady before any work, what the stages raise for the image
        (services.errors), NoCaption, and DeadlineExceeded when the time is over, wherever it was spent.
        client_left: once it is true the image never reaches the model. Called by several threads; must not block.
        """
        deadline = time.monotonic() + timeout_s - spent_s
        try:
            answer = self._caption(source, deadline, options, client_left)
        except TooLate:
            raise DeadlineExceeded(f"The request took longer than its {timeout_s:g} s") from None
        captions = [caption for caption in answer.captions if caption.text.strip()]
        if not captions:
            raise NoCaption("The model gave no caption for this image")
        emojis = self.map_in_use  # once: it may be replaced at any time, and the version must name what answered
        predictions = tuple(Prediction(caption, tuple(emojis.mapper.map(caption.text))) for caption in captions)
        return Analysis(predictions, answer.model, emojis.emoji_map.version)

    def _caption(
        self,
        source: ImageSource,
        deadline: float,
        options: DecodingOptions | None,
        client_left: Callable[[], bool],
    ) -> Answer:
        with self._batcher.admit() as place:
            data = self._read(source, deadline)
            with self._slot(deadline):
                future = place.submit(self._decode(data), options, client_left)
            del data  # it may be large, and the wait long
            while not concurrent.futures.wait([future], min(_left_s(deadline), CLIENT_LOOK_S)).done:
                left = client_left()
                if left or _left_s(deadline) <= 0:
                    future.cancel()
                    raise BadRequest("The client closed its connection while it waited") if left else TooLate
        try:
            return future.result()
        except ValueError as exc:
            if options is None:
                raise
            raise InvalidParameter(str(exc)) from exc  # the model cannot follow these options, and says why

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


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
