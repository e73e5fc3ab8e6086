"""Whatever goes wrong, on every route -> the envelope of errors, or a door's own shape for them; always JSON."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, current_app
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from services.errors import CaptioningError
from services.web.body import MAX_FORM_PARTS, MAX_FORM_TEXT_BYTES
from services.web.callers import Unauthorized
from services.web.options import WebOptions
from services.web.request import ApiRequest, current_request
from services.web.responses import as_json, code_and_status, error_body
from services.web.slow_clients import ReadTimeout

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    error: Exception
    code: str
    status: int
    message: str  # for the person who sent the request


# A door's own way to tell a failure: the body, and the HTTP status that its clients expect.
ErrorShape = Callable[[Failure], tuple[dict[str, Any], int]]


def register_failures(app: Flask, options: WebOptions, shapes: Mapping[str, ErrorShape]) -> None:
    """shapes: name of a blueprint -> the shape of its errors; the others have the common envelope."""

    @app.errorhandler(Exception)
    def answer(exc: Exception) -> Response:
        request = current_request()
        request.outcome, status = code_and_status(exc)
        if status == 500:
            # Flask hands over what an error handler or hook of ours raised inside of an InternalServerError.
            cause = getattr(exc, "original_exception", None) or exc
            logger.error("request %s failed", request.id, exc_info=cause)
        message = _message(exc, request, options.max_image_bytes)
        shape = shapes.get(_blueprint(request))
        if shape:
            body, status = shape(Failure(exc, request.outcome, status, message))
        else:
            body = error_body(options.service_name, request.outcome, message, request.seconds)
        response = as_json(body, status)
        if isinstance(exc, CaptioningError) and exc.retry_after_s is not None:
            response.headers["Retry-After"] = str(exc.retry_after_s)
        if isinstance(exc, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(_methods(exc))
        if isinstance(exc, Unauthorized):
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def _blueprint(request: ApiRequest) -> str:
    """The name of the one whose route was meant; "" for a path that is no route."""
    wrong = request.routing_exception
    if isinstance(wrong, MethodNotAllowed):  # Flask has found no route then, but the path has one
        routes, methods = current_app.create_url_adapter(request), _methods(wrong)
        if routes and methods:
            endpoint: str = routes.match(method=methods[0])[0]
            return endpoint.partition(".")[0]
    return request.blueprint or ""


def _message(exc: Exception, request: ApiRequest, max_image_bytes: int) -> str:
    match exc:
        case CaptioningError():
            text = exc.message
        case NotFound():
            text = f"There is no {request.path} here; {request.root_path}/ lists what there is"
        case MethodNotAllowed():
            text = f"{request.method} is not allowed for {request.path}; allowed: {', '.join(_methods(exc))}"
        case RequestEntityTooLarge():
            text = (
                f"The request is too large: an image may have {max_image_bytes:,} bytes, "
                f"a form {MAX_FORM_PARTS:,} parts and {MAX_FORM_TEXT_BYTES:,} bytes of text"
            )
        case HTTPException() if exc.code == 400:
            text = "The request is malformed or incomplete"
        case ReadTimeout():
            text = str(exc)
        case ParseException():
            text = "The body of the request is not valid HTTP"
        case _:
            text = f"This is a fault of the service; its log explains it under the request id {request.id}"
    return text


def _methods(exc: MethodNotAllowed) -> list[str]:
    return sorted(exc.valid_methods or ())
