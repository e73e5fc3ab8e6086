"""The way of one image through the stages, as code.

`Pipeline.analyze` runs in the request's thread: it takes a place in the queue, fetches, decodes in one of a
few slots, and then waits for the batcher's thread.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from services.captioning.batcher import Batcher, BatcherState, ModelStatus
from services.captioning.captioner import Caption, ModelInfo
from services.emoji.map_file import EmojiMap
from services.emoji.mapper import EmojiMapper, EmojiPair
from services.errors import DeadlineExceeded, NoCaption, UrlUnreachable
from services.images.source import BytesSource, FileSource, ImageSource, UrlSource

# what a caller of the pipeline needs of the stages
__all__ = [
    "Analysis",
    "BatcherState",
    "BytesSource",
    "FileSource",
    "ImageSource",
    "ModelInfo",
    "ModelStatus",
    "Pipeline",
    "Prediction",
    "UrlSource",
]


@dataclass(frozen=True)
class Prediction:
    caption: Caption
    emoji_pairs: tuple[EmojiPair, ...]


@dataclass(frozen=True)
class Analysis:
    predictions: tuple[Prediction, ...]
    model: ModelInfo
    emoji_map_version: str


class Reader(Protocol):
    def read(self, source: ImageSource, timeout_s: float) -> bytes: ...


class Pipeline:
    """One image in, a caption and its emojis out. Thread-safe."""

    def __init__(
        self,
        reader: Reader,
        decode: Callable[[bytes], Any],
        batcher: Batcher,
        emoji_map: EmojiMap,
        decode_slots: int,
        url_timeout_s: float,
    ) -> None:
        self._reader = reader
        self._decode = decode
        self._batcher = batcher
        self.emoji_map = emoji_map
        self._mapper = EmojiMapper(emoji_map.entries)
        self._slots = threading.BoundedSemaphore(decode_slots)
        self._url_timeout_s = url_timeout_s

    @property
    def state(self) -> BatcherState:
        return self._batcher.state

    def analyze(self, source: ImageSource, timeout_s: float) -> Analysis:
        """Caption one image within `timeout_s` seconds.

        Raises Overloaded and ModelNotReady before any work, what the stages raise for the image
        (services.errors), NoCaption, and DeadlineExceeded when the time is over, wherever it was spent.
        """
        deadline = time.monotonic() + timeout_s
        with self._batcher.admit() as place:
            data = self._read(source, deadline, timeout_s)
            with self._slot(deadline, timeout_s):
                future = place.submit(self._decode(data))
            try:
                caption = future.result(timeout=max(0.0, deadline - time.monotonic()))
            except concurrent.futures.TimeoutError:
                future.cancel()
                raise DeadlineExceeded(_too_late(timeout_s)) from None
        if not caption.text.strip():
            raise NoCaption("The model gave no caption for this image")
        prediction = Prediction(caption, tuple(self._mapper.map(caption.text)))
        return Analysis((prediction,), place.info, self.emoji_map.version)

    def _read(self, source: ImageSource, deadline: float, timeout_s: float) -> bytes:
        try:
            return self._reader.read(source, min(self._url_timeout_s, timeout_s))
        except UrlUnreachable:
            if time.monotonic() >= deadline:  # it was the request that had too little time, not the fetch
                raise DeadlineExceeded(_too_late(timeout_s)) from None
            raise

    @contextmanager
    def _slot(self, deadline: float, timeout_s: float) -> Iterator[None]:
        """One of the few slots for decoding, so that many large pictures at once do not fill the memory."""
        if not self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded(_too_late(timeout_s))
        try:
            yield
        finally:
            self._slots.release()


def _too_late(timeout_s: float) -> str:
    return f"The request took longer than its {timeout_s:g} s"
