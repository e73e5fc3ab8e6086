"""Notices a call that never returns. No torch: a hung driver cannot be asked."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)

TICK_S = 1.0
ANSWERS_S = 3.0  # for the answers that say so to get out


@dataclass(eq=False)
class _Call:
    what: str
    seconds: float = 0.0


class Watchdog:
    """Counts the seconds of the calls under `watch`; tells `on_hang` of the first that has `limit_s` of them.

    on_hang: called once, in the watchdog's own thread, with a sentence for the log.
    It counts by its own ticks and not by a clock, so that a process that was suspended for long is not taken
    for one that hangs. A call that holds Python's lock stops it as well; gunicorn's master notices that, since
    its worker's heartbeat then fails too.
    """

    def __init__(self, limit_s: float, on_hang: Callable[[str], None]) -> None:
        self._limit_s = limit_s
        self._tick_s = min(TICK_S, limit_s / 4)
        self._on_hang = on_hang
        self._lock = threading.Lock()  # guards the calls
        self._calls: set[_Call] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._count, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """what: the call, as the sentence for the log names it."""
        call = _Call(what)
        with self._lock:
            self._calls.add(call)
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(call)

    def _count(self) -> None:
        while not self._stopped.wait(self._tick_s):
            if hung := self._tick():
                self._on_hang(f"{hung.what} has not returned for {self._limit_s:g} s")
                return

    def _tick(self) -> _Call | None:
        with self._lock:
            for call in self._calls:
                call.seconds += self._tick_s
            return next((call for call in self._calls if call.seconds >= self._limit_s), None)


def end_process(reason: str) -> None:
    """End this process at once, whatever its threads do, so that its supervisor starts another.

    Under gunicorn that is its master, which boots a new worker; the port stays open meanwhile.
    """
    logger.critical("%s; this process ends, and its supervisor should start another", reason)
    time.sleep(ANSWERS_S)
    os._exit(os.EX_SOFTWARE)  # sys.exit would wait for the thread that hangs
