"""A real web server with one file: with ETag and ranges, and the faults that downloads meet."""

import http.server
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

from tests.images.servers import Server, serving


@dataclass
class File:
    """What the server has, and how it behaves. Tests change it while it is served."""

    content: bytes
    etag: str = '"one"'
    ranges: bool = True  # else a Range is ignored, as HTTP allows
    breaks_after: list[int] = field(default_factory=list)  # bytes, of one answer each; later ones are whole
    status: int = 0  # of every answer; 0: what it should be
    claims_bytes: int = 0  # in Content-Length; 0: the truth
    content_range: str = ""  # "": the truth
    may_go_on: Event | None = None  # each answer waits for it after its first half
    asked: list[str] = field(default_factory=list)  # the Range of each request, or ""
    asked_by: list[str] = field(default_factory=list)  # the request lines


@contextmanager
def file_server(file: File) -> Iterator[str]:
    """Gives the URL of a checkpoint; any other path, and any other host by proxy, has the same file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            file.asked.append(self.headers.get("Range", ""))
            file.asked_by.append(self.requestline)
            start = self._start()
            body = file.content[start:]
            self.send_response(file.status or (206 if start else 200))
            self.send_header("Content-Length", str(file.claims_bytes or len(body)))
            if file.etag:
                self.send_header("ETag", file.etag)
            if start:
                told = f"bytes {start}-{len(file.content) - 1}/{len(file.content)}"
                self.send_header("Content-Range", file.content_range or told)
            self.end_headers()
            if file.breaks_after:
                self.wfile.write(body[: file.breaks_after.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(body[: len(body) // 2])
            if file.may_go_on:
                file.may_go_on.wait(120)
            self.wfile.write(body[len(body) // 2 :])

        def _start(self) -> int:
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if not wanted or not file.ranges or self.headers.get("If-Range") != file.etag:
                return 0
            return int(wanted[1])

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with serving(Server(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/model.pth"
