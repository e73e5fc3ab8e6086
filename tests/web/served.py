"""`gunicorn 'tests.web.served:app()'`: the application on the fake captioner, behind a real socket."""

import os
from contextlib import ExitStack

from flask import Flask

from tests.fakes import make_app

MAX_IMAGE_BYTES = 100_000
DRAINING = "TESTS_DRAINING"

_stack = ExitStack()  # never closed: the pipeline lives as long as the process


def app() -> Flask:
    served = _stack.enter_context(make_app(max_image_bytes=MAX_IMAGE_BYTES))
    if os.environ.get(DRAINING):
        served.extensions["drain"].set()
    return served
