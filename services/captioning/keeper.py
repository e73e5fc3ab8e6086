"""Loads the models, and unloads those that nobody uses."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from services.captioning.captioner import Captioner, LoadProgress
from services.captioning.hosted import HostedModel
from services.captioning.memory import settle_objects
from services.captioning.runner import BatchRunner

logger = logging.getLogger(__name__)


class ModelKeeper:
    """One thread that does one thing at a time, while the devices go on with what they have.

    So the first device downloads the weights and the others find them, the machine's memory holds one copy of
    them at a time on their way to a device, and a model's memory is given back before it is loaded anew.

    changed: guards the models; notified whenever one is wanted, loaded, failed, entered or left.
    is_over: whether the thread is to end; called with the lock held.
    idle_s: a model that has had no user for so long is unloaded; 0: never.
    """

    def __init__(
        self,
        models: Sequence[HostedModel],
        changed: threading.Condition,
        make_runner: Callable[[Captioner], BatchRunner],
        is_over: Callable[[], bool],
        idle_s: float,
        free_memory: Callable[[], None],
    ) -> None:
        self._models = models
        self._changed = changed
        self._make_runner = make_runner
        self._is_over = is_over
        self._idle_s = idle_s
        self._free_memory = free_memory
        self.progress: LoadProgress | None = None  # of the model that is being loaded
        self.thread = threading.Thread(target=self._work, name="model-keeper", daemon=True)

    def _work(self) -> None:
        while task := self._next():
            task()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._is_over():
                for model in self._models:
                    if model.wanted:
                        return partial(self._load, model)
                for model in self._models:
                    if self._idle_in_s(model) <= 0:
                        model.unload()  # at once: who comes from now on finds it idle, and wants it back
                        logger.info("Nobody has used %s for %g s: unloading it", model.name, self._idle_s)
                        return self._free
                sleep_s = min(self._idle_in_s(model) for model in self._models)
                self._changed.wait(sleep_s if sleep_s < threading.TIMEOUT_MAX else None)
        return None

    def _idle_in_s(self, model: HostedModel) -> float:
        """How soon it is to be unloaded if nobody comes; infinite for never."""
        if not self._idle_s or not model.runners or model.n_users:
            return float("inf")
        return model.used_at + self._idle_s - time.monotonic()

    def _load(self, model: HostedModel) -> None:
        for number in range(len(model.loaders)):
            result = self._load_on(model, number)
            if isinstance(result, str):
                self._free()
            with self._changed:
                self.progress = None
                model.loaded(number, result)
                self._changed.notify_all()
                if self._is_over():
                    return

    def _load_on(self, model: HostedModel, number: int) -> BatchRunner | str:
        """The runner for device `number`, or why there is none."""
        try:
            runner = self._make_runner(_in_own_thread(partial(model.loaders[number], self._report)))
        except Exception as exc:
            n_devices = len(model.loaders)
            logger.exception("%s could not be loaded (device %d of %d)", model.name, number + 1, n_devices)
            return str(exc) or type(exc).__name__
        settle_objects()
        return runner

    def _free(self) -> None:
        try:
            self._free_memory()
        except Exception:  # of a device that is lost, say: the next batch there tells
            logger.exception("The memory of a model could not be given back")

    def _report(self, progress: LoadProgress) -> None:
        with self._changed:
            self.progress = progress


def _in_own_thread(load: Callable[[], Captioner]) -> Captioner:
    """Raises what `load` does.

    A thread in which torch has computed keeps helpers until it ends. With more of them than cores OpenMP has them
    all sleep between two operations, and the model takes a fifth longer (measured on two cores).
    """
    loaded: Future[Captioner] = Future()

    def run() -> None:
        try:
            loaded.set_result(load())
        except BaseException as exc:  # noqa: BLE001 - raised again below
            loaded.set_exception(exc)

    thread = threading.Thread(target=run, name="model-loader", daemon=True)
    thread.start()
    thread.join()
    return loaded.result()
