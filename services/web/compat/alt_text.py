"""The Alt Text API: a caption for a URL, a file or base64, and base64 for a file."""

import base64

from flask import Blueprint, Response

from services.pipeline import BytesSource
from services.web.base64_text import decode_base64
from services.web.body import read_json
from services.web.compat.fastapi_errors import required_text, required_upload
from services.web.doorway import Doorway
from services.web.inputs import picture_at
from services.web.request import current_request
from services.web.responses import as_json

# Stands in every answer of that API, and never changes.
CLOSE = {"close explicit": "yes"}


def alt_text_routes(doorway: Doorway) -> Blueprint:
    routes = Blueprint("alt_text", __name__)
    most = doorway.options.max_image_bytes

    @routes.post("/caption-url")
    def caption_url() -> Response:
        doorway.check_admitting()
        url = required_text(read_json(current_request()), "img_url")
        return as_json({"Img URL": url, "Caption": doorway.caption(picture_at(url, "img_url")), **CLOSE})

    @routes.post("/caption-file")
    def caption_file() -> Response:
        doorway.check_admitting()
        data = required_upload(current_request(), "img_file", most)
        return as_json({"Caption": doorway.caption(BytesSource(data)), **CLOSE})

    @routes.post("/caption-base64")
    def caption_base64() -> Response:
        doorway.check_admitting()
        text = required_text(read_json(current_request()), "base64_string")
        data = decode_base64(text, "base64_string")
        return as_json({"Caption": doorway.caption(BytesSource(data)), **CLOSE})

    @routes.post("/encode-base64")
    def encode_base64() -> Response:
        data = required_upload(current_request(), "img_file", most)
        return as_json({"Base64 String": base64.b64encode(data).decode()})

    return routes
