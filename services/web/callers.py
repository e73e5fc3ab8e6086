"""Who calls, and how often: API keys, and the limit on requests."""

from flask import Flask

from services.errors import CaptioningError
from services.web.keys import ApiKeys
from services.web.rate_limit import RateLimit, of_address, of_key
from services.web.request import ApiRequest, current_request

_HEALTH = frozenset({"/health", "/ready", "/v2/health/live", "/v2/health/ready"})
# What a browser loads for the page at /; it can send no key with these. All of it comes with the service.
_PAGE = frozenset({"/", "/page/<name>", "/examples", "/examples/<name>"})
_DOCS = frozenset({"/docs", "/docs/<name>", "/openapi.json"})  # likewise: what the page at /docs is made of
# Without a key, and not counted: a browser asks for two dozen files of the page at once.
OPEN_ROUTES = _HEALTH | _PAGE | _DOCS


class Unauthorized(CaptioningError): ...


class RateLimited(CaptioningError): ...


def register_callers(app: Flask, keys: ApiKeys | None, rate_limit: str) -> None:
    """keys: None where nobody needs one. rate_limit: as in RATE_LIMIT; "" for none."""
    limit = RateLimit(rate_limit) if rate_limit else None

    @app.before_request
    def check_caller() -> None:
        request = current_request()
        if request.url_rule and request.url_rule.rule in OPEN_ROUTES:
            return
        sent = _keys_in(request)
        name = next((name for key in sent if keys and (name := keys.name_of(key))), None)
        # before the refusal, so that whoever tries keys is slowed down too
        if limit:
            retry_after_s = limit.hit(of_key(name) if name else of_address(request.remote_addr or ""))
            if retry_after_s is not None:
                text = f"Too many requests: {rate_limit} are allowed; try again in {retry_after_s} s"
                raise RateLimited(text, retry_after_s=retry_after_s)
        if keys and not name:
            what = "The API key is not one of this service's" if sent else "This service asks for an API key"
            raise Unauthorized(f"{what}: send `Authorization: Bearer KEY` or `X-API-Key: KEY`")


def _keys_in(request: ApiRequest) -> list[str]:
    """Either header may carry it, since a proxy may want the first for itself."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, request.headers.get("X-API-Key", "").strip()) if key]
