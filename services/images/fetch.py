"""A URL -> bytes, safely: what the policy allows only, bounded in size, time and redirects, nothing kept.

    URL ─▶ urls.parse ─▶ policy ─▶ resolver ─▶ policy ─▶ connection ─▶ body
     ▲                  (port,                (every     (to an address     │
     │                   name)                 address)   that was judged)  │
     └──────────────────── a redirect is judged like a URL ◀────────────────┘
"""

import http.client
import logging
import os
import socket
import ssl
from urllib.parse import urlsplit

import certifi

from services.errors import UrlNotAllowed, UrlUnreachable
from services.images.addresses import IPAddress
from services.images.connection import PinnedConnection, ProxyRefusal
from services.images.deadline import Deadline
from services.images.limits import check_size
from services.images.policy import UrlPolicy
from services.images.resolver import LookUp, Resolver, system_look_up
from services.images.urls import Target, join_url, parse_url

MAX_REDIRECTS = 3
LOOK_UP_TIMEOUT_S = 5.0
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK_BYTES = 64 * 1024
_HEADERS = {
    "User-Agent": "captions (self-hosted image captioning)",
    # Servers that can choose a format should choose one that can be decoded here: no AVIF, no SVG.
    "Accept": "image/jpeg, image/png, image/webp, image/gif, image/bmp, */*;q=0.1",
    "Accept-Encoding": "identity",  # a compressed body could be a bomb
    "Connection": "close",
}

# The first that fits counts.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "no such host"),
    (ssl.SSLError, "no secure connection with the server"),
    (ProxyRefusal, "the proxy refused the connection"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, "the server closed the connection too early"),
    (http.client.IncompleteRead, "the server closed the connection too early"),
    (http.client.HTTPException, "the server's answer is not valid HTTP"),
)

logger = logging.getLogger(__name__)


class UrlFetcher:
    """Downloads images of at most `max_bytes` from where `policy` allows. Thread-safe.

    proxy: `http://host:port`, through which everything goes. It must refuse private addresses itself, since it
    looks up the names. tls: whose certificates are trusted; by default those that browsers trust. look_up: a
    name -> its addresses; by default the system's. Proxies and passwords of the environment are not looked at.
    """

    def __init__(
        self,
        max_bytes: int,
        policy: UrlPolicy | None = None,
        proxy: str = "",
        connect_timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        look_up: LookUp = system_look_up,
    ) -> None:
        self._max_bytes = max_bytes
        self._policy = policy or UrlPolicy()
        self._proxy = urlsplit(proxy) if proxy else None
        self._connect_timeout_s = connect_timeout_s
        self._tls = tls or ssl.create_default_context(cafile=certifi.where())
        self._resolver = Resolver(look_up)

    def fetch(self, url: str, timeout_s: float) -> bytes:
        """The body behind `url`; looking up, connecting, redirects and reading take `timeout_s` at most.

        Raises UrlNotAllowed, UrlUnreachable and TooLarge.
        """
        deadline = Deadline(timeout_s)
        try:
            return self._follow(url, deadline)
        except TimeoutError as exc:
            if deadline.is_over:
                raise _unreachable(f"timed out after {round(timeout_s, 1):g} s") from exc
            raise _unreachable(f"no connection within {self._connect_timeout_s:g} s") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise _unreachable(reason(exc)) from exc

    def _follow(self, url: str, deadline: Deadline) -> bytes:
        target = parse_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            connection = self._connection(target, deadline)
            try:
                connection.request("GET", self._path(target), headers=_HEADERS)
                with connection.getresponse() as response:
                    location = response.getheader("Location")
                    if response.status not in _REDIRECTS or not location:
                        return self._body(response)
            finally:
                connection.close()
            url = join_url(url, location)
            previous, target = target, parse_url(url)
            if (previous.scheme, target.scheme) == ("https", "http"):
                logger.info("a redirect leads from https://%s to http://%s", previous.host, target.host)
        raise _unreachable(f"more than {MAX_REDIRECTS} redirects")

    def _connection(self, target: Target, deadline: Deadline) -> PinnedConnection:
        self._policy.check_target(target)
        if self._proxy:
            addresses = self._look_up(self._proxy.hostname or "", deadline)
        elif target.address:
            addresses = [target.address]
        else:
            addresses = self._look_up(target.host, deadline)
            self._policy.check_addresses(target.host, addresses)
        return PinnedConnection(
            target.host,
            target.port,
            addresses=addresses,
            tls=self._tls if target.scheme == "https" else None,
            connect_timeout_s=self._connect_timeout_s,
            deadline=deadline,
            proxy_port=self._proxy.port if self._proxy else None,
        )

    def _look_up(self, host: str, deadline: Deadline) -> list[IPAddress]:
        try:
            return self._resolver.resolve(host, deadline.at_most(LOOK_UP_TIMEOUT_S))
        except ValueError:  # the answer is no address, or the system cannot ask for such a name
            raise UrlNotAllowed from None
        except TimeoutError:
            if deadline.is_over:
                raise
            raise _unreachable(f"its name was not found within {LOOK_UP_TIMEOUT_S:g} s") from None

    def _path(self, target: Target) -> str:
        if not self._proxy or target.scheme == "https":
            return target.path
        host = f"[{target.host}]" if ":" in target.host else target.host
        return f"http://{host}:{target.port}{target.path}"  # a proxy is told the whole URL

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        if response.status != 200:
            raise _unreachable(f"the server answered {response.status}")
        if response.getheader("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise _unreachable("the server compresses its answers")
        check_size(response.length or 0, self._max_bytes)
        body = bytearray()
        # read1, because read believes a chunk that says it has -1 bytes, and reads on without end.
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            check_size(len(body), self._max_bytes)
        if response.length:  # what is still missing of the announced length
            raise http.client.IncompleteRead(b"", response.length)
        return bytes(body)


def reason(exc: OSError | http.client.HTTPException) -> str:
    """Why a download failed, in words for the person who sent the URL."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid ({exc.verify_message.rstrip('.')})"
    for kind, words in _REASONS:
        if isinstance(exc, kind):
            return words
    # What remains comes from the network: "network is unreachable", "no route to host", …
    return os.strerror(exc.errno).lower() if isinstance(exc, OSError) and exc.errno else "no connection"


def _unreachable(why: str) -> UrlUnreachable:
    return UrlUnreachable(f"Failed to download image: {why}")
