"""How the service is: for people, for load balancers and for whoever restarts it."""

import time
from threading import Event
from typing import Any

from flask import Blueprint, Response

from services.pipeline import BatcherState, ModelState, ModelStatus, Pipeline
from services.web.options import WebOptions
from services.web.responses import as_json

UNHEALTHY = "unhealthy"


def health_routes(options: WebOptions, pipeline: Pipeline, drain: Event) -> Blueprint:
    routes = Blueprint("health", __name__)
    started = time.monotonic()

    @routes.get("/health")
    def health() -> Response:
        state = pipeline.state
        emojis = pipeline.map_in_use
        body = {
            "status": status_of(state),
            **_model(state),
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
        return as_json(body, 503 if body["status"] == UNHEALTHY else 200)

    @routes.get("/ready")
    @routes.get("/v2/health/ready")
    def ready() -> Response:
        reason = _why_not_ready(pipeline.state, stopping=drain.is_set())
        return as_json({"ready": False, "reason": reason}, 503) if reason else as_json({"ready": True})

    @routes.get("/v2/health/live")
    def live() -> Response:
        return as_json({"live": True})

    return routes


def status_of(state: BatcherState) -> str:
    """healthy, starting or unhealthy: whether the process can do its work, or will be able to."""
    model = _speaker(state)
    if model.status is ModelStatus.FAILED:
        return UNHEALTHY
    return "starting" if _is_starting(model) else "healthy"


def _speaker(state: BatcherState) -> ModelState:
    """Whose state is the service's: the default model's, or where that failed that of the next that did not."""
    return next((model for model in state.models.values() if model.status is not ModelStatus.FAILED), state)


def _is_starting(model: ModelState) -> bool:
    """Whether it is loading for the first time: what is loaded anew takes requests, which wait for it."""
    return model.status is ModelStatus.LOADING and not model.info


def _model(state: BatcherState) -> dict[str, Any]:
    info, progress = state.info, state.progress
    model: dict[str, Any] = {
        "model_status": state.status.value,
        "model": next(iter(state.models)),
        "device": info.device if info else None,
        "device_reason": info.device_reason if info else None,
        "precision": info.precision if info else None,
        "engine": info.engine if info else None,
    }
    if len(state.models) > 1:
        model["models"] = {name: one.status.value for name, one in state.models.items()}
    if error := _error(state):  # also while other devices or models work: it says why one does not
        model["error"] = error
    if any(one.status is ModelStatus.LOADING for one in state.models.values()):
        model["load_progress"] = round(progress.fraction, 3) if progress else 0.0
        if progress and progress.total_bytes:
            model["load_bytes"] = progress.n_bytes
            model["load_total_bytes"] = progress.total_bytes
    return model


def _error(state: BatcherState) -> str | None:
    if len(state.models) == 1:
        return state.error
    return "; ".join(f"{name}: {one.error}" for name, one in state.models.items() if one.error) or None


def _why_not_ready(state: BatcherState, stopping: bool) -> str:
    """Empty when a request would be admitted now: one that names no model, and so gets the default one."""
    if stopping:
        return "the service is stopping"
    if _is_starting(state):
        return "the model is loading"
    if state.status is ModelStatus.FAILED:
        return "the model could not be loaded"
    return "" if state.admitting else "the queue is full"
