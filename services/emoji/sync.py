"""The fetch of one file of a published map over HTTP. The refresher decides when, and what becomes of it.

requests honours HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE. A fetch is conditional (ETag), bounded in bytes
after decompression, and in time: it runs beside the service, but must not run for ever.
"""

import contextlib
import email.utils
import http.client
import time
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, TimeoutError

from services.emoji.map_reader import MAX_BYTES
from services.emoji.sources import FetchedFile, FetchError, without_query
from services.errors import innermost

_MAX_REDIRECTS = 5  # github.com/…/raw/… leads to the raw host
_CHUNK_BYTES = 1 << 16
_MAX_ETAG_CHARACTERS = 1000
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

    def fetch(self, url: str, etag: str = "") -> FetchedFile | None:
        """The file at `url`; None when it is still the one named `etag`. Raises FetchError."""
        name = without_query(url)
        deadline = time.monotonic() + self._total_timeout_s
        headers = {"If-None-Match": etag} if etag else {}
        try:
            with (
                self._session(url) as session,
                session.get(url, headers=headers, timeout=self._timeouts_s, stream=True) as response,
            ):
                if response.status_code == requests.codes.not_modified and etag:
                    return None
                _check_head(response, name)
                content = _read(response, deadline)
        except FetchError:
            raise
        except requests.exceptions.InvalidSchema as exc:  # also of a redirect
            raise FetchError(f"{name}: it leads to an address that is not https") from exc
        except (requests.RequestException, HTTPError, OSError, ValueError) as exc:
            raise FetchError(f"{name}: cannot be fetched: {_cause(exc)}") from exc
        given = response.headers.get("ETag", "")
        return FetchedFile(content, given if len(given) <= _MAX_ETAG_CHARACTERS else "")

    def _session(self, url: str) -> requests.Session:
        session = requests.Session()
        session.max_redirects = _MAX_REDIRECTS
        if not (self._allow_http_loopback and urlsplit(url).hostname in _LOOPBACK):
            session.adapters.pop("http://")  # so that a redirect cannot leave https either
        return session


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


def _read(response: requests.Response, deadline: float) -> bytes:
    """The content, decompressed; read as it comes, so that a slow sender cannot stretch it beyond the deadline."""
    content = b""
    # read1 decompresses at most this much at once: a bomb ends at the limit
    while data := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        content += data
        if len(content) > MAX_BYTES:
            raise OSError(f"it is larger than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise OSError("it did not come in time")
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
        return "no answer in time"
    inner = innermost(exc)
    return str(inner) or type(inner).__name__
