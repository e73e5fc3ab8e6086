"""gunicorn's threaded worker: patient for so long, draining before it leaves, and speaking JSON."""

import contextlib
import copy
import errno
import json
import re
import select
import selectors
import socket
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import ThreadWorker

from services.web.security_headers import SECURITY_HEADERS
from services.web.slow_clients import AnswerSocket, PatientSocket, ReadTimeout, limit_sending
from services.web.turns import PROBES

# What is raised before there is a request -> code and status, the first that fits.
_REJECTIONS: dict[type[Exception], tuple[str, str]] = {
    InvalidResponseHeader: ("internal_error", "500 Internal Server Error"),
    InvalidResponseHeaderName: ("internal_error", "500 Internal Server Error"),
    LimitRequestLine: ("uri_too_long", "414 URI Too Long"),
    LimitRequestHeaders: ("headers_too_large", "431 Request Header Fields Too Large"),
    ReadTimeout: ("request_timeout", "408 Request Timeout"),
    ParseException: ("bad_request", "400 Bad Request"),
    Exception: ("internal_error", "500 Internal Server Error"),
}

LINGER_S = 2.0  # until a connection that is over on our side is closed, if the client does not do so first
MOST_IGNORED_BYTES = 64 * 1024  # that come meanwhile

PROBE_THREADS = 2
# all of a request that a thread can read without waiting, and answer at once
_PROBE = re.compile(
    rb"GET (%b) HTTP/1\.[01]\r\n(?!.*(content-length|transfer-encoding|expect))(.*\r\n)?\r\n"
    % "|".join(PROBES).encode(),
    re.DOTALL | re.IGNORECASE,
)
_MOST_PROBE_BYTES = 2048


