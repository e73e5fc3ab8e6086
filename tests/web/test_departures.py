"""Over real connections: a client that leaves costs the model nothing; a model that hangs costs a restart."""

import http.client
import socket
import struct
from contextlib import ExitStack

from tests.fakes import WAIT_S, picture, wait_for
from tests.web.held import CALL_TIMEOUT_S
from tests.web.test_sockets import ask, serving

HELD = "tests.web.held:app()"
PICTURE = picture()
REQUEST = (
    b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(PICTURE), PICTURE)
)


def work(port: int) -> dict[str, int]:
    return ask(port, "GET", "/test/work")[2]


def depth(port: int) -> int:
    n_waiting: int = ask(port, "GET", "/health")[2]["queue"]["depth"]
    return n_waiting


def send(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    connection.sendall(REQUEST)
    return connection


def status(connection: socket.socket) -> int:
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_the_picture_of_a_client_that_left_never_reaches_the_model() -> None:
    with serving(HELD, threads="20") as port, ExitStack() as stack:
        stay = [stack.enter_context(send(port))]
        wait_for(lambda: work(port)["pictures"] == 1)  # the model has it, and is held
        leave = [send(port) for _ in range(6)]
        stay += [stack.enter_context(send(port)) for _ in range(3)]
        wait_for(lambda: depth(port) == 9)
        for connection in leave[:3]:
            connection.close()
        for connection in leave[3:]:
            reset(connection)
        ask(port, "POST", "/test/begin")
        assert [status(connection) for connection in stay] == [200] * 4
        assert work(port)["pictures"] == 4


def test_a_client_that_left_gives_its_place_up() -> None:
    with serving(HELD, threads="20") as port, send(port) as first:
        wait_for(lambda: work(port)["pictures"] == 1)
        leaves = send(port)
        with send(port) as stays:
            wait_for(lambda: depth(port) == 2)
            leaves.close()
            wait_for(lambda: depth(port) == 1)
            ask(port, "POST", "/test/begin")
            assert (status(first), status(stays)) == (200, 200)


def test_a_model_that_hangs_is_replaced_with_its_process() -> None:
    with serving(HELD, threads="20", **{CALL_TIMEOUT_S: "1"}) as port:
        before = work(port)["process"]
        code, headers, body = ask(port, "POST", "/analyze", PICTURE, **{"Content-Type": "image/png"})
        assert (code, body["error"]["code"]) == (503, "model_not_ready")
        assert headers["Retry-After"]

        def restarted() -> bool:
            try:
                return work(port)["process"] != before
            except (OSError, http.client.HTTPException):
                return False

        wait_for(restarted, timeout_s=60)
        ask(port, "POST", "/test/begin")
        code, _, _ = ask(port, "POST", "/analyze", PICTURE, **{"Content-Type": "image/png"})
        assert code == 200
