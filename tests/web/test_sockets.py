"""What only a real server and a real connection can show: chunked bodies, early answers, closing."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import picture, wait_for
from tests.web.answers import analysis, failure, multipart
from tests.web.served import BYTES_PER_S, DRAINING, MAX_IMAGE_BYTES, STALL_S

CHECKOUT = Path(__file__).parents[2]
TOO_LARGE = failure(
    "too_large",
    "The request is too large: an image may have 100,000 bytes, a form 100 parts and 500,000 bytes of text",
)
FAR_TOO_MUCH = bytes(8_000_000)


@contextmanager
def serving(
    app: str = "tests.web.served:app()",
    threads: str = "4",
    config: str = "",
    send_buffer: str = "",
    **environ: str,
) -> Iterator[int]:
    """gunicorn on a port of its own; gives that port. config: a file for it, else its own defaults,
    but that it is patient with connections on which nothing comes.

    send_buffer: bytes that a connection holds back for a client that does not read; "": as many as Linux likes.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_buffer:  # connections have it from their listener
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, int(send_buffer))
        port: int = listener.getsockname()[1]
        worker = ["--worker-class", "services.web.gunicorn_worker.JsonThreadWorker", "--threads", threads]
        quiet = ["--no-control-socket", "--log-level", "warning"]
        configured = ["--config", config] if config else ["--keep-alive", "60"]
        bind = ["--bind", f"fd://{listener.fileno()}"]
        gunicorn = [sys.executable, "-m", "gunicorn", *configured, *bind, *worker, *quiet]
        server = subprocess.Popen(
            [*gunicorn, app],
            cwd=CHECKOUT,
            env={**os.environ, **environ},
            pass_fds=[listener.fileno()],
        )
    try:
        wait_for(lambda: answers(port), timeout_s=90)
        yield port
    finally:
        server.terminate()
        server.wait(90)


def answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/v2/health/live")[0] == 200
    except OSError:
        return False


def ask(
    port: int, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named, encode_chunked=hasattr(body, "__next__"))
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "application/json"
        content: dict[str, Any] = json.loads(response.read())
        if "metadata" in content:
            content["metadata"].pop("processing_time")
        return response.status, response.headers, content
    finally:
        connection.close()


