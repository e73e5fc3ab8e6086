"""How an answer is written: its head with the first of its body, and never later than whatever else is done."""

import socket

import pytest

from services.web.slow_clients import AnswerSocket
from tests.web.test_sockets import exchange, serving


class Connection:
    """One end of a connection, that notes what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def send(self, data: memoryview) -> int:
        self.done.append(bytes(data).decode())
        return len(data)

    def sendfile(self, name: str) -> None:
        self.done.append(f"<{name}>")


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def answer(connection: Connection) -> AnswerSocket:
    return AnswerSocket(connection)  # type: ignore[arg-type]


def test_head_and_body_are_one_piece(answer: AnswerSocket, connection: Connection) -> None:
    for piece in (b"head ", b"body ", b"more"):
        answer.sendall(piece)
    answer.flush()
    assert connection.done == ["head body ", "more"]


def test_a_head_alone_is_sent_in_the_end(answer: AnswerSocket, connection: Connection) -> None:
    answer.sendall(b"head")
    assert connection.done == []
    answer.flush()
    answer.flush()
    assert connection.done == ["head"]


def test_a_head_goes_before_a_file(answer: AnswerSocket, connection: Connection) -> None:
    answer.sendall(b"head")
    answer.sendfile("file")
    assert connection.done == ["head", "<file>"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("HEAD /v1/models", 200), ("OPTIONS /analyze", 204), ("GET /docs/swagger-ui.css", 200)],
)
def test_answers_without_a_body_and_of_files_come_whole(request_line: str, status: int) -> None:
    with serving() as port:
        raw = f"{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        head, _, body = exchange(port, raw.encode()).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    sizes = [int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
    if request_line.startswith("GET"):
        assert sizes == [len(body)] != [0]
    else:
        assert not body


def test_a_client_gets_head_and_body_at_once() -> None:
    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body.startswith(b"{")
