"""Clients that drip their requests, byte by byte, or say nothing at all: nobody else notices."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.clients import colour_of, request_of, upload
from tests.faults.faulty import STALL_S, faulty_service, worker_of
from tests.service.running import Service

SLOW = 50
DRIP_S = 0.2  # between two bytes of each
CAPACITY = 16  # the fewer places, the fewer threads
SILENT = 300  # more than the threads


@contextmanager
def dripping(port: int, where: str) -> Iterator[list[socket.socket]]:
    """SLOW connections that go on sending their request, a byte at a time."""
    head, body = request_of(colour_of(1))
    begun, rest = (head[:20], b"a" * 1_000) if where == "head" else (head + body[:5], body[5:-1])
    done = threading.Event()

    def drip() -> None:
        for byte in rest:
            if done.wait(DRIP_S):
                return
            for connection in connections:
                with contextlib.suppress(OSError):  # it was given up: the test sees that too
                    connection.send(bytes([byte]))

    with connected(port, SLOW) as connections:
        for connection in connections:
            connection.sendall(begun)
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield connections
        finally:
            done.set()
            thread.join()


@contextmanager
def connected(port: int, n_connections: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for _ in range(n_connections)
        ]


def is_held(connection: socket.socket) -> bool:
    """Whether the service still waits for the rest of the request: it has neither answered nor hung up."""
    return not select.select([connection], [], [], 0)[0]


@pytest.fixture(scope="module")
def small() -> Iterator[Service]:
    # patient, so that nobody is answered only because the slow ones were given up
    settings = {"QUEUE_CAPACITY": str(CAPACITY), STALL_S: "600"}
    with faulty_service(0.0, "", **settings) as running:
        yield running


@pytest.mark.parametrize("where", ["head", "body"])
def test_others_are_answered_while_fifty_drip(small: Service, where: str) -> None:
    with dripping(small.port, where) as slow:
        for number in range(10):
            assert upload(small.port, colour_of(number)).is_own_caption
            assert small.get("/health").status_code == 200
            assert small.get("/ready").status_code == 200
        assert all(is_held(connection) for connection in slow)


def test_silent_connections_hold_no_threads(small: Service) -> None:
    worker = worker_of(small)
    with connected(small.port, SILENT) as silent:
        for number in range(3):
            assert upload(small.port, colour_of(number)).is_own_caption
        for connection in silent:
            while connection.recv(1):  # until the service hangs up
                pass
    assert worker_of(small) == worker


@pytest.mark.slow
def test_more_connections_than_open_files_at_the_start_end_nothing() -> None:
    few = f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({SILENT}, {2 * SILENT}))"
    with faulty_service(before=few) as running:
        worker = worker_of(running)
        with connected(running.port, 2 * SILENT):
            # who is over the number waits outside, until the silent ones are given up
            assert upload(running.port, colour_of(1)).is_own_caption
        assert worker_of(running) == worker