def exchange(port: int, sent: bytes) -> bytes:
    """Whatever the server answers to bytes that are not quite HTTP, until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


def chunks(content: bytes) -> Iterator[bytes]:
    return (content[start : start + 10_000] for start in range(0, len(content), 10_000))


def test_chunked_uploads(port: int) -> None:
    red = picture((255, 0, 0))
    form = multipart(("file", "a.png", red))
    for body, content_type in [(red, "image/png"), (form["data"], form["content_type"])]:
        status, _, answer = ask(
            port, "POST", "/analyze", chunks(body), Content_Type=content_type, Transfer_Encoding="chunked"
        )
        assert (status, answer) == (200, analysis("only #ff0000"))


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("kind", ["image/png", "application/json", "form", "multipart"])
def test_a_client_that_sends_far_too_much_reads_why(port: int, kind: str, chunked: bool) -> None:
    form = multipart(("file", "a.png", FAR_TOO_MUCH))
    body, content_type = {
        "image/png": (FAR_TOO_MUCH, "image/png"),
        "application/json": (b'{"image": "' + FAR_TOO_MUCH, "application/json"),
        "form": (b"url=" + FAR_TOO_MUCH, "application/x-www-form-urlencoded"),
        "multipart": (form["data"], form["content_type"]),
    }[kind]
    headers = {"Content_Type": content_type, **({"Transfer_Encoding": "chunked"} if chunked else {})}
    status, _, answer = ask(port, "POST", "/analyze", chunks(body) if chunked else body, **headers)
    assert (status, answer) == (413, TOO_LARGE)


@pytest.mark.parametrize(("path", "expected"), [("/nothing", 404), ("/health", 405), ("/v2/analyze", 405)])
def test_an_early_answer_arrives_though_the_body_was_not_wanted(port: int, path: str, expected: int) -> None:
    status, _, _ = ask(port, "POST", path, FAR_TOO_MUCH, Content_Type="image/png")
    assert status == expected


def test_base64_of_the_largest_image_fits(port: int) -> None:
    largest = b"A" * (MAX_IMAGE_BYTES // 3 * 4)
    lines = b"\\r\\n".join(largest[start : start + 76] for start in range(0, len(largest), 76))
    status, _, answer = ask(
        port, "POST", "/analyze", b'{"image": "' + lines + b'"}', Content_Type="application/json"
    )
    assert (status, answer) == (415, failure("unsupported_format", "File type not allowed"))  # read, not refused


@pytest.mark.parametrize(
    "rest",
    [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nbad trailer\r\n\r\n"],
    ids=["size", "end", "trailer"],
)
def test_malformed_chunks(port: int, rest: bytes) -> None:
    head = b"POST /analyze HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\n"
    answer = exchange(port, head + rest)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == {
        "code": "bad_request",
        "message": "The body of the request is not valid HTTP",
    }


def test_slashes_are_never_redirected(port: int) -> None:
    assert ask(port, "GET", "/analyze/")[0] == 400
    assert ask(port, "GET", "/v3//analyze")[0] == 404


def test_connections_are_kept_until_the_service_stops(port: int) -> None:
    assert ask(port, "GET", "/health")[1]["Connection"] == "keep-alive"
    with serving(**{DRAINING: "1"}) as stopping:
        assert ask(stopping, "GET", "/health")[1]["Connection"] == "close"
        status, headers, answer = ask(stopping, "POST", "/analyze", FAR_TOO_MUCH)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert answer == failure("overloaded", "The service is stopping")


@pytest.fixture
def impatient() -> Iterator[int]:
    """A service that gives a request three seconds to come in."""
    with serving(**{STALL_S: "3"}) as port:
        yield port


STALLED = {
    "in its head": b"POST /analyze HTTP/1.1\r\nHost: x\r\nConte",
    "in its body": b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc",
}


@pytest.mark.parametrize("sent", STALLED.values(), ids=STALLED)
def test_stalled_requests_are_given_up_and_block_nobody(impatient: int, sent: bytes) -> None:
    with ExitStack() as connections:
        stalled = [
            connections.enter_context(socket.create_connection(("127.0.0.1", impatient), timeout=30))
            for _ in range(12)  # three times the threads
        ]
        for connection in stalled:
            connection.sendall(sent)
        assert ask(impatient, "GET", "/v1/models")[0] == 200  # no probe: those have threads of their own
        answer = b""
        while piece := stalled[0].recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


def test_an_answer_does_not_wait_for_a_body_that_never_comes(impatient: int) -> None:
    answer = exchange(impatient, b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_a_kept_connection_has_its_time_anew_for_each_request(impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient), timeout=20) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        time.sleep(3.2)  # the first one's time is over
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHo")
        time.sleep(0.3)
        connection.sendall(b"st: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_what_came_fast_is_no_credit_for_a_long_silence() -> None:
    head = b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
    with serving(**{STALL_S: "1", BYTES_PER_S: "10"}) as port:
        answer = exchange(port, head + bytes(99_000))  # of 9,900 s
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_slow_upload_that_goes_on_is_waited_for(impatient: int) -> None:
    body = picture() + bytes(72_000)  # what follows a PNG's end is ignored
    head = b"POST /analyze HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", impatient), timeout=20) as connection:
        connection.sendall(head)
        for start in range(0, len(body), 6_000):  # about 20,000 a second, and longer than the three seconds
            connection.sendall(body[start : start + 6_000])
            time.sleep(0.3)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_ends_early_is_no_image(port: int) -> None:
    head = b"POST /analyze HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
    head += b"Content-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head + b"abc")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert b"The body ended early: 3 of 100 bytes came" in answer
