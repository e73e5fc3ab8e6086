"""A small real web server that publishes maps, well and badly, and remembers what it was asked."""

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.images.servers import CERTIFICATE

Handler = http.server.BaseHTTPRequestHandler
Reply = Callable[[Handler], None]

MAP_PATH = "/emoji_map.yaml"
HEAD = b"HTTP/1.1 200 OK\r\n"


WORDS = ("dog", "cat", "horse", "cow", "pig", "sheep", "mouse", "rabbit", "bear", "tiger")


def map_text(version: str, words: tuple[str, ...] = WORDS, canary: str = "🐾") -> str:
    """A map of one emoji, which tries itself."""
    lines = [f'version: "{version}"', "exact:", *(f'  "{word}": "🐾"' for word in words)]
    return "\n".join([*lines, "canaries:", f'  "a {words[0]} runs": "{words[0]} {canary}"', ""])


ONE, TWO = map_text("one"), map_text("two")


def answer(body: str | bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A whole answer. `headers` go before those that would be sent without them."""
    content = body.encode() if isinstance(body, str) else body

    def reply(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return reply


def published(body: str | bytes, etag: str) -> Reply:
    """A file with an ETag: 304 for who has it."""

    def reply(handler: Handler) -> None:
        if handler.headers["If-None-Match"] == etag:
            answer(status=304, headers={"ETag": etag})(handler)
        else:
            answer(body, headers={"ETag": etag})(handler)

    return reply


def raw(*parts: bytes, pause_s: float = 0.0) -> Reply:
    """Bytes instead of HTTP, with pauses between; then the connection is closed."""

    def reply(handler: Handler) -> None:
        pause = threading.Event()
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
            pause.wait(pause_s)
        handler.close_connection = True

    return reply


@dataclass
class MapServer:
    """replies: path -> what it answers; 404 for all others. asked: (path, If-None-Match) of every request."""

    port: int
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    tls: bool = False

    @property
    def url(self) -> str:
        """Of the map."""
        return f"{'https://localhost' if self.tls else 'http://127.0.0.1'}:{self.port}{MAP_PATH}"

    def publish(self, reply: Reply) -> None:
        self.replies[MAP_PATH] = reply


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: clients under test hang up early."""


@contextmanager
def map_server(tls: bool = False) -> Iterator[MapServer]:
    """tls: with the certificate of tests/images, for localhost."""

    class _Handler(Handler):
        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers["If-None-Match"]))
            told.replies.get(self.path.partition("?")[0], answer(status=404))(self)

        def do_CONNECT(self) -> None:
            told.asked.append((self.path, None))
            answer(status=502)(self)

        def log_message(self, format: str, *args: object) -> None:
            """Silent: what a test expects to fail should not fill its output."""

    with _Server(("127.0.0.1", 0), _Handler) as server:
        told = MapServer(server.server_port, tls=tls)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
