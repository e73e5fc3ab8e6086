"""Small real web servers on this machine: friendly, slow, broken and hostile ones."""

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from services.images.policy import UrlPolicy

# Every server of these tests, whatever port it has got.
THIS_MACHINE = UrlPolicy(ports=range(1, 65536), hosts=("localhost",), networks=(IPv4Network("127.0.0.0/8"),))

CERTIFICATE = Path(__file__).with_name("localhost.pem")
CERTIFICATE_OF_PHOTOS = Path(__file__).with_name("photos.pem")  # for photos.test
EXPIRED_CERTIFICATE = Path(__file__).with_name("expired.pem")  # likewise
PICTURE = bytes(range(256)) * 40


class Pictures(http.server.BaseHTTPRequestHandler):
    """Answers by path, as a site of pictures does; `/echo` answers with the request itself."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/picture":
            self._answer(PICTURE)
        elif path == "/echo":
            self._answer(f"{self.requestline}\n{self.headers}".encode())
        elif path == "/redirect":  # /redirect?3/picture: three times, then to /picture
            left, _, target = query.partition("/")
            self._redirect(f"/redirect?{int(left) - 1}/{target}" if int(left) > 1 else f"/{target}")
        elif path == "/redirect_to":
            self._redirect(unquote(query))
        elif path == "/cookie":
            self._redirect("/echo", {"Set-Cookie": "a=b; Path=/"})
        elif path == "/chunked":
            self._chunks(int(query))
        elif path == "/encoded":
            self._answer(PICTURE, {"Content-Encoding": query})
        elif path.startswith("/status/"):
            self._answer(PICTURE, status=int(path.removeprefix("/status/")))
        else:
            self._answer(b"nothing here", status=HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self, target: str, headers: dict[str, str] | None = None) -> None:
        self._answer(b"", {"Location": target, **(headers or {})}, status=302)

    def _chunks(self, n_bytes: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, n_bytes, 1000):
            chunk = PICTURE[: min(1000, n_bytes - start)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what a test expects to fail should not fill its output."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    accepted = 0  # connections

    def get_request(self) -> tuple[socket.socket, Any]:
        self.accepted += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: clients under test hang up early."""


@contextmanager
def pictures(certificate: Path | None = None, sni: list[str | None] | None = None) -> Iterator[int]:
    """A server of `Pictures`; gives its port. sni: collects the names that clients ask for in their handshakes."""
    server = Server(("127.0.0.1", 0), Pictures)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if sni is not None:
            context.sni_callback = lambda connection, name, _: sni.append(name)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server.server_port


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def raw(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does not keep to HTTP: it reads one request, and then `talk` has the connection."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            with connection:
                try:
                    connection.settimeout(10)
                    connection.recv(65536)
                    talk(connection)
                except OSError:  # the client hung up, as it should
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def sends(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


def drips(head: bytes, drop: bytes, pause_s: float) -> Callable[[socket.socket], None]:
    """Sends `head` at once, and then `drop` again and again until the client hangs up."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(drop)
            time.sleep(pause_s)

    return talk


def says_nothing(connection: socket.socket) -> None:
    connection.recv(1)
