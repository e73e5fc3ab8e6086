"""Whom the worker lets wait, and whom not: over real connections, with as few threads as make the difference."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from services.web.gunicorn_worker import PROBE_THREADS
from services.web.turns import AT_ONCE, PROBES
from tests.fakes import picture
from tests.web.served import BYTES_PER_S, STALL_S
from tests.web.test_sockets import ask, exchange, serving

THREADS = 4  # as `serving` has
MANY = 3 * THREADS
LINGERING = 30  # each would cost two seconds: far more than `ask` waits
UNFINISHED = {
    "upload": b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc",
    "post to nowhere": b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    "probe in its head": b"GET /health HTTP/1.1\r\nHost: x\r\n",
    "probe in its body": b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    "probe in its chunks": b"GET /health HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n",
}


@contextmanager
def connected(port: int, n_connections: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for _ in range(n_connections)
        ]


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
def test_probes_are_answered_while_every_thread_is_held(sent: bytes) -> None:
    with serving(**{STALL_S: "600"}) as port, connected(port, MANY) as slow:
        for connection in slow:
            connection.sendall(sent)
        for path in PROBES:
            assert ask(port, "GET", path)[0] == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_probe_may_have_no_headers_but_the_least(version: str) -> None:
    host = "" if version == "1.0" else "Host: x\r\n"
    with serving(**{STALL_S: "600"}) as port, connected(port, MANY + 1) as connections:
        for connection in connections[1:]:
            connection.sendall(UNFINISHED["upload"])
        connections[0].sendall(f"GET /health HTTP/{version}\r\n{host}\r\n".encode())
        assert connections[0].recv(65536).startswith(f"HTTP/{version} 200 ".encode())


def test_clients_that_do_not_close_after_their_answer_hold_nobody_up() -> None:
    with serving() as port, connected(port, LINGERING) as lingering:
        for connection in lingering:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for connection in lingering:
            while connection.recv(65536):
                pass
        assert ask(port, "GET", "/v1/models")[0] == 200


def test_no_version_is_claimed_that_is_not_spoken() -> None:
    with serving() as port:
        answer = exchange(port, b"GET /health HTTP/1.3\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_clients_that_do_not_read_their_answers_are_given_up() -> None:
    """As many as there are threads, each asking for more than the buffers between them hold."""
    asks = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"  # 1.7 MB
    with serving(**{STALL_S: "1"}) as port, ExitStack() as stack:
        for _ in range(MANY):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port))
            connection.sendall(20 * asks)
        for _ in range(20):  # each of these stands behind the next answer of each of those
            assert ask(port, "GET", "/v1/models")[0] == 200


def unread(stack: ExitStack, port: int) -> socket.socket:
    """A connection with next to no room for answers."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", port))
    return connection


def test_clients_that_read_their_answers_drop_by_drop_are_given_up() -> None:
    """Each reads several times in a second, and would need more than a minute for the whole."""
    done = threading.Event()

    def sip(connections: list[socket.socket]) -> None:
        while not done.wait(0.2):
            for connection in connections:
                with contextlib.suppress(OSError):  # it was given up
                    connection.recv(4096)

    hurried = {STALL_S: "2", BYTES_PER_S: "1000000"}
    with serving(send_buffer="4096", **hurried) as port, ExitStack() as stack:
        slow = [unread(stack, port) for _ in range(THREADS)]
        for connection in slow:
            connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n")
        sipping = threading.Thread(target=sip, args=[slow])
        sipping.start()
        try:
            assert ask(port, "GET", "/v1/models")[0] == 200
        finally:
            done.set()
            sipping.join()


def test_probes_that_nobody_reads_the_answers_of_stop_no_others() -> None:
    with serving(send_buffer="4096", **{STALL_S: "600"}) as port, ExitStack() as stack:
        for _ in range(PROBE_THREADS):
            connection = unread(stack, port)
            for _ in range(60):  # one by one, each whole, and far more than there is room for
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.02)
        for path in PROBES:
            assert ask(port, "GET", path)[0] == 200


def test_requests_that_came_at_once_are_all_answered() -> None:
    with serving() as port, connected(port, 1) as [connection]:
        ahead = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(ahead + b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answers = b""
        while piece := connection.recv(65536):
            answers += piece
    assert answers.count(b"HTTP/1.1 200 OK") == 3


def test_turns_are_given_back() -> None:
    """By each kind of request, more often than there are turns: where one is kept, others would wait for ever."""
    with serving() as port:
        for _ in range(2 * AT_ONCE):
            assert ask(port, "GET", "/v1/models")[0] == 200
            assert ask(port, "GET", "/nothing")[0] == 404
            assert ask(port, "POST", "/nothing", b"abc")[0] == 404
            assert ask(port, "GET", "/analyze")[0] == 400
            assert ask(port, "POST", "/analyze", picture(), Content_Type="image/png")[0] == 200
            assert ask(port, "POST", "/analyze", b"broken", Content_Type="image/png")[0] == 415
