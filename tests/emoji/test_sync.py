"""The fetch of one file, from a real server."""

import email.utils
import gzip
import threading
import time
import tracemalloc

import pytest

from services.emoji.map_reader import MAX_BYTES
from services.emoji.sources import FetchedFile, FetchError
from services.emoji.sync import MapFetcher
from tests.emoji.map_server import MAP_PATH, MapServer, Reply, answer, map_server, published, raw
from tests.images.servers import CERTIFICATE

MAP = b'version: "1"\nnouns:\n  "dog": "\xf0\x9f\x90\xb6"\n'
HEAD = b"HTTP/1.1 200 OK\r\n"


def fetch(url: str, etag: str = "") -> FetchedFile | None:
    return MapFetcher(allow_http_loopback=True).fetch(url, etag)


def test_a_file_with_its_etag(server: MapServer) -> None:
    server.publish(published(MAP, '"one"'))
    assert fetch(server.url) == FetchedFile(MAP, '"one"')
    assert server.asked == [(MAP_PATH, None)]


def test_what_has_not_changed_is_not_sent_again(server: MapServer) -> None:
    server.publish(published(MAP, '"one"'))
    assert fetch(server.url, '"one"') is None
    assert fetch(server.url, '"zero"') == FetchedFile(MAP, '"one"')
    assert [etag for _, etag in server.asked] == ['"one"', '"zero"']


@pytest.mark.parametrize("headers", [{}, {"ETag": "x" * 5000}], ids=["none", "absurd"])
def test_without_an_etag(server: MapServer, headers: dict[str, str]) -> None:
    server.publish(answer(MAP, headers=headers))
    assert fetch(server.url) == FetchedFile(MAP, "")


def test_compressed_and_in_chunks(server: MapServer) -> None:
    server.publish(answer(gzip.compress(MAP), headers={"Content-Encoding": "gzip"}))
    assert fetch(server.url) == FetchedFile(MAP, "")
    server.publish(raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(MAP), MAP)))
    assert fetch(server.url) == FetchedFile(MAP, "")


def test_a_redirect_is_followed(server: MapServer) -> None:
    server.replies["/raw"] = answer(status=302, headers={"Location": MAP_PATH})
    server.publish(answer(MAP))
    assert fetch(server.url.replace(MAP_PATH, "/raw")) == FetchedFile(MAP, "")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(status=404), "answered 404 Not Found; check the owner, the repository, the branch and the path"),
        (answer(status=403), "answered 403 Forbidden; the file is not public"),
        (answer(status=500), "answered 500 Internal Server Error"),
        (answer(status=304), "answered 304 Not Modified"),  # to somebody who has nothing
        (answer(MAP, status=206), "answered 206 Partial Content"),
        (answer("<html>", headers={"Content-Type": "text/html; charset=utf-8"}), "is a web page"),
        (raw(HEAD + b"Content-Length: 100\r\n\r\n", MAP), "cannot be fetched: IncompleteRead"),
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"30\r\n" + MAP), "cannot be fetched: "),
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n12345\r\n"), "cannot be fetched: "),
        (raw(HEAD + b"\r\n", MAP), "does not say where the file ends"),
        (raw(b"nonsense\r\n\r\n"), "cannot be fetched: "),
        (answer(b"#" * (MAX_BYTES + 1)), f"it is larger than {MAX_BYTES} bytes"),
        (answer(b"no gzip", headers={"Content-Encoding": "gzip"}), "cannot be fetched: "),
        (answer(status=302, headers={"Location": MAP_PATH}), "cannot be fetched: Exceeded 5 redirects"),
        (answer(status=302, headers={"Location": "file:///etc/passwd"}), "leads to an address that is not https"),
    ],
)  # fmt: skip
def test_what_is_not_a_whole_file(server: MapServer, reply: Reply, reason: str) -> None:
    server.publish(reply)
    with pytest.raises(FetchError, match=f"^{server.url}: .*{reason}"):
        fetch(server.url)


