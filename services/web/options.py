"""What the web layer needs to know of the settings, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WebOptions:
    service_name: str  # `service` in every answer
    model: str  # the one that is served, as in MODEL; known before it is loaded
    short_name: str  # of that model, without a slash
    private: bool  # whether requests for other host names than this machine's are refused
    cors_origins: tuple[str, ...]  # ("*",), or the origins whose pages may call; empty: none but our own
    max_image_bytes: int
    request_timeout_s: float
