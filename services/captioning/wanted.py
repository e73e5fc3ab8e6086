"""Whether anybody still waits for what a model computes; asked between its steps, which may take minutes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_nobody_waits: ContextVar[Callable[[], bool]] = ContextVar("nobody_waits", default=lambda: False)


class Abandoned(Exception):
    """Nobody waits for the batch any more."""


@contextmanager
def wanted_until(nobody_waits: Callable[[], bool]) -> Iterator[None]:
    """In this thread `check_wanted` asks `nobody_waits`, until the block is left."""
    token = _nobody_waits.set(nobody_waits)
    try:
        yield
    finally:
        _nobody_waits.reset(token)


def check_wanted() -> None:
    """Raises Abandoned."""
    if _nobody_waits.get()():
        raise Abandoned
