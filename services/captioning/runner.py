"""Batches on one device: what fits into its memory, what fails, and how long a picture takes."""

import copy
import logging
import time
import traceback
from collections.abc import Sequence

from services.captioning.captioner import Caption, Captioner, DeviceLost, DeviceOutOfMemory
from services.captioning.jobs import Answer, Job
from services.captioning.wanted import Abandoned, wanted_until
from services.captioning.watchdog import Watchdog
from services.errors import Overloaded

logger = logging.getLogger(__name__)

FIRST_GUESS_S = 1.0  # for one picture, until one has been timed
SMOOTHING = 0.2  # of the running mean of the seconds that a picture takes
OUT_OF_MEMORY_RETRY_S = 5
RECOVERY_BATCHES = 100  # full ones that fitted, before twice as many pictures are tried again


class BatchRunner:
    """Owns a captioner: only the thread that calls `run` touches its model.

    limit: the most pictures of a batch. It is halved when the device's memory runs out. It comes back slowly,
    because the next options may need less memory (beams, captions), or another program may have given some
    back; and by doubling, which needs no other memory of what fitted. Where nothing has changed, that costs
    one vain attempt in RECOVERY_BATCHES.
    seconds_each: running mean of the time for a picture, a batch's time being shared by its pictures.
    """

    def __init__(self, captioner: Captioner, max_batch: int, watchdog: Watchdog) -> None:
        self.captioner = captioner
        self._watchdog = watchdog
        self.limit = max_batch
        self.seconds_each = FIRST_GUESS_S
        self._max_batch = max_batch
        self._n_fitted = 0  # full batches, since the limit last changed

    def run(self, jobs: list[Job]) -> None:
        """Answer all `jobs`, which have equal options: with captions, or with an error each.

        Raises DeviceLost, and leaves what it has not answered then to the caller.
        """
        while jobs := [job for job in jobs if not job.abandoned]:  # some may be, since the part before
            part = jobs[: self.limit]
            # Retried here, where no exception is alive: it would keep the failed batch's tensors in memory.
            if self._try(part):
                jobs = jobs[len(part) :]
            elif len(part) > 1:
                self._narrow(len(part))
            else:
                jobs = jobs[1:]
                logger.error("%s has no memory left for a single picture", self.captioner.info.device)
                # Not an internal error: what holds the memory (another program, mostly) may let it go.
                part[0].fail(
                    Overloaded(
                        "The device has too little free memory for this picture now; "
                        f"try again in {OUT_OF_MEMORY_RETRY_S} s",
                        retry_after_s=OUT_OF_MEMORY_RETRY_S,
                    )
                )

    def _try(self, part: list[Job]) -> bool:
        """Caption these pictures and answer their jobs; False, and no answer, if they do not fit into memory."""
        started = time.monotonic()
        try:
            results = self._caption(part)
        except DeviceOutOfMemory:
            return False
        except Abandoned:
            return True  # nobody is left to answer
        except DeviceLost:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a model raises belongs to this batch
            _forget_variables(exc)
            for job in part:
                job.fail(_own(exc))
            return True
        ended = time.monotonic()
        for job, captions in zip(part, results, strict=True):
            job.answer(Answer(tuple(captions), self.captioner.info, began_at=started, ended_at=ended))
        self.seconds_each += SMOOTHING * ((ended - started) / len(part) - self.seconds_each)
        self._widen(len(part))
        return True

    def _caption(self, part: list[Job]) -> Sequence[Sequence[Caption]]:
        with (
            self._watchdog.watch(f"Captioning a batch of {len(part)} on {self.captioner.info.device}"),
            wanted_until(lambda: all(job.abandoned for job in part)),
        ):
            results = self.captioner.caption([job.picture for job in part], part[0].options)
        if len(results) != len(part):  # whose caption is whose cannot be known
            raise RuntimeError(f"The model gave {len(results)} results for {len(part)} pictures")
        return results

    def _narrow(self, size: int) -> None:
        self.limit, self._n_fitted = size // 2, 0
        logger.warning(
            "%s has no memory for %d pictures at once; trying %d", self.captioner.info.device, size, self.limit
        )

    def _widen(self, size: int) -> None:
        if size < self.limit or self.limit == self._max_batch:
            return
        self._n_fitted += 1
        if self._n_fitted == RECOVERY_BATCHES:
            self.limit, self._n_fitted = min(2 * self.limit, self._max_batch), 0


def _forget_variables(exc: Exception) -> None:
    """The traceback stays readable, but keeps no tensors alive; nor the jobs, whose futures will hold `exc`."""
    if exc.__traceback__:
        exc.__traceback__ = exc.__traceback__.tb_next  # the catching frame still runs, and cannot be cleared
        traceback.clear_frames(exc.__traceback__)


def _own(exc: Exception) -> Exception:
    """A copy, caused by `exc`: one object raised in many threads would collect the tracebacks of all."""
    try:
        own = copy.copy(exc)
    except Exception:  # noqa: BLE001 - a constructor with arguments of its own
        own = RuntimeError(f"{type(exc).__name__}: {exc}")
    own.__cause__ = exc
    return own
