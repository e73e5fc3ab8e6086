"""HTTP to addresses that were judged beforehand, with one deadline over everything.

The standard library's client is used because it lets the socket be ours. The name is resolved once, by
`resolve`; the connection goes to what it returned, so the answer cannot change between judging and
connecting, while `Host`, SNI and the certificate check keep using the name. And each single read gets only
the time that is left, so a server that sends one byte a second cannot hold a thread longer than any other.
"""

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import cast


class Deadline:
    """A point in time, `timeout_s` from now."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._ends_at_s = time.monotonic() + timeout_s

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at_s

    def remaining_s(self) -> float:
        """Seconds left, more than 0. Raises TimeoutError when there are none."""
        remaining_s = self._ends_at_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        return remaining_s


def resolve(host: str, port: int, deadline: Deadline) -> list[str]:
    """All addresses of `host`, in the order in which they should be tried.

    Raises socket.gaierror, TimeoutError, and ValueError for what can be no host name.
    """
    answers: queue.SimpleQueue[list[str] | OSError | ValueError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as exc:
            answers.put(exc)
        else:
            answers.put(list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)))

    # The system's resolver takes no time-out: a look-up that hangs is left behind in a thread of its own,
    # until the resolver itself gives up.
    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.remaining_s())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


class PinnedConnection(http.client.HTTPConnection):
    """A connection to one of `addresses`, in the name of `host`; encrypted when `tls` is given."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        addresses: Sequence[str],
        tls: ssl.SSLContext | None,
        connect_timeout_s: float,
        deadline: Deadline,
    ) -> None:
        super().__init__(host, port)
        self.default_port = 443 if tls else 80  # the port that is left out of the Host header
        self._addresses = addresses
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._deadline = deadline

    def connect(self) -> None:
        """Raises OSError: TimeoutError, ConnectionRefusedError, ssl.SSLError, …"""
        connected_by = Deadline(min(self._connect_timeout_s, self._deadline.remaining_s()))
        sock = self._connect_to_any(connected_by)
        if self._tls:
            try:
                sock.settimeout(connected_by.remaining_s())
                sock = self._tls.wrap_socket(sock, server_hostname=self.host.rstrip("."))
            except BaseException:
                sock.close()
                raise
        self.sock = cast(socket.socket, _DeadlineSocket(sock, self._deadline))

    def _connect_to_any(self, connected_by: Deadline) -> socket.socket:
        error: OSError = ConnectionError("no address")
        for tried, address in enumerate(self._addresses):
            # Each address gets its share, so that one which swallows packets leaves time for the others.
            timeout_s = connected_by.remaining_s() / (len(self._addresses) - tried)
            try:
                return socket.create_connection((address, self.port), timeout_s)
            except OSError as exc:
                error = exc
        raise error


class _DeadlineSocket:
    """What http.client needs of a socket: each call gets no more than the time that is left."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._deadline.remaining_s())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline))

    def close(self) -> None:
        self._sock.close()


class _DeadlineReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        super().__init__()
        self._sock = sock
        self._deadline = deadline
        # Read through a file of the socket's own: it keeps the socket open until both are closed.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        self._sock.settimeout(self._deadline.remaining_s())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
