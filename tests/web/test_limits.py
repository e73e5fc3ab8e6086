"""How much a request may bring, through the real server as it is configured: one more is refused, in JSON."""

import base64
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from services.web.security_headers import SECURITY_HEADERS
from tests.web.answers import TEAL_PNG, multipart
from tests.web.served import MAX_IMAGE_BYTES
from tests.web.test_sockets import serving

HEAD = b"POST /analyze HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
LARGEST_PICTURE = TEAL_PNG + bytes(MAX_IMAGE_BYTES - len(TEAL_PNG))  # what follows a PNG's end is ignored
MAX_BODY_BYTES = MAX_IMAGE_BYTES * 3 // 2 + 64 * 1024


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(config="config/gunicorn.conf.py") as port:
        yield port


def ask(port: int, sent: bytes) -> tuple[int, str]:
    """(status, code of the error, or the caption) of the JSON answered to those very bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Type"] == "application/json"
    assert int(headers["Content-Length"]) == len(body)
    assert len(headers["X-Request-ID"]) == 32
    assert headers.items() >= SECURITY_HEADERS.items()
    assert not any(character.isdigit() for character in headers.get("Server", ""))  # no version
    message = json.loads(body)
    code = message["error"]["code"] if "error" in message else message.get("predictions", [{}])[0].get("text", "")
    return int(first.split(" ")[1]), code


def whole(content: bytes, kind: str) -> bytes:
    return HEAD + f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def chunked(content: bytes, kind: str) -> bytes:
    sizes = [10_000] * (len(content) // 10_000) + [len(content) % 10_000]
    body, start = b"", 0
    for size in sizes:
        body += b"%x\r\n%b\r\n" % (size, content[start : start + size]) if size else b""
        start += size
    return HEAD + f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + body + b"0\r\n\r\n"


Framing = Callable[[bytes, str], bytes]
framings = pytest.mark.parametrize("framed", [whole, chunked])


@framings
@pytest.mark.parametrize("kind", ["raw", "form", "json"])
def test_one_byte_more_of_a_picture_is_noticed_not_cut(port: int, kind: str, framed: Framing) -> None:
    def body(picture: bytes) -> tuple[bytes, str]:
        if kind == "raw":
            return picture, "image/png"
        if kind == "form":
            form = multipart(("file", "a.png", picture))
            return form["data"], form["content_type"]
        return b'{"image": "' + base64.b64encode(picture) + b'"}', "application/json"

    assert ask(port, framed(*body(LARGEST_PICTURE))) == (200, "only #008080")
    assert ask(port, framed(*body(LARGEST_PICTURE + b"\0"))) == (413, "too_large")


@framings
def test_a_body_over_its_limit_is_noticed_not_cut(port: int, framed: Framing) -> None:
    """Though what fits would be a whole message."""
    message = b'{"file": "/nowhere"}'
    fits, kind = message.ljust(MAX_BODY_BYTES - 1), "application/json"
    assert ask(port, framed(fits, kind)) == (403, "file_not_allowed")
    assert ask(port, framed(fits + b"  ", kind)) == (413, "too_large")
    form = multipart(("file", "a.png", TEAL_PNG))
    fits = form["data"].ljust(MAX_BODY_BYTES - 1)  # what follows a form's end is ignored
    assert ask(port, framed(fits, form["content_type"])) == (200, "only #008080")
    assert ask(port, framed(fits + b"  ", form["content_type"])) == (413, "too_large")


@framings
def test_the_number_of_fields(port: int, framed: Framing) -> None:
    def fields(n: int) -> tuple[bytes, str]:
        form = multipart(("file", "a.png", TEAL_PNG), *[("x", None, b"1")] * (n - 1))
        return form["data"], form["content_type"]

    assert ask(port, framed(*fields(100))) == (200, "only #008080")
    assert ask(port, framed(*fields(101))) == (413, "too_large")
    urlencoded = "application/x-www-form-urlencoded"
    assert ask(port, framed(b"file=/nowhere" + b"&x=1" * 99, urlencoded)) == (403, "file_not_allowed")
    assert ask(port, framed(b"file=/nowhere" + b"&x=1" * 100, urlencoded)) == (413, "too_large")


def test_the_length_of_a_url(port: int) -> None:
    def url(n: int) -> bytes:
        line = b"GET /v2/analyze?" + b"a" * (n - len("GET /v2/analyze? HTTP/1.1")) + b" HTTP/1.1"
        return line + b"\r\nHost: x\r\nConnection: close\r\n\r\n"

    assert ask(port, url(8190)) == (400, "no_input")
    assert ask(port, url(8191)) == (414, "uri_too_long")
    assert ask(port, url(100_000)) == (414, "uri_too_long")


def test_the_length_and_the_number_of_headers(port: int) -> None:
    def headers(*lines: bytes) -> bytes:
        return b"\r\n".join([b"GET /v2/analyze HTTP/1.1", b"Host: x", b"Connection: close", *lines, b"", b""])

    assert ask(port, headers(b"X: ".ljust(8188, b"a"))) == (400, "no_input")
    assert ask(port, headers(b"X: ".ljust(8189, b"a"))) == (431, "headers_too_large")
    assert ask(port, headers(*[b"X: a"] * 98)) == (400, "no_input")
    assert ask(port, headers(*[b"X: a"] * 99)) == (431, "headers_too_large")
    assert ask(port, headers(*[b"X: ".ljust(8000, b"a")] * 200)) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: -3\r\n\r\n",
        HEAD + b"Content-Length: +3\r\n\r\nabc",
        HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
        HEAD + b"Content-Length: 0x3\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: gzip, identity\r\n\r\n",
        HEAD + b"Transfer-Encoding: zip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Host: y\r\n\r\n",
        HEAD + b"Expect: everything\r\n\r\n",
        HEAD + b" folded: a\r\n\r\n",
        HEAD + b"X : a\r\n\r\n",
        HEAD + b"X: a\0b\r\n\r\n",
        HEAD + b"no colon\r\n\r\n",
        b"GET /health HTTP/3.0\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        b"GET /h\xc3\xa4lth HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_in_json(port: int, sent: bytes) -> None:
    assert ask(port, sent) == (400, "bad_request")


def test_headers_of_proxies_that_nobody_trusts_change_nothing(port: int) -> None:
    """gunicorn by itself would believe this machine, and fail for a path without that prefix."""
    names = (b"SCRIPT_NAME", b"PATH_INFO", b"X-Forwarded-Prefix", b"X-Forwarded-For", b"X-Forwarded-Host")
    lines = b"".join(name + b": /elsewhere\r\n" for name in names) + b"X-Forwarded-Proto: https\r\n"
    contradiction = b"X-Forwarded-Ssl: off\r\n"
    sent = b"GET /v2/analyze HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + contradiction + b"\r\n"
    assert ask(port, sent) == (400, "no_input")
