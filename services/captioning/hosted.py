"""One model on all devices: whether it is loaded, who uses it, and what waits for it."""

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from enum import Enum

from services.captioning.captioner import LoadCaptioner, ModelInfo
from services.captioning.jobs import Job, Place
from services.captioning.runner import FIRST_GUESS_S, BatchRunner
from services.errors import ModelNotReady

RELOAD_RETRY_S = 30  # after a reload that failed: what was in its way may be gone by then


class ModelStatus(Enum):
    LOADING = "loading"
    LOADED = "loaded"  # on one device at least
    FAILED = "failed"  # on all of them
    IDLE = "idle"  # unloaded for want of use; comes back on demand


class HostedModel:
    """The batcher's lock guards all that changes.

    wanted: it is being loaded, or is to be next. n_users: held places and running batches; as long as there is
    one, the model stays where it is.
    """

    def __init__(self, name: str, loaders: Sequence[LoadCaptioner]) -> None:
        self.name = name
        self.loaders = loaders  # one a device
        self.wanted = True
        self.runners: dict[int, BatchRunner] = {}  # number of a device that has it -> its runner there
        self.errors: dict[int, str] = {}  # number of a device that could not load it -> why
        self.jobs: deque[Job] = deque()
        self.waiting: set[Place] = set()  # held places whose picture no device has taken yet
        self.n_users = 0
        self.used_at = 0.0  # when the last user left, in time.monotonic()
        self.batch_sizes: Counter[int] = Counter()  # pictures of a batch -> how many such batches were taken
        self.devices: set[str] = set()  # on which it was loaded, now or before
        self._info: ModelInfo | None = None  # as it was last loaded
        self._retry_at = math.inf

    @property
    def status(self) -> ModelStatus:
        if self.runners:
            return ModelStatus.LOADED
        if self.wanted:
            return ModelStatus.LOADING
        return ModelStatus.FAILED if self.errors and time.monotonic() < self._retry_at else ModelStatus.IDLE

    @property
    def info(self) -> ModelInfo | None:
        """Of the first device that has it, or had it last; None until it was loaded once."""
        return self.runners[min(self.runners)].captioner.info if self.runners else self._info

    @property
    def error(self) -> str | None:
        """Why it could not be loaded, be it on one device of several."""
        n_devices = len(self.loaders)
        if n_devices == 1:
            return self.errors.get(0)
        reasons = [f"device {i + 1} of {n_devices}: {reason}" for i, reason in sorted(self.errors.items())]
        return "; ".join(reasons) or None

    @property
    def pictures_per_s(self) -> float:
        """Of all devices that have it together."""
        return sum(1 / runner.seconds_each for runner in self.runners.values()) or 1 / FIRST_GUESS_S

    def failure(self) -> ModelNotReady:
        """For who asks while the status is FAILED."""
        left_s = self._retry_at - time.monotonic()
        return ModelNotReady(
            f"The model could not be loaded: {self.error}",
            retry_after_s=max(1, math.ceil(left_s)) if left_s < math.inf else None,
        )

    def want(self) -> None:
        self.wanted = True
        self.errors.clear()

    def loaded(self, number: int, result: BatchRunner | str) -> None:
        """Device `number`, the devices being loaded in their order, has it now; or a text says why not."""
        if isinstance(result, str):
            self.errors[number] = result
        else:
            self.runners[number] = result
            self.devices.add(result.captioner.info.device)
            self.used_at = time.monotonic()
        self.wanted = number + 1 < len(self.loaders)
        if not self.runners and self._info:  # it could be loaded once
            self._retry_at = time.monotonic() + RELOAD_RETRY_S

    def unload(self) -> None:
        self._info = self.info
        self.runners.clear()
        self.errors.clear()

    def enter(self) -> None:
        self.n_users += 1

    def leave(self) -> None:
        self.n_users -= 1
        self.used_at = time.monotonic()
