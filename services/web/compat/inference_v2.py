"""The Open Inference Protocol, version 2 (KServe, Triton), with the names of tensors that Inferless gives.

Tensors in: `img_url`, a URL or a data: URI; `text`, what the caption continues (optional). Out: the caption,
as `generated_output`.
"""

from typing import Any

from flask import Blueprint, Response

from services.errors import BadRequest, ConflictingInput, InvalidParameter, NoInput
from services.web.body import read_json
from services.web.decoding import read_decoding
from services.web.doorway import Doorway
from services.web.failures import Failure
from services.web.inputs import picture_at
from services.web.models import ServedModel
from services.web.request import current_request
from services.web.responses import as_json

IMAGE, PROMPT, CAPTION = "img_url", "text", "generated_output"
DATATYPES = ("BYTES", "STRING")
BINARY = "Inference-Header-Content-Length"  # of the protocol's extension for binary tensors


def inference_routes(doorway: Doorway) -> Blueprint:
    routes = Blueprint("inference_v2", __name__, url_prefix="/v2/models")

    @routes.get("/<model>")
    def metadata(model: str) -> Response:
        return as_json(_metadata(doorway.models.get(model)))

    @routes.get("/<model>/ready")
    def ready(model: str) -> Response:
        served = doorway.models.get(model)
        doorway.check_admitting(served)
        return as_json({"name": served.short_name, "ready": True})

    @routes.post("/<model>/infer")
    def infer(model: str) -> Response:
        served = doorway.models.get(model)
        doorway.check_admitting(served)
        request = current_request()
        if BINARY in request.headers:
            raise BadRequest("Binary tensors are not read here: send the data as JSON (binary_data=False)")
        message = read_json(request)
        image, prompt = _text_of(message, IMAGE), _text_of(message, PROMPT)
        if not image:
            raise NoInput(f'inputs must hold a tensor {{"name": "{IMAGE}", "data": ["https://…"], …}}')
        decoding = read_decoding([("prompt", prompt)], served.name)
        caption = doorway.caption(picture_at(image, IMAGE), decoding, served)
        return as_json(_answer(served, caption, message.get("id")))

    return routes


def inference_error(failure: Failure) -> tuple[dict[str, Any], int]:
    return {"error": failure.message}, failure.status


def _metadata(model: ServedModel) -> dict[str, Any]:
    def tensor(name: str) -> dict[str, Any]:
        return {"name": name, "datatype": "BYTES", "shape": [1]}

    return {
        "name": model.short_name,
        "versions": ["1"],
        "platform": "pytorch",
        "inputs": [tensor(IMAGE), tensor(PROMPT)],
        "outputs": [tensor(CAPTION)],
    }


def _answer(model: ServedModel, caption: str, sent_id: Any) -> dict[str, Any]:
    return {
        "model_name": model.short_name,
        **({"id": sent_id} if isinstance(sent_id, str) else {}),
        "outputs": [{"name": CAPTION, "shape": [1], "datatype": "BYTES", "data": [caption]}],
    }


def _text_of(message: dict[str, Any], name: str) -> str:
    """The one text of an input tensor; "" when there is no such tensor, or none of its own in it."""
    inputs = message.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(tensor, dict) for tensor in inputs):
        raise InvalidParameter('inputs must be a list of tensors: {"name", "shape", "datatype", "data"}')
    tensors = [tensor for tensor in inputs if tensor.get("name") == name]
    if not tensors:
        return ""
    if len(tensors) > 1:
        raise ConflictingInput(f"Cannot provide {name} more than once")
    if tensors[0].get("datatype") not in DATATYPES:
        raise InvalidParameter(f"{name}: datatype must be {' or '.join(DATATYPES)}")
    data = tensors[0].get("data")
    if not isinstance(data, list) or len(data) != 1 or not isinstance(data[0], str):
        raise InvalidParameter(f"{name}: data must be a list of one string")
    text: str = data[0]
    return text
