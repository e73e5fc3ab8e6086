"""HTTP to addresses that were judged beforehand, with one deadline over everything.

The standard library's client is used because it lets the socket be ours. The connection goes to the very
addresses that were judged, so no later answer of a name server counts, while `Host`, SNI and the certificate
check keep using the name. And each single read gets only the time that is left, so a server that sends one byte
a second cannot hold a thread longer than any other.
"""

import http.client
import io
import math
import socket
import ssl
from collections.abc import Sequence
from typing import cast

from services.images.addresses import IPAddress
from services.images.deadline import Deadline

# The client's own limits (100 headers of 64 KiB) are for one answer; there may be any number of "100 Continue".
MAX_HEAD_BYTES = 64 * 1024


class ProxyRefusal(OSError):
    """The proxy does not connect us."""


class PinnedConnection(http.client.HTTPConnection):
    """A connection to one of `addresses`, in the name of `host`; encrypted when `tls` is given.

    proxy_port: the addresses are those of a proxy, which is to find `host` by itself.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        addresses: Sequence[IPAddress],
        tls: ssl.SSLContext | None,
        connect_timeout_s: float,
        deadline: Deadline,
        proxy_port: int | None = None,
    ) -> None:
        super().__init__(host, port)
        self.default_port = 443 if tls else 80  # the port that is left out of the Host header
        self._addresses = addresses
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._deadline = deadline
        self._proxy_port = proxy_port

    def connect(self) -> None:
        """Raises OSError: TimeoutError, ConnectionRefusedError, ssl.SSLError, ProxyRefusal, …"""
        connected_by = self._deadline.at_most(self._connect_timeout_s)
        sock = self._connect_to_any(connected_by)
        if self._tls:
            try:
                if self._proxy_port:
                    self._open_tunnel(_DeadlineSocket(sock, connected_by))
                sock.settimeout(connected_by.remaining_s())
                sock = self._tls.wrap_socket(sock, server_hostname=self.host)
            except BaseException:
                sock.close()
                raise
        self._bounded = _DeadlineSocket(sock, self._deadline)
        self.sock = cast(socket.socket, self._bounded)

    def getresponse(self) -> http.client.HTTPResponse:
        response = super().getresponse()
        self._bounded.head_bytes_left = math.inf  # the head is read; the body is counted by who reads it
        return response

    def _connect_to_any(self, connected_by: Deadline) -> socket.socket:
        error: OSError = ConnectionError("no address")
        for tried, address in enumerate(self._addresses):
            # Each address gets its share, so that one which swallows packets leaves time for the others.
            timeout_s = connected_by.remaining_s() / (len(self._addresses) - tried)
            try:
                return socket.create_connection((str(address), self._proxy_port or self.port), timeout_s)
            except OSError as exc:
                error = exc
        raise error

    def _open_tunnel(self, sock: "_DeadlineSocket") -> None:
        """Ask the proxy for a way to our host, through which TLS is then spoken with the host itself."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        sock.sendall(f"CONNECT {host}:{self.port} HTTP/1.1\r\nHost: {host}:{self.port}\r\n\r\n".encode("ascii"))
        with http.client.HTTPResponse(cast(socket.socket, sock), method="CONNECT") as response:
            response.begin()
            if response.status != 200:
                raise ProxyRefusal


class _DeadlineSocket:
    """What http.client needs of a socket: each call gets no more than the time that is left."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self.deadline = deadline
        self.head_bytes_left: float = MAX_HEAD_BYTES

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(self.deadline.remaining_s())
        self.sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self))

    def close(self) -> None:
        self.sock.close()


class _DeadlineReader(io.RawIOBase):
    def __init__(self, bounded: _DeadlineSocket) -> None:
        super().__init__()
        self._bounded = bounded
        # Read through a file of the socket's own: it keeps the socket open until both are closed.
        self._file = bounded.sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        if self._bounded.head_bytes_left <= 0:
            raise http.client.HTTPException("the head of the answer is too large")
        self._bounded.sock.settimeout(self._bounded.deadline.remaining_s())
        n_bytes = self._file.readinto(buffer)
        self._bounded.head_bytes_left -= n_bytes or 0
        return n_bytes

    def close(self) -> None:
        self._file.close()
        super().close()
