"""A request may come in slowly, and its answer go out slowly, but not for ever: each that does holds a thread.

gunicorn's threaded worker reads and writes a blocking socket without a time-out; as many clients as there are
threads, each stopping in the middle, would silence the service.
"""

import select
import socket
import struct
import time
from typing import Any

from gunicorn.http.errors import ParseException

STALL_S = 15.0  # for the head of a request, and on top of what its body is given
SLOWEST_BYTES_PER_S = 16 * 1024


class ReadTimeout(ParseException):  # type: ignore[misc]
    """The request did not come in, in the time that it was given."""

    def __str__(self) -> str:
        return f"The request came in too slowly: at less than {SLOWEST_BYTES_PER_S} bytes a second"


def limit_sending(connection: socket.socket) -> None:
    """A client that does not read its answer holds its thread for STALL_S; then sending raises BlockingIOError."""
    seconds, rest = divmod(STALL_S, 1)
    limit = struct.pack("ll", int(seconds), int(1e6 * rest))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


class PatientSocket:
    """A connection as gunicorn's parser reads it, with a time-out over each whole request."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.begin_request()

    def begin_request(self) -> None:
        self._stop = time.monotonic() + STALL_S

    def recv(self, n_bytes: int) -> bytes:
        """Raises ReadTimeout."""
        left_s = max(0.0, self._stop - time.monotonic())
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        if not poller.poll(left_s * 1000):
            raise ReadTimeout
        data = self._connection.recv(n_bytes)
        self._stop += len(data) / SLOWEST_BYTES_PER_S
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
