"""One point in time that every step of a fetch shares."""

import time
from typing import Self


class Deadline:
    """A point in time, `timeout_s` from now."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._ends_at_s = time.monotonic() + timeout_s

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at_s

    def remaining_s(self) -> float:
        """Seconds left, more than 0. Raises TimeoutError when there are none."""
        remaining_s = self._ends_at_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        return remaining_s

    def at_most(self, timeout_s: float) -> Self:
        """This one, or `timeout_s` from now if that is sooner. Raises TimeoutError when this one is over."""
        return type(self)(min(timeout_s, self.remaining_s()))
