"""Which pictures a device gets next: the models that have some waiting take turns."""

import math
from collections.abc import Sequence

from services.captioning.hosted import HostedModel
from services.captioning.jobs import Job, take_batch
from services.captioning.runner import BatchRunner


class Turns:
    """The batcher's lock guards it, as it guards the models."""

    def __init__(self, models: Sequence[HostedModel]) -> None:
        self._models = list(models)  # the one whose last turn is longest ago comes first
        self._running: dict[int, tuple[HostedModel, list[Job]]] = {}  # number of a busy device -> its batch

    def take(self, number: int) -> tuple[BatchRunner, list[Job]] | None:
        """The next batch for device `number`, which has it until `finish`; None while nothing waits for it."""
        for model in self._models:
            runner = model.runners.get(number)
            if runner and (batch := take_batch(model.jobs, runner.limit)):
                model.waiting.difference_update(job.place for job in batch)
                model.enter()
                model.batch_sizes[len(batch)] += 1
                self._running[number] = model, batch
                self._models.remove(model)
                self._models.append(model)
                return runner, batch
        return None

    def finish(self, number: int) -> None:
        model, _ = self._running.pop(number)
        model.leave()

    def take_all(self) -> list[Job]:
        """What waits and what runs, to be told of the end."""
        return [job for _, batch in self._running.values() for job in batch] + self.take_waiting()

    def take_waiting(self) -> list[Job]:
        jobs: list[Job] = []
        for model in self._models:
            jobs += model.jobs
            model.jobs.clear()
        return jobs

    @property
    def depth(self) -> int:
        """How many wait, less those that an idle device is about to take."""
        loaded = {number for model in self._models for number in model.runners}
        return max(0, sum(len(model.waiting) for model in self._models) - len(loaded - self._running.keys()))

    def n_idle(self, model: HostedModel) -> int:
        """Devices that have the model and nothing to do: each takes one of the waiting at least."""
        return len(model.runners.keys() - self._running.keys())

    def wait_s(self) -> int:
        """How long the devices together need for all pictures that they have and that wait."""
        left_s = sum(len(model.waiting) / model.pictures_per_s for model in self._models)
        left_s += sum(len(batch) / model.pictures_per_s for model, batch in self._running.values())
        return max(1, math.ceil(left_s))
