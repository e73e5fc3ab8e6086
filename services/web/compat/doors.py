"""The doors that speak as other captioning services do, so that their clients need only another host name."""

from collections.abc import Callable

from flask import Blueprint, Flask

from services.web.compat.alt_text import alt_text_routes
from services.web.compat.fastapi_errors import fastapi_error
from services.web.compat.image2caption import image2caption_error, image2caption_routes
from services.web.compat.inference_v2 import inference_error, inference_routes
from services.web.compat.openai_chat import openai_error, openai_routes
from services.web.compat.photoprism import photoprism_error, photoprism_routes
from services.web.doorway import Doorway
from services.web.failures import ErrorShape

DOORS: tuple[tuple[Callable[[Doorway], Blueprint], ErrorShape], ...] = (
    (alt_text_routes, fastapi_error),
    (image2caption_routes, image2caption_error),
    (inference_routes, inference_error),
    (openai_routes, openai_error),
    (photoprism_routes, photoprism_error),
)


def register_compat_doors(app: Flask, doorway: Doorway) -> dict[str, ErrorShape]:
    """Adds their routes; returns the name of each blueprint -> the shape of its errors."""
    shapes: dict[str, ErrorShape] = {}
    for make_routes, shape in DOORS:
        routes = make_routes(doorway)
        app.register_blueprint(routes)
        shapes[routes.name] = shape
    return shapes
