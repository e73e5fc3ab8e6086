"""image2caption: the model in the path, the picture in a form, and nothing but the caption back."""

from typing import Any

from flask import Blueprint, Response

from services.errors import ModelNotConfigured
from services.pipeline import BytesSource
from services.web.compat.fastapi_errors import fastapi_error, required_upload
from services.web.doorway import Doorway
from services.web.failures import Failure
from services.web.models import DEFAULT_NAME
from services.web.request import current_request
from services.web.responses import as_json


def image2caption_routes(doorway: Doorway) -> Blueprint:
    routes = Blueprint("image2caption", __name__)

    @routes.post("/image2caption/<path:model>")
    def caption(model: str) -> Response:
        names = list(dict.fromkeys([DEFAULT_NAME, *(one.short_name for one in doorway.models)]))
        try:
            served = doorway.models.get(model.rstrip("/"))
        except ModelNotConfigured:
            raise ModelNotConfigured(f"Not supported model {model}, please choose from {names}") from None
        doorway.check_admitting(served)
        data = required_upload(current_request(), "image", doorway.options.max_image_bytes)
        return as_json({"caption": doorway.caption(BytesSource(data), model=served)})

    return routes


def image2caption_error(failure: Failure) -> tuple[dict[str, Any], int]:
    body, status = fastapi_error(failure)
    return body, 404 if isinstance(failure.error, ModelNotConfigured) else status
