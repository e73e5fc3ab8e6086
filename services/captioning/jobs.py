"""What waits for a device, and how batches are made of it."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from services.captioning.captioner import Caption, DecodingOptions, ModelInfo, Picture, PreparedPicture


@dataclass(frozen=True)
class Answer:
    """What a picture's future brings."""

    captions: Sequence[Caption]  # the likeliest first
    model: ModelInfo  # of the captioner that made them: with several devices, which one it was


@dataclass(eq=False)
class Job:
    """A picture in the queue.

    Its future stays pending until it is answered, so it can be given up (cancelled) at any time before.
    """

    picture: PreparedPicture
    options: DecodingOptions | None
    place: "Place"
    future: Future[Answer] = field(default_factory=Future)

    @property
    def abandoned(self) -> bool:
        return self.future.cancelled()

    def answer(self, answer: Answer) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """`error` must be this job's own: whoever waits raises it, and that makes its traceback longer."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class Place:
    """A reserved place in the queue, for one picture."""

    def __init__(self, prepare: Callable[[Picture], PreparedPicture], put: Callable[[Job], None]) -> None:
        self._prepare = prepare
        self._put = put

    def submit(self, picture: Picture, options: DecodingOptions | None) -> Future[Answer]:
        """Queue a decoded picture. Cancel the future to give up; it is then dropped before it runs."""
        job = Job(self._prepare(picture), options, self)
        self._put(job)
        return job.future


def take_batch(jobs: deque[Job], most: int) -> list[Job]:
    """Take the next batch out of `jobs`, which are in the order of their arrival.

    The oldest job decides which options the batch has, so that nobody waits for ever; those with equal
    options join it, `most` in all, and the others keep their order. The abandoned are dropped.
    """
    batch: list[Job] = []
    left: list[Job] = []
    for job in jobs:
        if job.abandoned:
            continue
        joins = len(batch) < most and (not batch or job.options == batch[0].options)
        (batch if joins else left).append(job)
    jobs.clear()
    jobs.extend(left)
    return batch
