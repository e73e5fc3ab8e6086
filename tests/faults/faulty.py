"""`gunicorn -c config/gunicorn.conf.py 'tests.faults.faulty:app()'`: the service as it is, but for its model.

The captioner here says the colour of a picture, as the fake of the other tests does, and notes what it was
given. Some colours are faults. It runs in the real process, under the real settings and the real queue.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flask import Flask

import REST
from services.captioning import engines
from services.captioning.captioner import Caption, DecodingOptions, DeviceLost, DeviceOutOfMemory
from services.web import slow_clients
from tests.fakes import FAKE_INFO, Colour, colour_caption
from tests.service.running import Service, service

SECONDS_EACH = "TESTS_SECONDS_EACH"  # what a picture takes
STALL_S = "TESTS_STALL_S"  # how long a request may take to come in

OUT_OF_MEMORY: Colour = (255, 0, 1)  # no batch with it fits, not even itself alone
BROKEN: Colour = (255, 0, 2)  # the model raises something for it
LOST: Colour = (255, 0, 3)  # the device answers nothing any more
HANGS: Colour = (255, 0, 4)  # the call never returns


class FaultyCaptioner:
    def __init__(self, seconds_each: float) -> None:
        self.info = FAKE_INFO
        self.seen: list[Colour] = []  # of all batches, noted as they begin
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._seconds_each = seconds_each

    def prepare(self, picture: Any) -> Colour:
        """RGB picture -> the colour of its middle."""
        colour: Colour = picture.getpixel((picture.width // 2, picture.height // 2))
        return colour

    def caption(self, pictures: Sequence[Colour], options: DecodingOptions | None) -> list[list[Caption]]:
        self.seen += pictures
        self.may_go_on.wait()
        time.sleep(self._seconds_each * len(pictures))  # lets other threads run, as torch does
        if OUT_OF_MEMORY in pictures:
            raise DeviceOutOfMemory(f"{len(pictures)} pictures")
        if BROKEN in pictures:
            raise RuntimeError("an assertion inside of the model")
        if LOST in pictures:
            raise DeviceLost("CUDA error: an illegal memory access was encountered")
        if HANGS in pictures:
            threading.Event().wait()
        each = options.num_captions if options else 1
        return [[Caption(colour_caption(colour))] * each for colour in pictures]


def app() -> Flask:
    captioner = FaultyCaptioner(float(os.environ.get(SECONDS_EACH, "0")))
    slow_clients.STALL_S = float(os.environ.get(STALL_S, slow_clients.STALL_S))
    engines.load_captioner = lambda *_, **__: captioner  # of this process, which serves no other purpose
    faulty = REST.create_app()

    @faulty.post("/test/hold")
    def hold() -> dict[str, bool]:
        captioner.may_go_on.clear()
        return {"held": True}

    @faulty.post("/test/go")
    def go() -> dict[str, bool]:
        captioner.may_go_on.set()
        return {"held": False}

    @faulty.get("/test/seen")
    def seen() -> dict[str, Any]:
        return {"process": os.getpid(), "seen": list(captioner.seen)}

    return faulty


@contextmanager
def faulty_service(seconds_each: float = 0.0, before: str = "", **settings: str) -> Iterator[Service]:
    """The service in its own processes, with this captioner loaded. before: what Python runs before it starts."""
    command: tuple[str, ...] = ("-m", "gunicorn", "-c", "config/gunicorn.conf.py", "tests.faults.faulty:app()")
    if before:
        command = ("-c", f"{before}; import os, sys; os.execv(sys.executable, {[sys.executable, *command]})")
    settings = {"DEVICE": "cpu", "LOG_LEVEL": "warning", SECONDS_EACH: str(seconds_each), **settings}
    with service(command, **settings) as running:
        running.wait_until("loaded")
        yield running


def worker_of(running: Service) -> int:
    """The process that serves: the child of gunicorn's master."""
    process: int = running.get("/test/seen").json()["process"]
    return process


def seen_by(running: Service) -> list[Colour]:
    """The pictures that the model was given."""
    return [(red, green, blue) for red, green, blue in running.get("/test/seen").json()["seen"]]
