"""A request as all of this folder sees it: Flask's, with an id, the time of its arrival and how it went."""

import contextlib
import re
import socket
import time
import uuid
from typing import IO, Any, NamedTuple, cast

import flask
from werkzeug.formparser import FormDataParser

from services.errors import TooLarge
from services.web.turns import ARRIVED_AT

# What may stand in a log line and in a header of the answer just as the client sent it.
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# One is wanted, and of two or three a person reads what is wrong. config/gunicorn.conf.py leaves room for them.
MAX_FORM_FILES = 3

_DISCARD_BYTES = 64 * 1024
_DISCARD_S = 10.0


class Stage(NamedTuple):
    name: str  # one of the pipeline's STAGES
    began_at: float  # in time.monotonic()
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at


class ApiRequest(flask.Request):
    """`id`: the client's X-Request-ID, or a fresh one. `outcome`: "ok", or the code of the error answered.

    `stages`: what its pictures' time was spent on, in order.
    """

    def __init__(self, environ: dict[str, Any], populate_request: bool = True, shallow: bool = False) -> None:
        super().__init__(environ, populate_request, shallow)
        self.arrived_at: float = environ.get(ARRIVED_AT) or time.monotonic()  # before it had to wait for its turn
        sent = self.headers.get("X-Request-ID", "")
        self.id = sent if _SANE_ID.fullmatch(sent) else uuid.uuid4().hex
        self.outcome = "ok"
        self.stages: list[Stage] = []
        self._form_files: list[IO[bytes]] = []

    @property
    def seconds(self) -> float:
        """Since the request arrived: since its headers were there, and before its body is read."""
        return time.monotonic() - self.arrived_at

    def timed(self, stage: str, began_at: float, ended_at: float) -> None:
        self.stages.append(Stage(stage, began_at, ended_at))

    def make_form_data_parser(self) -> FormDataParser:
        parser = super().make_form_data_parser()
        parser.silent = False  # or a malformed form would read as an empty one
        return parser

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        """Where werkzeug puts a file of a form: into memory, or into a file of its own where it is large.

        Raises TooLarge.
        """
        if len(self._form_files) == MAX_FORM_FILES:
            for file in self._form_files:
                file.close()
            raise TooLarge(f"The form holds more than {MAX_FORM_FILES} files: send one picture")
        file = super()._get_file_stream(total_content_length, content_type, filename, content_length)
        self._form_files.append(file)
        return file

    def client_left(self) -> bool:
        """Whether the client has closed its connection; False where the server does not show it.

        A client that closed its own direction alone counts as gone too, as most proxies see it. Any thread may
        ask; nothing is taken from the connection.
        """
        connection = self.environ.get("gunicorn.socket")
        if connection is None:
            return False
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False  # nothing to read, and open
        except OSError:
            return True
        except ValueError:
            return False  # TLS, which cannot peek

    def discard_rest(self) -> None:
        """Drop what is left of the body; nothing to do when all of it was read.

        To close a connection with unread bytes resets it, and a client that is still sending would see that
        instead of the answer.
        """
        body = self.environ["wsgi.input"]
        if not self.environ.get("wsgi.input_terminated") or getattr(body, "failed", False):
            return  # where it ends is not known
        stop = time.monotonic() + _DISCARD_S
        with contextlib.suppress(Exception):  # the answer stands, whatever else is wrong with the request
            while time.monotonic() < stop and body.read(_DISCARD_BYTES):
                pass


def current_request() -> ApiRequest:
    return cast(ApiRequest, flask.request)
