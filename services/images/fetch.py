"""A URL -> bytes, safely: public addresses only, bounded in size, time and redirects, nothing kept."""

import http.client
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

import certifi

from services.errors import UrlNotAllowed, UrlUnreachable
from services.images.connection import Deadline, PinnedConnection, resolve
from services.images.limits import check_size

MAX_REDIRECTS = 3
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
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, "the server closed the connection too early"),
    (http.client.IncompleteRead, "the server closed the connection too early"),
    (http.client.HTTPException, "the server's answer is not valid HTTP"),
)


class UrlFetcher:
    """Downloads images of at most `max_bytes`; `allow_private` opens home networks and this machine.

    `tls` says whose certificates are trusted; by default those that browsers trust.
    """

    def __init__(
        self,
        max_bytes: int,
        connect_timeout_s: float = 10.0,
        allow_private: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._connect_timeout_s = connect_timeout_s
        self._allow_private = allow_private
        self._tls = tls or ssl.create_default_context(cafile=certifi.where())

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
        for _ in range(MAX_REDIRECTS + 1):
            target = _parse(url)
            connection = self._connection(target, deadline)
            try:
                connection.request("GET", target.path, headers=_HEADERS)
                with connection.getresponse() as response:
                    location = response.getheader("Location")
                    if response.status not in _REDIRECTS or location is None:
                        return self._body(response)
                url = _join(url, location)
            finally:
                connection.close()
        raise _unreachable(f"more than {MAX_REDIRECTS} redirects")

    def _connection(self, target: "_Target", deadline: Deadline) -> PinnedConnection:
        try:
            addresses = resolve(target.host, target.port, deadline)
        except ValueError:
            raise _unreachable("the URL is not valid") from None
        # One private answer among public ones is enough to refuse: which one is connected to is chance.
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise UrlNotAllowed
        return PinnedConnection(
            target.host,
            target.port,
            addresses=addresses,
            tls=self._tls if target.scheme == "https" else None,
            connect_timeout_s=self._connect_timeout_s,
            deadline=deadline,
        )

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


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, by the tables of the `ipaddress` module."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.is_site_local:  # the predecessor of fc00::/7
            return False
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def reason(exc: OSError | http.client.HTTPException) -> str:
    """Why a download failed, in words for the person who sent the URL."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid ({exc.verify_message.rstrip('.')})"
    for kind, words in _REASONS:
        if isinstance(exc, kind):
            return words
    # What remains comes from the network: "network is unreachable", "no route to host", …
    return os.strerror(exc.errno).lower() if isinstance(exc, OSError) and exc.errno else "no connection"


@dataclass(frozen=True)
class _Target:
    scheme: str
    host: str
    port: int
    path: str  # with the query, percent-encoded


def _parse(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        if parts.query:
            path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    except ValueError:
        raise _unreachable("the URL is not valid") from None
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise UrlNotAllowed
    if not host or not host.isprintable() or " " in host:
        raise _unreachable("the URL is not valid")
    default_port = 443 if parts.scheme == "https" else 80
    return _Target(parts.scheme, host, default_port if port is None else port, path)


def _join(url: str, location: str) -> str:
    try:
        # Headers arrive as Latin-1; many servers send UTF-8.
        return urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
    except ValueError:
        raise _unreachable("it redirects to a URL that is not valid") from None


def _unreachable(why: str) -> UrlUnreachable:
    return UrlUnreachable(f"Failed to download image: {why}")
