"""`gunicorn 'tests.web.served:app()'`: the application on the fake captioner, behind a real socket."""

import os
from contextlib import ExitStack

from flask import Flask

from services.web import slow_clients
from tests.fakes import make_app

MAX_IMAGE_BYTES = 100_000
DRAINING = "TESTS_DRAINING"
STALL_S = "TESTS_STALL_S"

_stack = ExitStack()  # never closed: the pipeline lives as long as the process


def app() -> Flask:
    served = _stack.enter_context(make_app(max_image_bytes=MAX_IMAGE_BYTES))
    if os.environ.get(DRAINING):
        served.extensions["drain"].set()
    if os.environ.get(STALL_S):
        slow_clients.STALL_S = float(os.environ[STALL_S])
    return served
