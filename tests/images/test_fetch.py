import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import pytest

from services.errors import TooLarge, UrlNotAllowed, UrlUnreachable
from services.images.connection import ProxyRefusal
from services.images.fetch import UrlFetcher, reason
from tests.images.servers import CERTIFICATE, PICTURE, THIS_MACHINE, drips, pictures, raw, says_nothing, sends

MAX_BYTES = 20_000


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with pictures() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def tls_port() -> Iterator[int]:
    with pictures(CERTIFICATE) as port:
        yield port


@pytest.fixture(scope="module")
def fetcher() -> UrlFetcher:
    return UrlFetcher(MAX_BYTES, THIS_MACHINE)


def failure(fetcher: UrlFetcher, url: str, timeout_s: float = 5) -> str:
    with pytest.raises(UrlUnreachable) as raised:
        fetcher.fetch(url, timeout_s)
    prefix, _, why = raised.value.message.partition(": ")
    assert prefix == "Failed to download image"
    return why


@pytest.mark.parametrize(
    "path",
    ["/picture", "/picture?a=b#part", "/redirect?3/picture", "/redirect_to?/picture", "/redirect_to?picture"],
)
def test_pictures_are_downloaded(fetcher: UrlFetcher, site: str, path: str) -> None:
    assert fetcher.fetch(site + path, timeout_s=5) == PICTURE


def test_chunked_answers_are_downloaded(fetcher: UrlFetcher, site: str) -> None:
    assert fetcher.fetch(f"{site}/chunked?{MAX_BYTES}", timeout_s=5) == PICTURE[:1000] * 20


def test_an_answer_without_length_ends_with_the_connection(fetcher: UrlFetcher) -> None:
    with raw(sends(b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE)) as port:
        assert fetcher.fetch(f"http://127.0.0.1:{port}/", timeout_s=5) == PICTURE


@pytest.mark.parametrize(
    ("sent", "request_line"),
    [
        ("/echo?a=1&b=%20c", "GET /echo?a=1&b=%20c HTTP/1.1"),
        ("/echo?ä b", "GET /echo?%C3%A4%20b HTTP/1.1"),
        ("/echo?a=[1]|{2}#top", "GET /echo?a=%5B1%5D%7C%7B2%7D HTTP/1.1"),
        ("/cookie", "GET /echo HTTP/1.1"),
    ],
)
def test_requests_are_clean(
    fetcher: UrlFetcher, site: str, sent: str, request_line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    first, *headers = fetcher.fetch(site + sent, timeout_s=5).decode().strip().splitlines()
    assert first == request_line
    sent_headers = dict(line.split(": ", 1) for line in headers)
    assert sent_headers["Host"] == site.removeprefix("http://")
    assert sent_headers["Accept-Encoding"] == "identity"
    assert set(sent_headers) == {"Host", "Accept-Encoding", "Accept", "User-Agent", "Connection"}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/nothing", "the server answered 404"),
        ("/status/204", "the server answered 204"),  # B11
        ("/status/206", "the server answered 206"),
        ("/status/304", "the server answered 304"),
        ("/status/103", "the server answered 103"),
        ("/status/302", "the server answered 302"),  # without saying where to
        ("/status/500", "the server answered 500"),
        ("/encoded?gzip", "the server compresses its answers"),  # B05, whatever would come out of it; B06
        ("/encoded?br", "the server compresses its answers"),
        ("/encoded?zstd", "the server compresses its answers"),
        ("/encoded?gzip,gzip", "the server compresses its answers"),
        ("/encoded?identity,gzip", "the server compresses its answers"),
        ("/redirect?4/picture", "more than 3 redirects"),
    ],
)
def test_answers_without_a_picture_are_explained(
    fetcher: UrlFetcher, site: str, path: str, why: str
) -> None:
    assert failure(fetcher, site + path) == why


def test_a_redirect_loop_ends(fetcher: UrlFetcher) -> None:
    with raw(sends(b"HTTP/1.1 301 Moved\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")) as port:
        assert failure(fetcher, f"http://127.0.0.1:{port}/") == "more than 3 redirects"


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,a", "gopher://a/", "//user:pw@127.0.0.1/", "http://[broken",
     "//127.0.0.1:99999/", "//2130706433/", "//10.0.0.1/", "//%5C127.0.0.1/"],
)  # fmt: skip
def test_redirects_are_judged_like_urls(fetcher: UrlFetcher, site: str, target: str) -> None:
    with pytest.raises(UrlNotAllowed):
        fetcher.fetch(f"{site}/redirect_to?{target}", timeout_s=5)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "the server closed the connection too early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "the server closed the connection too early"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
            "the server closed the connection too early",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "the server closed the connection too early",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the server's answer is not valid HTTP"),
        (PICTURE, "the server's answer is not valid HTTP"),  # B11: HTTP/0.9
        (b"HTTP/1.1 abc OK\r\n\r\n", "the server's answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", "the server's answer is not valid HTTP"),  # B09
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000, "the server's answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 99, "the server's answer is not valid HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, "the server's answer is not valid HTTP"),
    ],
)
def test_broken_servers_are_explained(fetcher: UrlFetcher, answer: bytes, why: str) -> None:
    with raw(sends(answer)) as port:
        assert failure(fetcher, f"http://127.0.0.1:{port}/") == why


