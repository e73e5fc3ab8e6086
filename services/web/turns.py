"""Who may compute when many ask at once: probes at any time, of the others a few at once.

    probe ──────────────────────────────────────▶ answer
    other ─▶ waits for its turn ─▶ begins ─▶ its turn is over: it reads its body, waits for the model, or ends

Threads share one interpreter. If a hundred of them refuse requests at the same time, each goes on once in a
hundred times, and so does the one that answers `/health`, which then takes as long as all of them together.
The event loop, which finds out what is a probe, waits for nobody: nobody begins while it has something to do.
"""

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PROBES = ("/health", "/ready", "/v2/health/live", "/v2/health/ready")
AT_ONCE = 2  # one that computes, and one that is ready to
LONGEST_YIELD_S = 0.02  # a flood may keep the event loop busy for ever

ARRIVED_AT = "service.arrived_at"  # in the environ: when, in time.monotonic()
_KEY = "service.turn"


class Turn:
    """Of one request. Over before anything that takes long or depends on the client."""

    def __init__(self, turns: threading.Semaphore, loop_is_idle: threading.Event) -> None:
        self._turns = turns
        self._loop_is_idle = loop_is_idle
        self._has_it = False

    def begin(self) -> None:
        self._turns.acquire()
        self._has_it = True
        self._loop_is_idle.wait(LONGEST_YIELD_S)

    def end(self) -> None:
        """Does nothing the second time. To be called in the request's thread."""
        if self._has_it:
            self._has_it = False
            self._turns.release()


def end_turn(environ: "WSGIEnvironment") -> None:
    """The request goes on without a turn; also one that never had one."""
    if turn := environ.get(_KEY):
        turn.end()


class Turns:
    """A WSGI application around another.

    loop_is_idle: cleared by the server while its event loop has something to do.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self._turns = threading.Semaphore(AT_ONCE)
        self.loop_is_idle = threading.Event()
        self.loop_is_idle.set()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] in PROBES:
            return self._app(environ, start_response)
        environ[ARRIVED_AT] = time.monotonic()
        turn = environ[_KEY] = Turn(self._turns, self.loop_is_idle)
        environ["wsgi.input"] = _Body(environ["wsgi.input"], turn)
        turn.begin()
        try:
            return self._app(environ, start_response)
        finally:
            turn.end()


class _Body:
    """A request's body: whoever turns to it may wait for the client, and ends the turn."""

    def __init__(self, body: Any, turn: Turn) -> None:
        self._body = body
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        self._turn.end()
        return getattr(self._body, name)
