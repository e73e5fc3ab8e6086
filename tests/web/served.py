"""`gunicorn 'tests.web.served:app()'`: the application on the fake captioner, behind a real socket."""

import atexit
import os
from contextlib import ExitStack

from flask import Flask

from services.web import slow_clients
from tests.fakes import make_app

MAX_IMAGE_BYTES = 100_000
DRAINING = "TESTS_DRAINING"
STALL_S = "TESTS_STALL_S"
BYTES_PER_S = "TESTS_BYTES_PER_S"

_stack = ExitStack()
atexit.register(_stack.close)  # while threads can still be started, as to stop the pipeline takes one


def app() -> Flask:
    served = _stack.enter_context(make_app(max_image_bytes=MAX_IMAGE_BYTES))
    if os.environ.get(DRAINING):
        served.extensions["drain"].set()
    if os.environ.get(STALL_S):
        slow_clients.STALL_S = float(os.environ[STALL_S])
    if os.environ.get(BYTES_PER_S):
        slow_clients.SLOWEST_BYTES_PER_S = int(os.environ[BYTES_PER_S])
    return served