def _peek(conn: Any) -> bytes | None:
    """What has come and is not read, or its beginning; b"" at the end, None while nothing comes. Takes nothing."""
    if conn.parser and conn.parser.unreader.buf.getvalue():
        return None  # the parser has read ahead, and goes on from there
    try:
        return bytes(conn.sock.recv(_MOST_PROBE_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return None


def _can_send(connection: socket.socket) -> bool:
    """Whether there is room for a small answer: Linux says so while a third of the buffer is free."""
    poller = select.poll()
    poller.register(connection, select.POLLOUT)
    return bool(poller.poll(0))


JUST_BEGUN_S = 1.0  # a drain, and so far apart one signal may come to the master and to the worker


class JsonThreadWorker(ThreadWorker):  # type: ignore[misc]
    """The application's `extensions["drain"]` and `["loop_is_idle"]` (Events) and `["begin_drain"]`, its config
    SERVICE_NAME and DRAIN_SECONDS are what this worker knows of it.
    """

    drain_end: float | None = None  # by time.monotonic()

    def begin_drain(self) -> None:
        if self.drain_end is None:
            self.drain_end = time.monotonic() + self.wsgi.config["DRAIN_SECONDS"]
            self.wsgi.extensions["begin_drain"]()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM. From gunicorn's master it comes at the end of the drain; a supervisor may send it to all
        processes at once, and then the drain is still to come, or has just begun. Later in it, it is the second
        one, which does not wait.
        """
        if getattr(self, "wsgi", None) is None:  # not yet serving
            super().handle_exit(sig, frame)
            return
        self.begin_drain()
        left_s = (self.drain_end or 0.0) - time.monotonic()
        if left_s < self.wsgi.config["DRAIN_SECONDS"] - JUST_BEGUN_S:
            left_s = 0.0
        timer = threading.Timer(max(0.0, left_s), super().handle_exit, (sig, None))
        timer.daemon = True
        timer.start()

    def init_process(self) -> None:
        self.probe_pool = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="probe")
        super().init_process()

    def is_parent_alive(self) -> bool:
        if super().is_parent_alive():
            return True
        self.begin_drain()
        self.alive = False  # gunicorn leaves its loop and says so to nobody
        return False

    def set_accept_enabled(self, enabled: bool) -> None:
        """As gunicorn's, but one that leaves closes its port first. gunicorn keeps it until all requests are
        answered: who connected meanwhile would wait all that time, to be reset at its end.
        """
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        while self.sockets:
            listener = self.sockets.pop()
            self._accept_waiting(listener)
            listener.close()

    def _accept_waiting(self, listener: Any) -> None:
        """Who is connected already, and waits to be accepted, is answered."""
        with contextlib.suppress(OSError):
            for _ in range(self.cfg.backlog):
                before = self.nr_conns
                self.accept(listener)
                if self.nr_conns == before:
                    return

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """As gunicorn's, and says meanwhile whether there is anything to do."""
        loop_is_idle = self.wsgi.extensions["loop_is_idle"]
        events = self.poller.select(0)
        if not events:
            loop_is_idle.set()
            events = self.poller.select(timeout)
        loop_is_idle.clear()
        for key, _ in events:
            key.data(key.fileobj)

    def enqueue_req(self, conn: Any) -> None:
        if not conn.initialized and not conn.data_ready:
            self._await_first_byte(conn)
            return
        if not conn.initialized and not hasattr(conn, "patient"):
            initialize = conn.init

            def init_patiently() -> None:
                initialize()
                if not hasattr(conn, "patient"):
                    conn.patient = conn.parser.unreader.sock = PatientSocket(conn.sock)

            conn.init = init_patiently
        waiting = _peek(conn)
        if waiting == b"" and conn.initialized:  # the client has closed a connection that was kept
            self._close(conn)
            return
        # probes do not stand behind all others, unless their client does not read what it was answered before
        is_probe = waiting and _PROBE.fullmatch(waiting) and _can_send(conn.sock)
        pool = self.probe_pool if is_probe else self.tpool
        handled = pool.submit(self.handle, conn)
        handled.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _await_first_byte(self, conn: Any) -> None:
        """In the event loop, which has room for many; gunicorn would let a silent connection hold a thread."""
        limit_sending(conn.sock)
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Close when the client has done so too, as gunicorn does, which would wait for that up to two seconds:
        here, in the event loop, and everybody else with it.
        """
        if fs.cancelled() or fs.exception() or fs.result() is not False:
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client has reset it
            self._close(conn)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + LINGER_S
        conn.may_still_send = MOST_IGNORED_BYTES
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._ignore, conn))

    def _ignore(self, conn: Any, sock: socket.socket) -> None:
        """What comes after the answer: to close with it unread would reset the connection, the answer with it."""
        try:
            n_bytes = len(sock.recv(65536))
        except BlockingIOError:
            return
        except OSError:
            n_bytes = 0
        conn.may_still_send -= n_bytes
        if not n_bytes or conn.may_still_send <= 0:
            self.poller.unregister(sock)
            self.pending_conns.remove(conn)
            self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def handle(self, conn: Any) -> Any:
        if conn.initialized:  # a kept connection with its next request
            conn.patient.begin_request()
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> bool:
        """While draining, close each connection after its answer: gunicorn drops the application's own header."""
        if self.wsgi.extensions["drain"].is_set():
            req.force_close()
        req.version = min(req.version, (1, 1))  # gunicorn would claim the client's, even one that there is not
        answering = copy.copy(conn)
        answering.sock = answer = AnswerSocket(conn.sock)
        try:
            goes_on = super().handle_request(req, answering)
            answer.flush()
            return bool(goes_on)
        except (BlockingIOError, TimeoutError):
            raise BrokenPipeError(errno.EPIPE, "The client does not read its answer") from None

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a request that never reached the application; gunicorn then closes the connection."""
        code, status = next(answer for kind, answer in _REJECTIONS.items() if isinstance(exc, kind))
        self.wsgi.extensions["metrics"].count_rejected(code)
        request_id = uuid.uuid4().hex
        message = str(exc) or status
        if code == "internal_error":
            self.log.error("request %s failed before it was one", request_id, exc_info=exc)
            message = f"This is a fault of the service; its log explains it under the request id {request_id}"
        else:
            # only what kind of error: its text quotes the request, and whatever secret that holds
            who = addr[0] if isinstance(addr, tuple) else addr
            self.log.warning("%s %s rejected before it was a request: %s", request_id, who, type(exc).__name__)
        body = {
            "service": self.wsgi.config["SERVICE_NAME"],
            "status": "error",
            "predictions": [],
            "error": {"code": code, "message": message},
            "metadata": {"processing_time": 0.0},
        }
        content = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "X-Request-ID": request_id,
            "Connection": "close",
            **SECURITY_HEADERS,
        }
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        try:
            client.sendall("\r\n".join(lines).encode() + content)
        except OSError:
            self.log.debug("The client was gone before its rejection")
