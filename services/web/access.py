"""Who may ask: web pages of other origins (CORS), and with PRIVATE only requests for this machine's own names."""

import re
from collections.abc import Sequence

from flask import Flask, Response

from services.errors import CaptioningError
from services.web.request import current_request

_THIS_MACHINE = re.compile(r"(localhost\.?|127\.0\.0\.1|\[::1\])(:[0-9]{0,5})?", re.IGNORECASE)

AS_IT_CAME = "werkzeug.proxy_fix.orig"  # in the environ: what a trusted proxy's word has replaced

_REQUEST_HEADERS = "Authorization, Content-Type, X-API-Key, X-Request-ID, X-Request-Timeout"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9-]{1,64}( *, *[A-Za-z0-9-]{1,64}){0,30}")
_READABLE_HEADERS = "Retry-After, X-Request-ID"
_PREFLIGHT_GOOD_FOR_S = 3600


class HostNotAllowed(CaptioningError):
    def __init__(self) -> None:
        super().__init__("This service is private: it answers to localhost and 127.0.0.1 only")


def register_access(app: Flask, private: bool, cors_origins: Sequence[str]) -> None:
    @app.before_request
    def check_host() -> None:
        # A page of an attacker's whose host name is made to point here (DNS rebinding) still sends that name. It
        # can send X-Forwarded-Host too, so what counts is Host as it came.
        environ = current_request().environ
        if private and not _THIS_MACHINE.fullmatch(environ.get(AS_IT_CAME, environ).get("HTTP_HOST") or ""):
            raise HostNotAllowed

    @app.before_request
    def answer_options() -> Response | None:
        request = current_request()
        if request.method != "OPTIONS" or request.routing_exception:
            return None
        methods = ", ".join(sorted(request.url_rule.methods or ())) if request.url_rule else ""
        answer = Response(status=204, headers={"Allow": methods})
        del answer.headers["Content-Type"]
        if cors_origins and "Access-Control-Request-Method" in request.headers:
            answer.headers["Access-Control-Allow-Methods"] = methods
            # whatever the page wants to send: clients in browsers add headers that change nothing here
            wanted = request.headers.get("Access-Control-Request-Headers", "")
            allowed = wanted if _HEADER_NAMES.fullmatch(wanted) else _REQUEST_HEADERS
            answer.headers["Access-Control-Allow-Headers"] = allowed
            answer.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_GOOD_FOR_S)
        return answer

    @app.after_request
    def allow_origin(response: Response) -> Response:
        allowed = _allowed_origin(current_request().headers.get("Origin", ""), cors_origins)
        if allowed:
            response.headers["Access-Control-Allow-Origin"] = allowed
            response.headers["Access-Control-Expose-Headers"] = _READABLE_HEADERS
        if cors_origins and "*" not in cors_origins:
            response.vary.add("Origin")
        return response


def _allowed_origin(origin: str, cors_origins: Sequence[str]) -> str:
    """The value of Access-Control-Allow-Origin; "" for none."""
    if "*" in cors_origins:
        return "*"
    return origin if origin in cors_origins else ""
