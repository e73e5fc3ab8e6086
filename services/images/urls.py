"""A URL -> what to connect to and what to ask for: what two parsers could read differently is refused."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

import idna

from services.errors import UrlNotAllowed
from services.images.addresses import NAT64, IPAddress

MAX_URL_CHARS = 8192
MAX_NAME_CHARS = 253

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[^][/?#@:%]+)"  # so no user, no password, no percent-encoding, no zone
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")  # some parsers drop them, and read a backslash as a slash
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
# The last label starts with a letter: 127.1, 0x7f000001 and 2130706433 are addresses to some programs.
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}")


@dataclass(frozen=True)
class Target:
    """host: a lower-case ASCII name without a dot at the end, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with the query, percent-encoded
    address: IPAddress | None  # the host, when it is an address


def parse_url(url: str) -> Target:
    """Raises UrlNotAllowed for everything but a plain http or https URL."""
    match = _URL.fullmatch(url)
    if len(url) > MAX_URL_CHARS or _FORBIDDEN.search(url) or not match:
        raise UrlNotAllowed
    scheme = match["scheme"].lower()
    try:
        address = _address(match["host"])
        host = str(address) if address else _name(match["host"])
        path = quote(match["path"] or "/", safe="/%:@!$&'()*+,;=~")
        if match["query"]:
            path += "?" + quote(match["query"], safe="/%:@!$&'()*+,;=~?")
    except ValueError:  # UnicodeError is one
        raise UrlNotAllowed from None
    default_port = 443 if scheme == "https" else 80
    return Target(scheme, host, int(match["port"] or default_port), path, address)


def join_url(url: str, location: str) -> str:
    """Where a redirect of `url` leads, its `Location` as http.client gives it. Raises UrlNotAllowed."""
    try:
        # Headers arrive as Latin-1; many servers send UTF-8.
        location = location.encode("latin-1").decode("utf-8", "replace")
        if _FORBIDDEN.search(location):  # urljoin would drop them
            raise UrlNotAllowed
        return urljoin(url, location)
    except ValueError:
        raise UrlNotAllowed from None


def _address(host: str) -> IPAddress | None:
    """Four decimal numbers, or IPv6 in brackets. Raises ValueError for brackets with anything else."""
    if host.startswith("["):
        address = IPv6Address(host[1:-1])
        # A resolver may translate an IPv4 address so; who writes one into a URL wants to hide it.
        if address in NAT64:
            raise ValueError(host)
        return address
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None


def _name(host: str) -> str:
    """Raises ValueError for what is no host name. IDNA 2008 maps nothing: ① and the full stop 。 are refused."""
    if not host.isascii():
        host = idna.encode(host.lower(), strict=True).decode("ascii")
    name = host.lower().removesuffix(".")
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise ValueError(host)
    return name
