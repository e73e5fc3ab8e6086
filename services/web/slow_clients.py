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
    """A call that sends ends after STALL_S: with what the client took, or BlockingIOError for nothing."""
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
        # what came fast is no credit for a long silence
        latest = time.monotonic() + STALL_S
        self._stop = min(self._stop + len(data) / SLOWEST_BYTES_PER_S, latest)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class AnswerSocket:
    """A connection as gunicorn writes an answer to it, with a time-out over each piece. See `limit_sending`.

    The first piece, which is the answer's head, waits for the second one, or for `flush`: a call of the system and
    a client that wakes up cost more than all that is written.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._has_begun = False
        self._head = b""

    def sendall(self, data: bytes) -> None:
        """Raises BlockingIOError for a client that takes nothing, TimeoutError for one that is too slow."""
        if not self._has_begun:
            self._has_begun, self._head = True, data
            return
        head, self._head = self._head, b""
        left = memoryview(head + data)
        stop = time.monotonic() + STALL_S
        while left:
            n_bytes = self._connection.send(left)
            left = left[n_bytes:]
            stop += n_bytes / SLOWEST_BYTES_PER_S
            if left and time.monotonic() > stop:
                raise TimeoutError

    def flush(self) -> None:
        """Raises what `sendall` does."""
        if self._head:
            self.sendall(b"")

    def __getattr__(self, name: str) -> Any:
        self.flush()  # before a file is sent, or the connection closed
        return getattr(self._connection, name)
