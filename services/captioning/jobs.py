"""What waits for a device, and how batches are made of it."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock

from services.captioning.captioner import Caption, DecodingOptions, ModelInfo, Picture, PreparedPicture


@dataclass(frozen=True)
class Answer:
    """What a picture's future brings."""

    captions: Sequence[Caption]  # the likeliest first
    model: ModelInfo  # of the captioner that made them: with several devices, which one it was
    # when the model began with its batch and when it was done, in time.monotonic()
    began_at: float = field(default=0.0, compare=False)
    ended_at: float = field(default=0.0, compare=False)


def nobody_left() -> bool:
    return False


@dataclass(eq=False)
class Job:
    """A picture in the queue.

    Its future stays pending until it is answered, so it can be given up (cancelled) at any time before.
    client_left: whether nobody waits any more, although nobody has cancelled; asked when a batch is made.
    The first answer counts: a device that hung may come back with one after the job was failed.
    """

    picture: PreparedPicture
    options: DecodingOptions | None
    place: "Place"
    client_left: Callable[[], bool] = nobody_left
    future: Future[Answer] = field(default_factory=Future)
    _unanswered: Lock = field(default_factory=Lock, init=False)

    @property
    def abandoned(self) -> bool:
        return self.future.cancelled() or self.client_left()

    def answer(self, answer: Answer) -> None:
        if self._is_first():
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """`error` must be this job's own: whoever waits raises it, and that makes its traceback longer."""
        if self._is_first():
            self.future.set_exception(error)

    def _is_first(self) -> bool:
        return self._unanswered.acquire(blocking=False) and self.future.set_running_or_notify_cancel()


class Place:
    """A reserved place in the queue of one model, for one picture."""

    def __init__(
        self,
        wait: Callable[[float], bool],
        prepare: Callable[[Picture], PreparedPicture],
        put: Callable[[Job], None],
    ) -> None:
        self._wait = wait
        self._prepare = prepare
        self._put = put

    def wait_until_loaded(self, timeout_s: float) -> bool:
        """Whether the model is there, after `timeout_s` seconds at the latest; one that is idle is loaded anew.

        Raises ModelNotReady when it could not be, and Overloaded when the service stops before.
        """
        return self._wait(timeout_s)

    def submit(
        self, picture: Picture, options: DecodingOptions | None, client_left: Callable[[], bool] = nobody_left
    ) -> Future[Answer]:
        """Queue a decoded picture for the model, which must be there: it says how its pictures are prepared.

        Cancel the future to give up; it is then dropped before it runs.
        client_left: the picture is dropped likewise if this says so when its turn comes; its future then stays
        pending. Called by many threads, and must not block.
        """
        job = Job(self._prepare(picture), options, self, client_left)
        self._put(job)
        return job.future


def take_batch(jobs: deque[Job], max_captions: int) -> list[Job]:
    """Take the next batch out of `jobs`, which are one model's, in the order of their arrival.

    The oldest job decides which options the batch has, so that nobody waits for ever; those with equal
    options join it, and the others keep their order. The abandoned are dropped. A batch makes `max_captions`
    captions at most, or those of one picture, so that many of each make no call of the model that takes minutes.
    """
    batch: list[Job] = []
    left: list[Job] = []
    for job in jobs:
        if job.abandoned:
            continue
        each = job.options.num_captions if job.options else 1
        joins = not batch or (job.options == batch[0].options and (len(batch) + 1) * each <= max_captions)
        (batch if joins else left).append(job)
    jobs.clear()
    jobs.extend(left)
    return batch
