"""The fetch of one file of a published map over HTTP. The refresher decides when, and what becomes of it.

requests honours HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE. A fetch is conditional (ETag), bounded in bytes
after decompression, and in time: it runs beside the service, but must not run for ever, nor when that ends.
"""

import contextlib
import email.utils
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, TimeoutError

from services.emoji.map_reader import MAX_BYTES
from services.emoji.sources import FetchedFile, FetchError, without_query
from services.errors import innermost

_MAX_REDIRECTS = 5  # github.com/…/raw/… leads to the raw host
_CHUNK_BYTES = 1 << 16
_MAX_ETAG_CHARACTERS = 1000
_CUT_EVERY_S = 0.1
_LATE = "no whole answer in time"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_CURES = {
    401: "the file is not public",
    403: "the file is not public",
    404: "check the owner, the repository, the branch and the path",
}


class MapFetcher:
    """Fetches files over https. Time-outs in seconds: of connecting, of each wait for data, of it all.

    allow_http_loopback: take http too, for servers of this machine: what tests need.
    """

    def __init__(
        self,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 10.0,
        total_timeout_s: float = 60.0,
        allow_http_loopback: bool = False,
    ) -> None:
        self._timeouts_s = (connect_timeout_s, read_timeout_s)
        self._total_timeout_s = total_timeout_s
        self._allow_http_loopback = allow_http_loopback

    def fetch(self, url: str, etag: str = "", stopping: threading.Event | None = None) -> FetchedFile | None:
        """The file at `url`; None when it is still the one named `etag`. Raises FetchError, also soon after
        `stopping` was set."""
        name = without_query(url)
        adapter = _Adapter()
        file = None
        try:
            with adapter.cut(stopping or threading.Event(), self._total_timeout_s):
                file = self._fetch(url, etag, name, adapter)
        except FetchError:
            if not adapter.is_cut:
                raise
        except requests.exceptions.InvalidSchema as exc:  # also of a redirect
            raise FetchError(f"{name}: it leads to an address that is not https") from exc
        except (requests.RequestException, HTTPError, OSError, ValueError) as exc:
            raise FetchError(f"{name}: cannot be fetched: {_LATE if adapter.is_cut else _cause(exc)}") from exc
        if adapter.is_cut:  # which may have looked like the end of the headers, or of the file
            raise FetchError(f"{name}: cannot be fetched: {_LATE}")
        return file

    def _fetch(self, url: str, etag: str, name: str, adapter: HTTPAdapter) -> FetchedFile | None:
        headers = {"If-None-Match": etag} if etag else {}
        with (
            self._session(url, adapter) as session,
            session.get(url, headers=headers, timeout=self._timeouts_s, stream=True) as response,
        ):
            if response.status_code == requests.codes.not_modified and etag:
                return None
            _check_head(response, name)
            content = _read(response)
        given = response.headers.get("ETag", "")
        return FetchedFile(content, given if len(given) <= _MAX_ETAG_CHARACTERS else "")

    def _session(self, url: str, adapter: HTTPAdapter) -> requests.Session:
        session = requests.Session()
        session.max_redirects = _MAX_REDIRECTS
        session.adapters.clear()
        session.mount("https://", adapter)
        if self._allow_http_loopback and urlsplit(url).hostname in _LOOPBACK:
            session.mount("http://", adapter)  # else a redirect could leave https
        return session


class _Adapter(HTTPAdapter):
    """Knows its connections, so that they can be cut: the time-outs of requests count anew with every byte, and
    a server that sends its headers byte by byte would be read for ever."""

    def __init__(self) -> None:
        self._connections: list[Any] = []
        self._sockets: list[socket.socket] = []
        self.is_cut = False
        super().__init__()

    @contextlib.contextmanager
    def cut(self, stopping: threading.Event, timeout_s: float) -> Iterator[None]:
        """Cut the connections after `timeout_s`, or as soon as `stopping` is set."""
        done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(done, stopping, timeout_s), daemon=True)
        watch.start()
        try:
            yield
        finally:
            done.set()
            watch.join()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        make = pool.ConnectionCls

        def make_known(*args: Any, **kwargs: Any) -> Any:
            connection = make(*args, **kwargs)
            connect = connection.connect

            def connect_and_keep() -> None:
                connect()
                # a connection that will not be kept forgets its socket before the body is read
                self._sockets.append(connection.sock)

            connection.connect = connect_and_keep
            self._connections.append(connection)
            return connection

        pool.ConnectionCls = make_known
        return pool

    def _watch(self, done: threading.Event, stopping: threading.Event, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done.wait(_CUT_EVERY_S):
            if stopping.is_set() or time.monotonic() > deadline:
                self.is_cut = True
                self._cut_now()  # again and again: it may just be connecting

    def _cut_now(self) -> None:
        unfinished = [connection.sock for connection in self._connections if connection.sock is not None]
        for sock in [*unfinished, *self._sockets]:
            with contextlib.suppress(OSError):  # closed meanwhile
                # not the method of a TLS socket, which changes what the reading thread is using
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _check_head(response: requests.Response, name: str) -> None:
    status = response.status_code
    if status != requests.codes.ok:
        phrase = http.client.responses.get(status, "")  # the server's own could be any text
        cure = f"; {_CURES[status]}" if status in _CURES else ""
        raise FetchError(
            f"{name}: answered {status} {phrase}".rstrip() + cure,
            status=status,
            retry_after_s=_retry_after_s(response.headers.get("Retry-After", "")),
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise FetchError(f"{name}: is a web page, not a map; on GitHub, take the address behind the Raw button")
    if "Content-Length" not in response.headers and "chunked" not in response.headers.get("Transfer-Encoding", ""):
        raise FetchError(f"{name}: the server does not say where the file ends, so it could be cut off unnoticed")


def _read(response: requests.Response) -> bytes:
    """The content, decompressed."""
    content = b""
    # read1 decompresses at most this much at once: a bomb ends at the limit
    while data := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        content += data
        if len(content) > MAX_BYTES:
            raise OSError(f"it is larger than {MAX_BYTES} bytes")
    return content


def _retry_after_s(text: str) -> float:
    """Seconds, of a header that gives seconds or a date; 0 when it gives neither."""
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _cause(exc: BaseException) -> str:
    if isinstance(exc, requests.Timeout | TimeoutError):
        return _LATE
    inner = innermost(exc)
    return str(inner) or type(inner).__name__
