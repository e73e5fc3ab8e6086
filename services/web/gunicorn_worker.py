"""gunicorn's threaded worker, answering in JSON also what its own parser rejects."""

import json
import socket
import uuid
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine
from gunicorn.workers.gthread import ThreadWorker

# What gunicorn's parser raises -> code and status; anything else is malformed HTTP.
_REJECTIONS: dict[type[Exception], tuple[str, str]] = {
    LimitRequestLine: ("uri_too_long", "414 URI Too Long"),
    LimitRequestHeaders: ("headers_too_large", "431 Request Header Fields Too Large"),
}
_MALFORMED = ("bad_request", "400 Bad Request")


class JsonThreadWorker(ThreadWorker):  # type: ignore[misc]
    def handle_request(self, req: Any, conn: Any) -> bool:
        """While draining, close each connection after its answer: gunicorn drops the application's own header."""
        if self.wsgi.extensions["drain"].is_set():
            req.force_close()
        return bool(super().handle_request(req, conn))

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a request that never reached the application; gunicorn then closes the connection."""
        self.log.warning("Rejected before it was a request: %s", exc)
        code, status = _REJECTIONS.get(type(exc), _MALFORMED)
        body = {
            "service": self.wsgi.config["SERVICE_NAME"],
            "status": "error",
            "predictions": [],
            "error": {"code": code, "message": str(exc) or status},
            "metadata": {"processing_time": 0.0},
        }
        content = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nX-Request-ID: {uuid.uuid4().hex}\r\nConnection: close\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + content)
        except OSError:
            self.log.debug("The client was gone before its rejection")
