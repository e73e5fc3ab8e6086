"""A bounded queue for each model in front of the devices, one thread each.

    request's thread                                    a device's thread
    ────────────────                                    ─────────────────
    admit() ─▶ Place ─▶ prepare() ─▶ submit() ═queues═▶ take_batch ─▶ BatchRunner ─▶ Future[Answer]
       └ Overloaded, ModelNotReady
                                                        ModelKeeper's thread: loads, unloads

A place is taken before any work is done for a request, so that an overload costs nothing. Whatever waits when
a device becomes free forms its next batch, up to `max_batch` pictures of one model with equal options; no device
waits for more. Every device has every model, and a model is called by its device's thread alone.

Models that have pictures waiting take turns, a batch each, and have places of their own: a picture waits for those
of its model that came before it, and for one batch of each other model before each of its model's. However many
want the others, however long they load, and if they fail.

A call of a model that hangs, and a device that is lost, cannot be mended from inside of the process: all who
wait are told so, and the process ends, for its supervisor to start another.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from services.captioning.captioner import (
    DeviceLost,
    LoadCaptioner,
    LoadProgress,
    ModelInfo,
    Picture,
    PreparedPicture,
)
from services.captioning.hosted import HostedModel, ModelStatus
from services.captioning.jobs import Job, Place
from services.captioning.keeper import ModelKeeper
from services.captioning.memory import release_memory
from services.captioning.runner import BatchRunner
from services.captioning.turns import Turns
from services.captioning.watchdog import Watchdog, end_process
from services.errors import ModelNotReady, Overloaded

__all__ = ["Batcher", "BatcherState", "ModelState", "ModelStatus"]

LOADING_RETRY_S = 5
RESTART_RETRY_S = 30  # what a restart takes, model included, with the weights at hand


@dataclass(frozen=True)
class ModelState:
    status: ModelStatus
    info: ModelInfo | None  # of the first device that has it, or had it last; None until it was loaded once
    error: str | None  # why loading failed, be it on one device of several
    admitting: bool  # whether a request would be admitted now
    batch_sizes: Mapping[int, int]  # pictures of a batch -> how many such batches a device has taken
    devices: frozenset[str]  # on which it was loaded, now or before


@dataclass(frozen=True)
class BatcherState(ModelState):
    """What `/health` shows, read at one moment: of the default model, and of all together."""

    models: Mapping[str, ModelState]  # name -> state, the default model first
    progress: LoadProgress | None  # of the model that is being loaded
    queue_depth: int  # pictures that wait: neither with a device, nor about to be taken by an idle one
    queue_capacity: int


class Batcher:
    """Owns the devices, the models and their queues. `start` it once; `stop` it at the end."""

    def __init__(
        self,
        models: Mapping[str, Sequence[LoadCaptioner]],
        queue_capacity: int,
        max_batch: int,
        call_timeout_s: float = 300.0,
        idle_s: float = 0.0,
        end: Callable[[str], None] = end_process,
        free_memory: Callable[[], None] = release_memory,
    ) -> None:
        """models: name -> its loaders, one a device; the first is the default one. queue_capacity: of each model.

        call_timeout_s: a call of a model that takes longer counts as hung. idle_s: a model that nobody has used
        for so long is unloaded; 0: never. end: ends the process; its argument is the reason.
        """
        self._queue_capacity = queue_capacity
        self._changed = threading.Condition()  # guards all that follows, and the models; all threads wait for it
        self._models = {name: HostedModel(name, loaders) for name, loaders in models.items()}
        self._turns = Turns(list(self._models.values()))
        self._stop_by: float | None = None
        self._broken = False  # the process is about to end
        self._end = end
        self._watchdog = watchdog = Watchdog(call_timeout_s, self._give_up)
        self._keeper = ModelKeeper(
            list(self._models.values()),
            self._changed,
            lambda captioner: BatchRunner(captioner, max_batch, watchdog),
            lambda: self._is_over,
            idle_s,
            free_memory,
        )
        n_devices = max(len(loaders) for loaders in models.values())
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"batcher-{number}", daemon=True)
            for number in range(n_devices)
        ]
        self._threads.append(self._keeper.thread)

    def start(self) -> None:
        self._watchdog.start()
        for thread in self._threads:
            thread.start()

    def stop(self, grace_s: float, last_batch_s: float = 0.0) -> None:
        """Caption what is queued for at most `grace_s` seconds; what is left then is refused.

        last_batch_s: how much longer a batch that has begun by then may take; it is refused too if it takes more.
        """
        with self._changed:
            self._stop_by = time.monotonic() + grace_s
            self._changed.notify_all()
        _call_in(grace_s, self._refuse, self._turns.take_waiting)
        _call_in(grace_s + last_batch_s, self._refuse, self._turns.take_all)

    def _refuse(self, take: Callable[[], list[Job]]) -> None:
        with self._changed:
            jobs = take()
        for job in jobs:
            job.fail(_stopping())

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
            states = {
                name: ModelState(
                    model.status,
                    model.info,
                    model.error,
                    admitting=self._refusal(model) is None,
                    batch_sizes=dict(model.batch_sizes),
                    devices=frozenset(model.devices),
                )
                for name, model in self._models.items()
            }
            first = next(iter(states.values()))
            return BatcherState(
                first.status,
                first.info,
                first.error,
                first.admitting,
                first.batch_sizes,
                first.devices,
                models=states,
                progress=self._keeper.progress,
                queue_depth=self._turns.depth,
                queue_capacity=self._queue_capacity * len(states),
            )

    def check_admitting(self, name: str | None = None) -> None:
        """Raise what `admit` would raise now: for a refusal before a request's body is read.

        None: as long as that does not say which model is asked for; then any that admits will do.
        """
        models = [self._models[name]] if name else list(self._models.values())
        with self._changed:
            refusals = [refusal for model in models if (refusal := self._refusal(model))]
        if len(refusals) == len(models):
            raise refusals[0]

    @contextmanager
    def admit(self, name: str | None = None) -> Iterator[Place]:
        """A place for one picture in the queue of model `name` (None: the default one), until the block is left.

        So long the model is not unloaded. Raises ModelNotReady and Overloaded, both before any work.
        """
        with self._changed:
            model = self._models[name] if name else next(iter(self._models.values()))
            refusal = self._refusal(model)
            if refusal:
                raise refusal
            place = Place(partial(self._wait, model), partial(self._prepare, model), partial(self._put, model))
            model.waiting.add(place)
            model.enter()
        try:
            yield place
        finally:
            with self._changed:
                model.waiting.discard(place)
                model.leave()
                self._changed.notify_all()  # the devices or the keeper may have waited for this one alone

    def _wait(self, model: HostedModel, timeout_s: float) -> bool:
        with self._changed:
            if model.status is ModelStatus.IDLE:
                model.want()
                self._changed.notify_all()
            self._changed.wait_for(lambda: model.runners or self._end_of(model), timeout_s)
            if not model.runners and (end := self._end_of(model)):
                raise end
            return bool(model.runners)

    def _prepare(self, model: HostedModel, picture: Picture) -> PreparedPicture:
        with self._changed:  # any device's captioner will do: they prepare pictures alike
            captioner = model.runners[min(model.runners)].captioner
        return captioner.prepare(picture)

    def _put(self, model: HostedModel, job: Job) -> None:
        with self._changed:
            end = self._end_of(model)
            if end is None:
                model.jobs.append(job)
                self._changed.notify_all()  # not every device may have this model
                return
        job.fail(end)

    # What follows, up to _work, is called with the lock held.

    @property
    def _is_over(self) -> bool:
        if self._stop_by is None:
            return self._broken
        return self._broken or not any(model.waiting for model in self._models.values())

    def _end_of(self, model: HostedModel) -> ModelNotReady | Overloaded | None:
        """Why those who wait for this model wait in vain."""
        if self._broken:
            return _restarting()
        if model.status is ModelStatus.FAILED:
            return model.failure()
        if self._stop_by is not None and time.monotonic() >= self._stop_by:
            return _stopping()
        return None

    def _refusal(self, model: HostedModel) -> ModelNotReady | Overloaded | None:
        if end := self._end_of(model):
            return end
        if self._stop_by is not None:
            return _stopping()
        if model.status is ModelStatus.LOADING and not model.info:  # the first time, which may be a download
            return ModelNotReady("The model is still loading; see /health", retry_after_s=LOADING_RETRY_S)
        if len(model.waiting) >= self._queue_capacity + self._turns.n_idle(model):
            wait_s = self._turns.wait_s()
            return Overloaded(
                f"All {self._queue_capacity} places of the queue are taken; try again in {wait_s} s",
                retry_after_s=wait_s,
            )
        return None

    def _work(self, number: int) -> None:
        """A device's thread."""
        while self._serve_batch(number):
            pass

    def _serve_batch(self, number: int) -> bool:
        """Wait for a batch and answer it; False when there will be no more."""
        taken = self._take(number)
        if not taken:
            return False
        runner, batch = taken
        if self._stop_by is not None and time.monotonic() >= self._stop_by:
            for job in batch:
                job.fail(_stopping())
        else:
            try:
                runner.run(batch)
            except DeviceLost as exc:
                self._give_up(f"{runner.captioner.info.device} is lost: {exc}")
        with self._changed:
            self._turns.finish(number)
            self._changed.notify_all()
        return True

    def _take(self, number: int) -> tuple[BatchRunner, list[Job]] | None:
        with self._changed:
            while True:
                # nothing here holds a runner while the device waits: it would keep its model in memory
                if taken := self._turns.take(number):
                    return taken
                if self._is_over:
                    return None
                self._changed.wait()

    def _give_up(self, reason: str) -> None:
        """Tell all who wait that the process ends, and end it."""
        with self._changed:
            if self._broken:
                return
            self._broken = True
            jobs = self._turns.take_all()
            self._changed.notify_all()
        for job in jobs:
            job.fail(_restarting())
        self._end(reason)


def _call_in(seconds: float, call: Callable[..., None], argument: object) -> None:
    if seconds <= 0:
        call(argument)
        return
    timer = threading.Timer(seconds, call, (argument,))
    timer.daemon = True
    timer.start()


def _stopping() -> Overloaded:
    return Overloaded("The service is stopping", retry_after_s=LOADING_RETRY_S)


def _restarting() -> ModelNotReady:
    return ModelNotReady("The model stopped answering; the service restarts", retry_after_s=RESTART_RETRY_S)
