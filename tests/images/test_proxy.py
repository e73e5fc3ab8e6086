"""URL_FETCH_PROXY: everything goes through it, and nobody else is asked or connected to."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from services.errors import UrlNotAllowed, UrlUnreachable
from services.images.fetch import UrlFetcher
from services.images.resolver import system_look_up
from tests.images.servers import CERTIFICATE_OF_PHOTOS, PICTURE, drips, pictures, raw, sends
from tests.images.wire import Wire, counted

MAX_BYTES = 20_000


@contextmanager
def tunnels(target_port: int) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that says yes to CONNECT, wherever to, and connects to a port of this machine. (port, requests)"""
    requests: list[bytes] = []

    def talk(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", target_port)) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            other = {client: server, server: client}
            while True:
                for ready in select.select([client, server], [], [], 10)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # the test is over
                    return
                with client, suppress(OSError):  # who hangs up
                    requests.append(client.recv(65536))
                    talk(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], requests
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def through(port: int, tls: ssl.SSLContext | None = None) -> UrlFetcher:
    def look_up(host: str) -> list[str]:
        assert host == "localhost", "only the proxy's own name is looked up here"
        return system_look_up("127.0.0.1")

    return UrlFetcher(MAX_BYTES, proxy=f"http://localhost:{port}", tls=tls, look_up=look_up)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with counted() as wire:
        yield wire


@pytest.mark.parametrize(
    ("url", "request_line", "host"),
    [
        ("http://a.test/echo?b=c", "GET http://a.test:80/echo?b=c HTTP/1.1", "a.test:80"),
        ("http://8.8.8.8/", "GET http://8.8.8.8:80/ HTTP/1.1", "8.8.8.8:80"),
        ("http://[2606:4700::1111]/", "GET http://[2606:4700::1111]:80/ HTTP/1.1", "[2606:4700::1111]:80"),
    ],
)
def test_a_proxy_is_told_the_whole_url(wire: Wire, url: str, request_line: str, host: str) -> None:
    got: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            got.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        assert through(port).fetch(url, timeout_s=5) == b"ok"
        thread.join()
    first, *headers = got[0].decode().splitlines()
    assert first == request_line
    assert f"Host: {host}" in headers
    assert wire.connects == [("127.0.0.1", port)]


def test_https_goes_through_a_tunnel_and_the_certificate_is_still_the_hosts(wire: Wire) -> None:
    tls = ssl.create_default_context(cafile=str(CERTIFICATE_OF_PHOTOS))
    with pictures(CERTIFICATE_OF_PHOTOS) as secure, tunnels(secure) as (port, requests):
        assert through(port, tls=tls).fetch("https://photos.test/picture", timeout_s=5) == PICTURE
        with pytest.raises(UrlUnreachable, match="certificate is not valid"):
            through(port, tls=tls).fetch("https://other.test/picture", timeout_s=5)
    assert requests[0] == b"CONNECT photos.test:443 HTTP/1.1\r\nHost: photos.test:443\r\n\r\n"
    assert {address for address in wire.connects if address[1] != secure} == {("127.0.0.1", port)}


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "https://localhost/", "http://a.test:22/", "ftp://a.test/"])
def test_what_can_be_judged_without_a_name_server_is_refused_as_ever(wire: Wire, url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        through(9).fetch(url, timeout_s=5)
    assert wire.connects == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the proxy refused the connection"),
        (b"HTTP/1.1 407 Authenticate\r\n\r\n", "the proxy refused the connection"),
        (b"SSH-2.0\r\n", "the server's answer is not valid HTTP"),
        (b"", "the server closed the connection too early"),
    ],
)
def test_a_proxy_that_refuses_is_named(answer: bytes, why: str) -> None:
    with raw(sends(answer)) as port, pytest.raises(UrlUnreachable, match=why):
        through(port).fetch("https://a.test/", timeout_s=5)


def test_a_slow_proxy_is_left_at_the_deadline() -> None:
    with raw(drips(b"", b"H", pause_s=0.1)) as port, pytest.raises(UrlUnreachable, match="timed out after"):
        through(port).fetch("https://a.test/", timeout_s=0.3)
