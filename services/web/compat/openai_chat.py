"""OpenAI-style chat: the pictures of the last user message in, their captions as the assistant's message out."""

import time
from typing import Any

from flask import Blueprint, Response

from services.errors import InvalidParameter
from services.pipeline import ImageSource, can_answer
from services.web.body import read_json, text_in
from services.web.decoding import read_decoding
from services.web.doorway import Doorway
from services.web.failures import Failure
from services.web.inputs import picture_at
from services.web.request import current_request
from services.web.responses import as_json, json_bytes

MAX_IMAGES = 10  # one after another, within the time of one request
MOST_TEXT_BYTES = 64 * 1024  # a body that is larger is taken for one with pictures, until it is read
NO_IMAGE = (
    "This model captions pictures and answers nothing else. "
    "Send a picture as an image_url part of your message, and it says what the picture shows."
)
NO_IMAGE_TO_ASK_ABOUT = (
    "This model captions pictures and answers questions about them. "
    "Send a picture as an image_url part of your message, with your question as its text."
)
# Tokens are not counted here; clients want to read numbers.
USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def openai_routes(doorway: Doorway) -> Blueprint:
    routes = Blueprint("openai_chat", __name__, url_prefix="/v1")
    created = int(time.time())

    @routes.get("/models")
    def models() -> Response:
        owner = doorway.options.service_name
        rows = [
            {"id": model.short_name, "object": "model", "created": created, "owned_by": owner}
            for model in doorway.models
        ]
        return as_json({"object": "list", "data": rows})

    @routes.post("/chat/completions")
    def complete() -> Response:
        request = current_request()
        # what may hold a picture is refused before it is read; a text alone is answered even then
        if request.content_length is None or request.content_length > MOST_TEXT_BYTES:
            doorway.check_admitting()
        message = read_json(request)
        model = doorway.models.get(text_in(message, "model"))
        parts = _parts(message)
        answers = can_answer(model.name)
        question = _question(parts) if answers else ""  # a model that only captions ignores it
        decoding = read_decoding([("question", question)], model.name)
        pictures = _pictures(parts)
        if pictures:
            doorway.check_admitting(model)
        texts = [doorway.caption(picture, decoding, model) for picture in pictures]
        content = "\n".join(texts) or (NO_IMAGE_TO_ASK_ABOUT if answers else NO_IMAGE)
        answer = _stream if message.get("stream") is True else _whole
        return answer(model.short_name, content)

    return routes


def openai_error(failure: Failure) -> tuple[dict[str, Any], int]:
    kind = "server_error" if failure.status >= 500 else "invalid_request_error"
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(failure.status, kind)
    error = {"message": failure.message, "type": kind, "param": None, "code": failure.code}
    return {"error": error}, failure.status


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the last user message; none where it is a text alone. Raises InvalidParameter."""
    messages = message.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise InvalidParameter('messages must be a list of messages: {"role", "content"}')
    content = next((one.get("content") for one in reversed(messages) if one.get("role") == "user"), None)
    if content is None or isinstance(content, str):
        return []
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise InvalidParameter("messages: content must be a text or a list of parts")
    return content


def _question(parts: list[dict[str, Any]]) -> str:
    """All texts beside the pictures; "" for none."""
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str)).strip()


def _pictures(parts: list[dict[str, Any]]) -> list[ImageSource]:
    """In their order. Raises InvalidParameter and BadRequest."""
    images = [part.get("image_url") for part in parts if part.get("type") == "image_url"]
    if len(images) > MAX_IMAGES:
        raise InvalidParameter(f"messages: there may be 1 to {MAX_IMAGES} images in a message")
    return [picture_at(_url(image), "image_url") for image in images]


def _url(image: Any) -> str:
    url = image.get("url") if isinstance(image, dict) else image  # some clients leave the object out
    if not isinstance(url, str) or not url:
        raise InvalidParameter('messages: image_url must be an object: {"url": "https://… or data:…"}')
    return url


def _head(kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{current_request().id}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _whole(model: str, content: str) -> Response:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return as_json({**_head("chat.completion", model), "choices": [choice], "usage": USAGE})


def _stream(model: str, content: str) -> Response:
    """Server-sent events. The caption is made before the first one, so an error still has its HTTP status."""
    head = _head("chat.completion.chunk", model)
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": content}, None),
        ({}, "stop"),
    ]
    chunks = [
        json_bytes({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        for delta, reason in deltas
    ]
    events = b"".join(b"data: " + data + b"\n\n" for data in [*chunks, b"[DONE]"])
    return Response(events, mimetype="text/event-stream", headers={"Cache-Control": "no-cache"})
