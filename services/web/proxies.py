"""What a proxy in front says of a request, believed only when it comes from a proxy that is trusted.

    client ─▶ proxy: X-Forwarded-For, -Proto, -Host, -Prefix ─▶ this service

Anybody can send these headers. From a connection that comes from no trusted address they are ignored; a trusted
proxy must set or remove each of them, never hand on what its own client sent (For: append to it).
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from werkzeug.http import parse_list_header
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# The other headers as they must look to be believed; what they say gets into links.
_FORMS = {
    "HTTP_X_FORWARDED_PROTO": re.compile(r"https?"),
    "HTTP_X_FORWARDED_HOST": re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?"),
    "HTTP_X_FORWARDED_PREFIX": re.compile(r"(/[A-Za-z0-9._~-]+)+"),
}


class TrustedProxies:
    """A WSGI application around another: werkzeug's ProxyFix for requests of trusted proxies."""

    def __init__(self, app: "WSGIApplication", networks: Sequence[Network]) -> None:
        self._app = app
        self._networks = tuple(networks)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if not self._trusts(_address(environ.get("REMOTE_ADDR", ""))):
            return self._app(environ, start_response)
        for name, form in _FORMS.items():
            values = parse_list_header(environ.get(name, ""))
            if not values or not form.fullmatch(values[-1]):
                environ.pop(name, None)
        n_proxies = self._find_client(environ)
        fixed = ProxyFix(self._app, x_for=n_proxies, x_proto=1, x_host=1, x_prefix=1)
        return fixed(environ, start_response)

    def _find_client(self, environ: "WSGIEnvironment") -> int:
        """From the right, the place in X-Forwarded-For of the first address that is no trusted proxy's; 0: none.

        Each proxy appends the address that it was asked from, so what stands left of that place is hearsay.
        """
        # no parser that knows quotes: one that the client sent would hide what the proxies appended
        sent = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        forwarded = [_address(text) for text in sent if text.strip()]
        environ["HTTP_X_FORWARDED_FOR"] = ",".join(str(address) for address in forwarded)  # without ports
        known = list(takewhile(lambda address: address is not None, reversed(forwarded)))
        n_trusted = len(list(takewhile(self._trusts, known)))
        return min(n_trusted + 1, len(known))

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """Also with a port, as some proxies write it. An IPv4 address in an IPv6 dress is that IPv4 address."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    if "%" in bare:  # a zone, which may hold any text
        return None
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
