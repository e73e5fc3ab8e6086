"""The Flask application: routes, and what every request and every answer has in common."""

import logging
import re
from threading import Event
from urllib.parse import quote

from flask import Flask, Response

from services.pipeline import Pipeline
from services.web.access import register_access
from services.web.analyze import analyze_routes
from services.web.body import MAX_FORM_PARTS, MAX_FORM_TEXT_BYTES
from services.web.callers import register_callers
from services.web.compat.doors import register_compat_doors
from services.web.docs_page import docs_routes
from services.web.doorway import Doorway
from services.web.failures import register_failures
from services.web.health import health_routes
from services.web.metrics import register_metrics
from services.web.models import ServedModels
from services.web.options import WebOptions
from services.web.page import page_routes
from services.web.proxies import TrustedProxies
from services.web.request import ApiRequest, current_request
from services.web.security_headers import SECURITY_HEADERS
from services.web.turns import Turns

logger = logging.getLogger(__name__)

MAX_LOGGED_PATH = 200  # characters; ours are shorter

Application = Flask


def create_app(options: WebOptions, pipeline: Pipeline) -> Application:
    """The application. Set its `extensions["drain"]`, a threading.Event, to have new requests refused."""
    app = Flask(__name__, static_folder=None)
    app.request_class = ApiRequest
    app.config["SERVICE_NAME"] = options.service_name
    app.config["MAX_CONTENT_LENGTH"] = _max_body_bytes(options.max_image_bytes)
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_FORM_TEXT_BYTES
    app.config["MAX_FORM_PARTS"] = MAX_FORM_PARTS
    # A path with one slash more is the same route, or none at all; a redirect would be an HTML page.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    drain = app.extensions["drain"] = Event()
    # what the worker calls on SIGTERM, and how long it then waits; whoever has more to stop puts its own here
    app.extensions["begin_drain"] = drain.set
    app.config["DRAIN_SECONDS"] = 0.0
    _register_common(app, drain)
    register_metrics(app, pipeline)
    if options.tracing:
        from services.web.traces import otlp_provider, register_traces  # of packages that are an extra

        register_traces(app, otlp_provider())
    register_access(app, options.private, options.cors_origins)
    register_callers(app, options.api_keys, options.rate_limit)
    doorway = app.extensions["doorway"] = Doorway(options, pipeline, ServedModels(options.models), drain)
    register_failures(app, options, shapes=register_compat_doors(app, doorway))
    app.register_blueprint(analyze_routes(doorway))
    app.register_blueprint(health_routes(options, pipeline, drain))
    if options.trusted_proxies:
        app.wsgi_app = TrustedProxies(app.wsgi_app, options.trusted_proxies)  # type: ignore[method-assign]
    app.register_blueprint(page_routes(options, pipeline))
    app.register_blueprint(docs_routes(options))
    turns = Turns(app.wsgi_app)
    app.extensions["loop_is_idle"] = turns.loop_is_idle
    app.wsgi_app = turns  # type: ignore[method-assign]
    return app


def _max_body_bytes(max_image_bytes: int) -> int:
    """Base64 is 4/3 of the image, and 3/2 with a line break, escaped in JSON, after every 76 characters."""
    return max_image_bytes * 3 // 2 + 64 * 1024  # and what surrounds it in JSON or a form


def _register_common(app: Flask, drain: Event) -> None:
    @app.after_request
    def finish(response: Response) -> Response:
        request = current_request()
        request.discard_rest()
        response.headers["X-Request-ID"] = request.id
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        if drain.is_set():
            response.headers["Connection"] = "close"
        logger.info(
            "%s %s %s %s %d %.0f ms %s",
            request.id,
            request.remote_addr,
            request.method,
            _for_the_log(request.path),
            response.status_code,
            request.seconds * 1000,
            request.outcome,
            extra={
                "fields": {
                    "remote": request.remote_addr,
                    "method": request.method,
                    "path": _for_the_log(request.path),
                    "status": response.status_code,
                    "seconds": round(request.seconds, 6),
                    "outcome": request.outcome,
                }
            },
        )
        return response


def _for_the_log(path: str) -> str:
    """A path without the secrets that may be in it: some clients append a URL, or a whole data: URI. The query,
    which may hold more of them, is not logged at all. Quoted, so that nobody can write log lines of his own.
    """
    shown = re.sub("(?is)//[^/]*@|data:.*", "***", path)
    return quote(shown[:MAX_LOGGED_PATH], safe="/*") + ("..." if len(shown) > MAX_LOGGED_PATH else "")