@pytest.mark.parametrize(
    "reply",
    [
        raw(b"", pause_s=9),
        raw(HEAD + b"Content-Length: 50\r\n\r\n", MAP, pause_s=9),
        raw(HEAD + b"Content-Length: 50\r\n\r\n", *[b"#"] * 50, pause_s=0.2),
        raw(b"HTTP/1.0 200 OK\r\nContent-Length: 50\r\n\r\n", *[b"#"] * 50, pause_s=0.2),
        raw(*[b"H"] * 50, pause_s=0.2),
        raw(HEAD, b"X: ", *[b"x"] * 50, pause_s=0.2),
        raw(HEAD, *[b"X: x\r\n"] * 50, pause_s=0.2),
    ],
)
def test_what_does_not_come_in_time(server: MapServer, reply: Reply) -> None:
    server.publish(reply)
    quick = MapFetcher(read_timeout_s=1, total_timeout_s=1.5, allow_http_loopback=True)
    with pytest.raises(FetchError, match=f"^{server.url}: cannot be fetched: no whole answer in time"):
        quick.fetch(server.url)


def test_headers_that_drip_through_tls_are_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    with map_server(tls=True) as server:
        server.publish(raw(HEAD, b"X: ", *[b"x"] * 50, pause_s=0.2))
        with pytest.raises(FetchError, match="no whole answer in time"):
            MapFetcher(total_timeout_s=1.5).fetch(server.url)


def test_a_fetch_is_given_up_when_the_service_stops(server: MapServer) -> None:
    stopping, may_answer = threading.Event(), threading.Event()

    def reply(handler: object) -> None:
        stopping.set()
        may_answer.wait(10)

    server.publish(reply)
    with pytest.raises(FetchError):
        MapFetcher(allow_http_loopback=True).fetch(server.url, "", stopping)
    assert not may_answer.is_set()
    may_answer.set()


def test_a_gzip_bomb_does_not_fill_the_memory(server: MapServer) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000, compresslevel=1)
    server.publish(answer(bomb, headers={"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        with pytest.raises(FetchError, match="it is larger than"):
            fetch(server.url)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retry_after(server: MapServer, status: int) -> None:
    def asks_for_s(header: str) -> float:
        server.publish(answer(status=status, headers={"Retry-After": header}))
        with pytest.raises(FetchError) as caught:
            fetch(server.url)
        assert caught.value.status == status
        return caught.value.retry_after_s

    assert asks_for_s("120") == 120
    assert asks_for_s("soon") == 0
    assert asks_for_s("") == 0
    assert asks_for_s(email.utils.formatdate(0, usegmt=True)) == 0
    assert 3000 < asks_for_s(email.utils.formatdate(time.time() + 3600, usegmt=True)) <= 3600


def test_a_token_in_the_url_is_in_no_message(server: MapServer) -> None:
    refused = f"{server.url}?token=SECRET"
    nobody = "http://127.0.0.1:9/map.yaml?token=SECRET"
    foreign = "http://example.org/map.yaml?token=SECRET"
    for url in (refused, nobody, foreign):
        with pytest.raises(FetchError) as caught:
            fetch(url)
        assert "SECRET" not in str(caught.value)
    assert server.asked == [(f"{MAP_PATH}?token=SECRET", None)]


def test_http_is_for_this_machine_and_for_tests_alone(server: MapServer) -> None:
    server.publish(answer(MAP))
    with pytest.raises(FetchError, match="leads to an address that is not https"):
        MapFetcher().fetch(server.url)
    assert server.asked == []


def test_https_with_an_authority_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    with map_server(tls=True) as server, map_server() as insecure:
        server.publish(answer(MAP))
        insecure.publish(answer(MAP))
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
        with pytest.raises(FetchError, match="certificate verify failed"):
            MapFetcher().fetch(server.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        assert MapFetcher().fetch(server.url) == FetchedFile(MAP, "")
        server.publish(answer(status=302, headers={"Location": insecure.url}))
        with pytest.raises(FetchError, match="leads to an address that is not https"):
            MapFetcher().fetch(server.url)
        assert insecure.asked == []


def test_a_proxy_is_asked_unless_the_host_is_excepted(server: MapServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
    with pytest.raises(FetchError, match="502"):
        fetch("https://maps.invalid/map.yaml")
    assert server.asked == [("maps.invalid:443", None)]
    monkeypatch.setenv("NO_PROXY", "maps.invalid")
    with pytest.raises(FetchError, match="cannot be fetched"):
        fetch("https://maps.invalid/map.yaml")
    assert len(server.asked) == 1
