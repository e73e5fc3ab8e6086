"""The vision service that PhotoPrism asks for captions and labels, as its Go client decodes the answers."""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, g

from services.errors import InvalidParameter, NoInput, Overloaded
from services.pipeline import Analysis, ImageSource
from services.web.body import read_json, text_in
from services.web.doorway import Doorway
from services.web.failures import Failure
from services.web.inputs import picture_at
from services.web.models import ServedModel
from services.web.request import current_request
from services.web.responses import as_json

MAX_IMAGES = 10  # it may send several crops of one photo
VERSION = "latest"  # the client's word for a model without versions
SOURCE = "image"  # the client's word for what was seen in the picture itself
LEAST = 0.0001  # the client takes 0 for "not given"
UNMEASURED = 0.8  # what the client itself assumes of a label without a confidence


def photoprism_routes(doorway: Doorway) -> Blueprint:
    routes = Blueprint("photoprism", __name__, url_prefix="/api/v1/vision")

    @routes.post("/caption", defaults={"name": "", "version": ""})
    @routes.post("/caption/<name>", defaults={"version": ""})
    @routes.post("/caption/<name>/<version>")
    def caption(name: str, version: str) -> Response:
        model, pictures = read(name)
        best = doorway.analyze(pictures[0], model=model).predictions[0].caption
        confidence = {} if best.confidence is None else {"confidence": round(best.confidence, 4)}
        return answer(model, {"caption": {"text": best.text, **confidence}})

    @routes.post("/labels", defaults={"name": "", "version": ""})
    @routes.post("/labels/<name>", defaults={"version": ""})
    @routes.post("/labels/<name>/<version>")
    def labels(name: str, version: str) -> Response:
        model, pictures = read(name)
        nouns = doorway.pipeline.map_in_use.emoji_map.nouns
        found: dict[str, float] = {}
        for picture in pictures:
            for noun, confidence in _labels(doorway.analyze(picture, model=model), nouns):
                found[noun] = max(confidence, found.get(noun, 0.0))
        return answer(model, {"labels": [_label(noun, confidence) for noun, confidence in found.items()]})

    def read(name: str) -> tuple[ServedModel, list[ImageSource]]:
        doorway.check_admitting()
        message = read_json(current_request())
        g.photoprism_id = text_in(message, "id")
        wanted = name or text_in(message, "model").partition(":")[0]  # it may send "name:version"
        return doorway.models.get(wanted), _pictures(message)

    return routes


def photoprism_error(failure: Failure) -> tuple[dict[str, Any], int]:
    # It tries again after a 429 alone.
    status = 429 if isinstance(failure.error, Overloaded) else failure.status
    return {"id": _request_id(), "code": status, "error": failure.message}, status


def answer(model: ServedModel, result: dict[str, Any]) -> Response:
    return as_json(
        {"id": _request_id(), "model": {"name": model.short_name, "version": VERSION}, "result": result}
    )


def _request_id() -> str:
    """The one in the body; ours, where there is none or the body was not read."""
    return g.get("photoprism_id") or current_request().id


def _pictures(message: dict[str, Any]) -> list[ImageSource]:
    images = message.get("images") or [url for url in [text_in(message, "url")] if url]
    if not images:
        raise NoInput("images must hold a data: URI or a URL of a picture")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise InvalidParameter("images must be a list of data: URIs or URLs")
    if len(images) > MAX_IMAGES:
        raise InvalidParameter(f"images must hold 1 to {MAX_IMAGES} pictures")
    return [picture_at(image, "images") for image in images]


def _labels(analysis: Analysis, nouns: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """(noun in the singular, its confidence) for the nouns of the caption that have an emoji."""
    prediction = analysis.predictions[0]
    confidence = prediction.caption.confidence
    for pair in prediction.emoji_pairs:
        noun = nouns.get(pair.word.replace("_", " "))
        if noun:
            yield noun, UNMEASURED if confidence is None else max(confidence, LEAST)


def _label(noun: str, confidence: float) -> dict[str, Any]:
    shown = round(confidence, 4)
    return {"name": noun, "source": SOURCE, "confidence": shown, "topicality": shown, "categories": []}
