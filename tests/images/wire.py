"""The network, as a test arranges it: every TCP connection that this process begins is counted at the socket."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Wire:
    """connects: (address, port) of each connection begun, in order, whether it came about or not.

    carries: public address -> port of a server on this machine that plays its part, whatever port was meant.
    """

    connects: list[tuple[str, int]] = field(default_factory=list)
    carries: dict[str, int] = field(default_factory=dict)


@contextmanager
def counted() -> Iterator[Wire]:
    """Nothing leaves this machine: what is not carried to it meets a network that is unreachable."""
    wire = Wire()
    connect = socket.socket.connect

    def counting(sock: socket.socket, address: Any) -> None:
        if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
            connect(sock, address)
            return
        host, port = address[:2]
        wire.connects.append((host, port))
        if host in wire.carries:
            here = "127.0.0.1" if sock.family == socket.AF_INET else "::ffff:127.0.0.1"
            connect(sock, (here, wire.carries[host]))
        elif host.startswith("127.") or host == "::1":
            connect(sock, address)
        else:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", counting)
        yield wire
