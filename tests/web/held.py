"""`gunicorn 'tests.web.held:app()'`: its captioner begins when it is told to, and tells how much it had to do."""

import atexit
import os
import threading
from contextlib import ExitStack

from flask import Flask

from tests.fakes import FakeCaptioner, make_app

CALL_TIMEOUT_S = "TESTS_CALL_TIMEOUT_S"

_stack = ExitStack()
atexit.register(_stack.close)  # while threads can still be started, as to stop the pipeline takes one


def app() -> Flask:
    gate = threading.Event()
    captioner = FakeCaptioner(gate=gate)
    limit_s = float(os.environ.get(CALL_TIMEOUT_S, "300"))
    held = _stack.enter_context(make_app(captioner, model_call_timeout_s=limit_s))

    @held.post("/test/begin")
    def begin() -> dict[str, int]:
        gate.set()
        return work()

    @held.get("/test/work")
    def work() -> dict[str, int]:
        return {"process": os.getpid(), "pictures": sum(captioner.batch_sizes)}

    return held
