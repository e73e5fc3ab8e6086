"""A bounded queue in front of the devices, one thread each.

    request's thread                                a device's thread
    ────────────────                                ─────────────────
    admit() ─▶ Place ─▶ prepare() ─▶ submit() ═queue═▶ take_batch ─▶ BatchRunner ─▶ Future[Answer]
       └ Overloaded, ModelNotReady                  (loads its model first)

A place is taken before any work is done for a request, so that an overload costs nothing. Whatever waits when
a device becomes free forms its next batch, up to `max_batch` pictures with equal options; no device waits for
more. Every thread loads its captioner itself, so that nothing else ever touches the model. All devices hold
the same model: a picture may go to any of them, and a batch never mixes models.

A call of the model that hangs, and a device that is lost, cannot be mended from inside of the process: all who
wait are told so, and the process ends, for its supervisor to start another.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from services.captioning.captioner import DeviceLost, LoadCaptioner, LoadProgress, ModelInfo
from services.captioning.jobs import Job, Place, take_batch
from services.captioning.runner import BatchRunner
from services.captioning.watchdog import Watchdog, end_process
from services.errors import ModelNotReady, Overloaded

logger = logging.getLogger(__name__)

LOADING_RETRY_S = 5
RESTART_RETRY_S = 30  # what a restart takes, model included, with the weights at hand


class ModelStatus(Enum):
    LOADING = "loading"
    LOADED = "loaded"  # on one device at least
    FAILED = "failed"  # on all of them


@dataclass(frozen=True)
class BatcherState:
    """What `/health` shows, read at one moment."""

    status: ModelStatus
    info: ModelInfo | None  # of the first device that is loaded; None until then
    error: str | None  # why loading failed, be it on one device of several
    progress: LoadProgress | None
    queue_depth: int  # pictures that wait: neither with a device, nor about to be taken by an idle one
    queue_capacity: int
    admitting: bool  # whether a request would be admitted now


class Batcher:
    """Owns the devices and their queue. `start` it once; `stop` it at the end."""

    def __init__(
        self,
        loaders: Sequence[LoadCaptioner],
        queue_capacity: int,
        max_batch: int,
        call_timeout_s: float = 300.0,
        end: Callable[[str], None] = end_process,
    ) -> None:
        """call_timeout_s: a call of the model that takes longer counts as hung. end: ends the process; its
        argument is the reason."""
        self._queue_capacity = queue_capacity
        self._max_batch = max_batch
        self._changed = threading.Condition()  # guards all that follows; the devices wait for it
        self._jobs: deque[Job] = deque()
        self._waiting: set[Place] = set()  # held places whose picture no device has taken yet
        self._running: dict[int, list[Job]] = {}  # number of a busy device -> its batch
        self._runners: dict[int, BatchRunner] = {}  # of the devices that are loaded
        self._errors: dict[int, str] = {}  # of those that could not be
        self._progress: LoadProgress | None = None
        self._stop_by: float | None = None
        self._broken = False  # the process is about to end
        self._end = end
        self._watchdog = Watchdog(call_timeout_s, self._give_up)
        # One device after another: the first downloads the weights, the others find them; and the machine's
        # memory holds one copy of the weights at a time on their way to the devices.
        self._loading = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(number, load), name=f"batcher-{number}", daemon=True)
            for number, load in enumerate(loaders)
        ]

    def start(self) -> None:
        self._watchdog.start()
        for thread in self._threads:
            thread.start()

    def stop(self, grace_s: float) -> None:
        """Caption what is queued for at most `grace_s` seconds; what is left then is refused."""
        with self._changed:
            self._stop_by = time.monotonic() + grace_s
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads' end; whether it came."""
        give_up_at = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))
        self._watchdog.stop()
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def state(self) -> BatcherState:
        with self._changed:
            runners = self._runners
            return BatcherState(
                status=self._status,
                info=runners[min(runners)].captioner.info if runners else None,
                error=self._error,
                progress=self._progress,
                queue_depth=self._depth,
                queue_capacity=self._queue_capacity,
                admitting=self._refusal() is None,
            )

    def check_admitting(self) -> None:
        """Raise what `admit` would raise now: for a refusal before a request's body is read."""
        with self._changed:
            refusal = self._refusal()
        if refusal:
            raise refusal

    @contextmanager
    def admit(self) -> Iterator[Place]:
        """A place for one picture, held until the block is left.

        Raises ModelNotReady and Overloaded, both before any work.
        """
        with self._changed:
            refusal = self._refusal()
            if refusal:
                raise refusal
            # any device's captioner will do: they prepare pictures alike
            place = Place(self._runners[min(self._runners)].captioner.prepare, self._put)
            self._waiting.add(place)
        try:
            yield place
        finally:
            with self._changed:
                self._waiting.discard(place)
                if self._stop_by is not None:
                    self._changed.notify_all()  # the devices may have waited for this one alone

    def _put(self, job: Job) -> None:
        with self._changed:
            if not self._broken:
                self._jobs.append(job)
                self._changed.notify()
                return
        job.fail(_restarting())

    # What follows, up to _work, is called with the lock held.

    @property
    def _status(self) -> ModelStatus:
        if self._runners:
            return ModelStatus.LOADED
        return ModelStatus.FAILED if len(self._errors) == len(self._threads) else ModelStatus.LOADING

    @property
    def _error(self) -> str | None:
        n_devices = len(self._threads)
        if n_devices == 1:
            return self._errors.get(0)
        reasons = [f"device {i + 1} of {n_devices}: {reason}" for i, reason in sorted(self._errors.items())]
        return "; ".join(reasons) or None

    @property
    def _depth(self) -> int:
        n_idle = len(self._runners) - len(self._running)  # each takes one of the waiting at least
        return max(0, len(self._waiting) - n_idle)

    def _refusal(self) -> ModelNotReady | Overloaded | None:
        status = self._status
        if self._broken:
            return _restarting()
        if status is ModelStatus.FAILED:
            return ModelNotReady(f"The model could not be loaded: {self._error}")
        if self._stop_by is not None:
            return _stopping()
        if status is ModelStatus.LOADING:
            return ModelNotReady("The model is still loading; see /health", retry_after_s=LOADING_RETRY_S)
        n_idle = len(self._runners) - len(self._running)
        if len(self._waiting) >= self._queue_capacity + n_idle:
            wait_s = self._wait_s()
            return Overloaded(
                f"All {self._queue_capacity} places of the queue are taken; try again in {wait_s} s",
                retry_after_s=wait_s,
            )
        return None

    def _wait_s(self) -> int:
        """How long the devices together need for all pictures that they have and that wait."""
        n_pictures = len(self._waiting) + sum(len(batch) for batch in self._running.values())
        pictures_per_s = sum(1 / runner.seconds_each for runner in self._runners.values())
        return max(1, math.ceil(n_pictures / pictures_per_s))

    def _work(self, number: int, load: LoadCaptioner) -> None:
        """A device's thread."""
        runner = self._load(number, load)
        while runner and self._serve_batch(number, runner):
            pass

    def _load(self, number: int, load: LoadCaptioner) -> BatchRunner | None:
        runner, error = None, ""
        with self._loading:
            try:
                runner = BatchRunner(load(self._report), self._max_batch, self._watchdog)
            except Exception as exc:
                logger.exception("The model could not be loaded (device %d of %d)", number + 1, len(self._threads))
                error = str(exc) or type(exc).__name__
            with self._changed:
                self._progress = None
                if runner:
                    self._runners[number] = runner
                else:
                    self._errors[number] = error
        return runner

    def _report(self, progress: LoadProgress) -> None:
        with self._changed:
            self._progress = progress

    def _serve_batch(self, number: int, runner: BatchRunner) -> bool:
        """Wait for a batch and answer it; False when there will be no more."""
        batch = self._take(number, runner.limit)
        if not batch:
            return False
        if self._stop_by is not None and time.monotonic() >= self._stop_by:
            for job in batch:
                job.fail(_stopping())
        else:
            try:
                runner.run(batch)
            except DeviceLost as exc:
                self._give_up(f"{runner.captioner.info.device} is lost: {exc}")
        with self._changed:
            del self._running[number]
        return True

    def _take(self, number: int, most: int) -> list[Job]:
        with self._changed:
            while True:
                if batch := take_batch(self._jobs, most):
                    self._waiting.difference_update(job.place for job in batch)
                    self._running[number] = batch
                    return batch
                if self._broken or (self._stop_by is not None and not self._waiting):
                    return []
                self._changed.wait()

    def _give_up(self, reason: str) -> None:
        """Tell all who wait that the process ends, and end it."""
        with self._changed:
            if self._broken:
                return
            self._broken = True
            jobs = [*self._jobs, *(job for batch in self._running.values() for job in batch)]
            self._jobs.clear()
            self._changed.notify_all()
        for job in jobs:
            job.fail(_restarting())
        self._end(reason)


def _stopping() -> Overloaded:
    return Overloaded("The service is stopping", retry_after_s=LOADING_RETRY_S)


def _restarting() -> ModelNotReady:
    return ModelNotReady("The model stopped answering; the service restarts", retry_after_s=RESTART_RETRY_S)
