"""Analysis -> JSON, and the one table error -> (code, HTTP status)."""

import json
from typing import Any

from flask import Response
from gunicorn.http.errors import ParseException
from werkzeug import exceptions as http

from services import errors
from services.pipeline import Analysis, Prediction
from services.web.access import HostNotAllowed
from services.web.callers import RateLimited, Unauthorized
from services.web.slow_clients import ReadTimeout

FRAMEWORK = "BLIP2 (Bootstrapping Language-Image Pre-training v2)"  # what the clients of old expect to read

# The first class in an error's own order of inheritance that stands here counts.
ERRORS: dict[type[BaseException], tuple[str, int]] = {
    errors.NoInput: ("no_input", 400),
    errors.ConflictingInput: ("conflicting_input", 400),
    errors.InvalidParameter: ("invalid_parameter", 400),
    errors.ModelNotConfigured: ("model_not_configured", 400),
    errors.BadRequest: ("bad_request", 400),
    errors.UrlNotAllowed: ("url_not_allowed", 400),
    errors.UrlUnreachable: ("url_unreachable", 400),
    errors.FileNotAllowed: ("file_not_allowed", 403),
    errors.FileMissing: ("file_not_found", 400),
    errors.UnsupportedFormat: ("unsupported_format", 415),
    errors.UnreadableImage: ("unreadable_image", 400),
    errors.TooLarge: ("too_large", 413),
    errors.NoCaption: ("no_caption", 422),
    errors.Overloaded: ("overloaded", 503),
    errors.ModelNotReady: ("model_not_ready", 503),
    errors.DeadlineExceeded: ("deadline_exceeded", 504),
    HostNotAllowed: ("host_not_allowed", 403),
    Unauthorized: ("unauthorized", 401),
    RateLimited: ("rate_limited", 429),
    http.NotFound: ("not_found", 404),
    http.MethodNotAllowed: ("method_not_allowed", 405),
    http.RequestEntityTooLarge: ("too_large", 413),
    http.BadRequest: ("bad_request", 400),
    ReadTimeout: ("request_timeout", 408),
    ParseException: ("bad_request", 400),  # a chunked body whose chunks are malformed, found while it is read
    Exception: ("internal_error", 500),
}


def code_and_status(exc: Exception) -> tuple[str, int]:
    return next(ERRORS[kind] for kind in type(exc).__mro__ if kind in ERRORS)


def as_json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json_bytes(body) + b"\n", status, mimetype="application/json")


def json_bytes(body: dict[str, Any]) -> bytes:
    """Keys in the order of `body`, emojis as themselves."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate, from a path that a client sent so, is no UTF-8; its Python escape is its JSON escape too.
    return text.encode("utf-8", "backslashreplace")


def analysis_body(service_name: str, analysis: Analysis, seconds: float) -> dict[str, Any]:
    model = analysis.model
    return {
        "service": service_name,
        "status": "success",
        "predictions": [_prediction(prediction) for prediction in analysis.predictions],
        "metadata": {
            "processing_time": round(seconds, 3),
            "model_info": {
                "framework": FRAMEWORK,
                "model": model.model,
                "device": model.device,
                "precision": model.precision,
                "engine": model.engine,
            },
            "emoji_map_version": analysis.emoji_map_version,
        },
    }


def error_body(service_name: str, code: str, message: str, seconds: float) -> dict[str, Any]:
    return {
        "service": service_name,
        "status": "error",
        "predictions": [],
        "error": {"code": code, "message": message},
        "metadata": {"processing_time": round(seconds, 3)},
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    confidence = prediction.caption.confidence
    return {
        "text": prediction.caption.text,
        "emoji_mappings": [{"emoji": pair.emoji, "word": pair.word} for pair in prediction.emoji_pairs],
        "confidence": None if confidence is None else round(confidence, 4),
    }
