"""How the service is: for people, for load balancers and for whoever restarts it."""

import time
from threading import Event
from typing import Any

from flask import Blueprint, Response, current_app

from services.pipeline import BatcherState, ModelStatus, Pipeline
from services.web.options import WebOptions
from services.web.responses import as_json

_STATUS = {ModelStatus.LOADING: "starting", ModelStatus.LOADED: "healthy", ModelStatus.FAILED: "unhealthy"}

_METHODS = {"GET", "POST"}  # the others come with these by themselves


def health_routes(options: WebOptions, pipeline: Pipeline, drain: Event) -> Blueprint:
    routes = Blueprint("health", __name__)
    started = time.monotonic()

    @routes.get("/health")
    def health() -> Response:
        state = pipeline.state
        emojis = pipeline.map_in_use
        body = {
            "status": _STATUS[state.status],
            **_model(state, options.model),
            "queue": {"depth": state.queue_depth, "capacity": state.queue_capacity},
            "emoji_map": {
                "source": emojis.emoji_map.source,
                "version": emojis.emoji_map.version,
                "sha256": emojis.emoji_map.sha256,
                "age_seconds": round(emojis.age_s, 3),  # since its source gave or confirmed it
                "last_error": emojis.last_error,
            },
            "uptime_seconds": round(time.monotonic() - started, 3),
        }
        return as_json(body, 503 if state.status is ModelStatus.FAILED else 200)

    @routes.get("/ready")
    @routes.get("/v2/health/ready")
    def ready() -> Response:
        reason = _why_not_ready(pipeline.state, stopping=drain.is_set())
        return as_json({"ready": False, "reason": reason}, 503) if reason else as_json({"ready": True})

    @routes.get("/v2/health/live")
    def live() -> Response:
        return as_json({"live": True})

    @routes.get("/")
    def index() -> Response:
        body = {"service": options.service_name, "status": _STATUS[pipeline.state.status], "routes": _routes()}
        return as_json(body)

    return routes


def _routes() -> list[str]:
    rules = current_app.url_map.iter_rules()
    return sorted(f"{rule.rule} {'|'.join(sorted(_METHODS & (rule.methods or set())))}" for rule in rules)


def _model(state: BatcherState, configured: str) -> dict[str, Any]:
    info, progress = state.info, state.progress
    model: dict[str, Any] = {
        "model_status": state.status.value,
        "model": info.model if info else configured,
        "device": info.device if info else None,
        "device_reason": info.device_reason if info else None,
        "precision": info.precision if info else None,
        "engine": info.engine if info else None,
    }
    if state.error:  # also while other devices work: it says why one of them does not
        model["error"] = state.error
    if state.status is ModelStatus.LOADING:
        model["load_progress"] = round(progress.fraction, 3) if progress else 0.0
        if progress and progress.total_bytes:
            model["load_bytes"] = progress.n_bytes
            model["load_total_bytes"] = progress.total_bytes
    return model


def _why_not_ready(state: BatcherState, stopping: bool) -> str:
    """Empty when a request would be admitted now."""
    if stopping:
        return "the service is stopping"
    if state.status is ModelStatus.LOADING:
        return "the model is loading"
    if state.status is ModelStatus.FAILED:
        return "the model could not be loaded"
    return "" if state.admitting else "the queue is full"
