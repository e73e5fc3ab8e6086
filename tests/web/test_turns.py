"""Who may begin: not while the event loop has something to do, but for probes, and but for a while."""

import os
import selectors
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from services.web import turns as turns_module
from services.web.gunicorn_worker import JsonThreadWorker
from services.web.turns import PROBES, Turns
from tests.fakes import WAIT_S, make_app


class Door:
    """An application that notes what begins."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.turns = Turns(self._answer)

    def _answer(self, environ: object, start_response: object) -> list[bytes]:
        self.begun.set()
        return []

    def come(self, path: str) -> threading.Thread:
        environ = {"PATH_INFO": path, "wsgi.input": None}
        thread = threading.Thread(target=self.turns, args=(environ, None))
        thread.start()
        return thread


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "LONGEST_YIELD_S", WAIT_S)


@pytest.mark.usefixtures("patient")
def test_nobody_begins_while_the_event_loop_is_busy() -> None:
    door = Door()
    door.turns.loop_is_idle.clear()
    request = door.come("/analyze")
    assert not door.begun.wait(0.2)
    door.turns.loop_is_idle.set()
    request.join(WAIT_S)
    assert door.begun.is_set()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", PROBES)
def test_probes_begin_at_any_time(path: str) -> None:
    door = Door()
    door.turns.loop_is_idle.clear()
    door.come(path).join(WAIT_S / 2)
    assert door.begun.is_set()


def test_an_event_loop_that_is_never_idle_stops_nobody() -> None:
    door = Door()
    door.turns.loop_is_idle.clear()
    door.come("/analyze").join(WAIT_S)
    assert door.begun.is_set()


@pytest.fixture
def worker() -> Iterator[JsonThreadWorker]:
    """As far as its event loop needs it to be one."""
    with make_app() as app, selectors.DefaultSelector() as poller:
        looping = JsonThreadWorker.__new__(JsonThreadWorker)
        looping.wsgi = app
        looping.poller = poller
        yield looping


def test_the_event_loop_says_whether_it_is_busy(worker: JsonThreadWorker) -> None:
    loop_is_idle: threading.Event = worker.wsgi.extensions["loop_is_idle"]
    busy: list[bool] = []
    readable, written = os.pipe()

    def read(_: int) -> None:
        busy.append(not loop_is_idle.is_set())
        os.read(readable, 1)

    try:
        worker.poller.register(readable, selectors.EVENT_READ, read)
        os.write(written, b"ab")  # what waits already, and so does the second after the first
        for _ in range(2):
            worker.wait_for_and_dispatch_events(WAIT_S)
        worker.wait_for_and_dispatch_events(0)  # nothing
        threading.Timer(0.1, os.write, (written, b"c")).start()
        worker.wait_for_and_dispatch_events(WAIT_S)  # what comes only then
    finally:
        os.close(readable)
        os.close(written)
    assert busy == [True, True, True]


def test_nobody_is_held_up_by_an_event_loop_with_nothing_to_do(worker: JsonThreadWorker) -> None:
    loop_is_idle: threading.Event = worker.wsgi.extensions["loop_is_idle"]
    loop_is_idle.clear()
    was_idle: list[bool] = []
    select = worker.poller.select

    def note(timeout: float) -> object:
        if timeout:
            was_idle.append(loop_is_idle.is_set())
        return select(timeout)

    worker.poller = SimpleNamespace(select=note)
    worker.wait_for_and_dispatch_events(0.01)
    assert was_idle == [True]
