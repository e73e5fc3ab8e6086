"""What the web layer needs to know of the settings, as plain values."""

from dataclasses import dataclass

from services.web.keys import ApiKeys
from services.web.models import ServedModel
from services.web.proxies import Network


@dataclass(frozen=True)
class WebOptions:
    service_name: str  # `service` in every answer
    models: tuple[ServedModel, ...]  # those that are served, the default one first; known before they are loaded
    private: bool  # whether requests for other host names than this machine's are refused
    cors_origins: tuple[str, ...]  # ("*",), or the origins whose pages may call; empty: none but our own
    max_image_bytes: int
    request_timeout_s: float
    api_keys: ApiKeys | None = None  # None: nobody needs one
    rate_limit: str = ""  # of one caller, like "60/minute"; "" for none
    tracing: bool = False  # whether each request's trace is sent
    trusted_proxies: tuple[Network, ...] = ()  # whose X-Forwarded-* headers are believed
