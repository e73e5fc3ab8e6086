"""A bounded queue in front of one thread that owns the model.

    request's thread                                   the batcher's thread
    ────────────────                                   ────────────────────
    admit() ─▶ Place ─▶ prepare() ─▶ submit() ═queue═▶ drop the abandoned ─▶ caption ─▶ Future
       └ Overloaded, ModelNotReady                     (loads the model first)

A place is taken before any work is done for a request, so that an overload costs nothing. The thread takes
one picture after another; it loads the model itself, so that nothing else ever touches it.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from services.captioning.captioner import (
    Caption,
    Captioner,
    LoadCaptioner,
    LoadProgress,
    ModelInfo,
    Picture,
    PreparedPicture,
)
from services.errors import ModelNotReady, Overloaded

logger = logging.getLogger(__name__)

LOADING_RETRY_S = 5
FIRST_GUESS_S = 1.0  # for one caption, until one has been timed
STOPPING_POLL_S = 0.1
SMOOTHING = 0.2  # of the running mean of the seconds that a caption takes


class ModelStatus(Enum):
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"


@dataclass(frozen=True)
class BatcherState:
    """What `/health` shows, read at one moment."""

    status: ModelStatus
    info: ModelInfo | None  # None until the model is loaded
    error: str | None  # why loading failed
    progress: LoadProgress | None
    queue_depth: int
    queue_capacity: int
    admitting: bool  # whether a request would be admitted now


@dataclass
class _Job:
    picture: PreparedPicture
    future: Future[Caption]


class Place:
    """A reserved place in the queue."""

    def __init__(self, captioner: Captioner, jobs: "queue.SimpleQueue[_Job | None]") -> None:
        self._captioner = captioner
        self._jobs = jobs
        self.info = captioner.info

    def submit(self, picture: Picture) -> Future[Caption]:
        """Queue a decoded picture. Cancel the future to give up; it is then dropped before it runs."""
        job = _Job(self._captioner.prepare(picture), Future())
        self._jobs.put(job)
        return job.future


class Batcher:
    """Owns the model and its queue. `start` it once; `stop` it at the end."""

    def __init__(self, load: LoadCaptioner, queue_capacity: int) -> None:
        self._load = load
        self._queue_capacity = queue_capacity
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._admitted = 0  # waiting, or being captioned
        self._captioner: Captioner | None = None
        self._status = ModelStatus.LOADING
        self._error: str | None = None
        self._progress: LoadProgress | None = None
        self._seconds_each = FIRST_GUESS_S
        self._stop_by: float | None = None
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Caption what is queued for at most `grace_s` seconds; what is left then is refused."""
        with self._lock:
            self._stop_by = time.monotonic() + grace_s
        self._jobs.put(None)  # wakes the thread

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def state(self) -> BatcherState:
        with self._lock:
            # the one that is being captioned does not wait
            depth = max(0, self._admitted - 1)
            return BatcherState(
                status=self._status,
                info=self._captioner.info if self._captioner else None,
                error=self._error,
                progress=self._progress,
                queue_depth=depth,
                queue_capacity=self._queue_capacity,
                admitting=self._refusal() is None,
            )

    def check_admitting(self) -> None:
        """Raise what `admit` would raise now: for a refusal before a request's body is read."""
        with self._lock:
            refusal = self._refusal()
        if refusal:
            raise refusal

    @contextmanager
    def admit(self) -> Iterator[Place]:
        """A place for one picture, held until the block is left.

        Raises ModelNotReady and Overloaded, both before any work.
        """
        with self._lock:
            refusal = self._refusal()
            if refusal:
                raise refusal
            assert self._captioner is not None
            place = Place(self._captioner, self._jobs)
            self._admitted += 1
        try:
            yield place
        finally:
            with self._lock:
                self._admitted -= 1

    def _refusal(self) -> ModelNotReady | Overloaded | None:
        if self._status is ModelStatus.FAILED:
            return ModelNotReady(f"The model could not be loaded: {self._error}")
        if self._stop_by is not None:
            return Overloaded("The service is stopping", retry_after_s=LOADING_RETRY_S)
        if self._status is ModelStatus.LOADING:
            return ModelNotReady("The model is still loading; see /health", retry_after_s=LOADING_RETRY_S)
        if self._admitted > self._queue_capacity:  # the queue, and the one that is being captioned
            wait_s = max(1, math.ceil(self._admitted * self._seconds_each))
            return Overloaded(
                f"All {self._queue_capacity} places of the queue are taken; try again in {wait_s} s",
                retry_after_s=wait_s,
            )
        return None

    def _run(self) -> None:
        try:
            captioner = self._load(self._report)
        except Exception as exc:
            logger.exception("The model could not be loaded")
            with self._lock:
                self._status, self._error, self._progress = ModelStatus.FAILED, _reason(exc), None
            return
        with self._lock:
            self._captioner, self._status, self._progress = captioner, ModelStatus.LOADED, None
        while (job := self._next()) is not None:
            self._serve(captioner, job)

    def _report(self, progress: LoadProgress) -> None:
        with self._lock:
            self._progress = progress

    def _next(self) -> _Job | None:
        """The next job, or None when the batcher was stopped and nobody is waiting for it any more."""
        while True:
            with self._lock:
                stopping, idle = self._stop_by is not None, self._admitted == 0
            if stopping and idle:
                return None
            try:
                # while stopping, look again and again: an admitted request may still submit, or go away
                job = self._jobs.get(timeout=STOPPING_POLL_S if stopping else None)
            except queue.Empty:
                continue
            if job is not None:
                return job

    def _serve(self, captioner: Captioner, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return  # abandoned
        if self._stop_by is not None and time.monotonic() >= self._stop_by:
            job.future.set_exception(Overloaded("The service is stopping", retry_after_s=LOADING_RETRY_S))
            return
        started = time.monotonic()
        try:
            (caption,) = captioner.caption([job.picture])
        except Exception as exc:  # noqa: BLE001 - whatever a model raises belongs to its request
            job.future.set_exception(exc)
        else:
            job.future.set_result(caption)
            self._seconds_each += SMOOTHING * (time.monotonic() - started - self._seconds_each)


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