@pytest.mark.parametrize("path", ["/encoded?identity", "/encoded?", "/encoded?Identity"])
def test_what_is_not_compressed_may_say_so(fetcher: UrlFetcher, site: str, path: str) -> None:
    assert fetcher.fetch(site + path, timeout_s=5) == PICTURE


def test_no_more_is_read_than_was_announced(fetcher: UrlFetcher) -> None:
    """B04: the picture is broken then, as the decoder will say; a length that is too large is among the above."""
    with raw(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + PICTURE)) as port:
        assert fetcher.fetch(f"http://127.0.0.1:{port}/", timeout_s=5) == PICTURE[:100]


ENDLESS = b"HTTP/1.0 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "talk",
    [
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: 20001\r\n\r\n"),  # B01: refused before any of it arrives
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        drips(ENDLESS, b"x" * 4096, pause_s=0),  # B03; the next ones B02
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4098, pause_s=0),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", b"x" * 4096, pause_s=0),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 4096, pause_s=0),
    ],
    ids=["announced", "announced_beyond_64_bits", "endless", "chunks", "one_chunk", "chunk_of_minus_one"],
)
def test_large_answers_are_refused(fetcher: UrlFetcher, talk: Callable[[socket.socket], None]) -> None:
    with raw(talk) as port, pytest.raises(TooLarge, match="larger than 20,000 bytes"):
        fetcher.fetch(f"http://127.0.0.1:{port}/", timeout_s=5)


@pytest.mark.parametrize(
    "talk",
    [
        says_nothing,  # B08
        drips(ENDLESS, b"x", pause_s=0.1),  # B07
        drips(ENDLESS, b"x", pause_s=1),
        drips(b"", b"H", pause_s=0.1),
        drips(b"HTTP/1.1 200 OK\r\nA: ", b"b", pause_s=0.1),
        drips(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", pause_s=0.1),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.1),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", pause_s=0.1),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x", pause_s=0.1),
    ],
    ids=["nothing", "body", "slower", "status", "header", "headers", "continues", "chunks", "chunk_size"],
)
def test_slow_servers_are_left_at_the_deadline(
    fetcher: UrlFetcher, talk: Callable[[socket.socket], None]
) -> None:
    with raw(talk) as port:
        assert failure(fetcher, f"http://127.0.0.1:{port}/", timeout_s=0.3) == "timed out after 0.3 s"


def test_redirects_share_one_deadline(fetcher: UrlFetcher) -> None:
    def redirects_slowly(connection: socket.socket) -> None:
        time.sleep(0.25)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    with raw(redirects_slowly) as port:
        assert failure(fetcher, f"http://127.0.0.1:{port}/", timeout_s=0.6) == "timed out after 0.6 s"


def test_a_server_that_never_finishes_the_tls_handshake_is_left(fetcher: UrlFetcher) -> None:
    with raw(says_nothing) as port:
        impatient = UrlFetcher(MAX_BYTES, THIS_MACHINE, connect_timeout_s=0.3)
        assert failure(impatient, f"https://127.0.0.1:{port}/") == "no connection within 0.3 s"
        assert failure(fetcher, f"https://127.0.0.1:{port}/", timeout_s=0.4) == "timed out after 0.4 s"


def test_no_time_is_a_timeout(fetcher: UrlFetcher, site: str) -> None:
    assert failure(fetcher, f"{site}/picture", timeout_s=0) == "timed out after 0 s"


def test_a_refused_port(fetcher: UrlFetcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure(fetcher, f"http://127.0.0.1:{port}/") == "connection refused"


def test_certificates_are_checked_by_name(tls_port: int) -> None:
    trusting = UrlFetcher(MAX_BYTES, THIS_MACHINE, tls=ssl.create_default_context(cafile=str(CERTIFICATE)))
    assert trusting.fetch(f"https://localhost:{tls_port}/picture", timeout_s=5) == PICTURE
    assert trusting.fetch(f"https://LOCALHOST:{tls_port}/redirect?2/picture", timeout_s=5) == PICTURE
    mismatch = "IP address mismatch, certificate is not valid for '127.0.0.1'"
    why = failure(trusting, f"https://127.0.0.1:{tls_port}/picture")
    assert why == f"the server's certificate is not valid ({mismatch})"


def test_unknown_certificates_and_servers_without_tls(fetcher: UrlFetcher, tls_port: int, site: str) -> None:
    assert failure(fetcher, f"https://localhost:{tls_port}/") == (
        "the server's certificate is not valid (self-signed certificate)"
    )
    assert failure(fetcher, site.replace("http:", "https:")) == "no secure connection with the server"


@pytest.mark.parametrize(
    ("exc", "why"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no such host"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "the server closed the connection too early"),
        (http.client.RemoteDisconnected("x"), "the server closed the connection too early"),
        (OSError(101, "Network is unreachable"), os.strerror(101).lower()),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "no secure connection with the server"),
        (ProxyRefusal(), "the proxy refused the connection"),
        (OSError("a reason without a number"), "no connection"),
    ],
)
def test_reasons_are_words(exc: OSError | http.client.HTTPException, why: str) -> None:
    assert reason(exc) == why
