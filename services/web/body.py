"""The body of a request, in any of the forms that carry an image -> its texts and its pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from services.errors import BadRequest, InvalidParameter, TooLarge
from services.web.base64_text import decode_base64
from services.web.decoding import OPTION_FIELDS
from services.web.request import ApiRequest

UPLOAD_FIELDS = ("file", "image", "img_file")
RAW_BODY = "a raw body"
MAX_FORM_TEXT_BYTES = 500_000
MAX_FORM_PARTS = 100
MAX_JSON_SIGNS = 100_000
TEXT_FIELDS = ("url", "file", "model")

_TYPES_THAT_CARRY = "image/*, application/octet-stream, multipart/form-data or application/json"


@dataclass(frozen=True)
class Body:
    texts: Sequence[tuple[str, str]] = ()  # name, value
    options: Sequence[tuple[str, Any]] = ()  # name, value: how to caption it
    pictures: Sequence[tuple[str, bytes]] = field(default=(), repr=False)  # what to call it, its bytes
    has_unselected_file: bool = False  # a file field of a form in which nobody chose a file


def read_body(request: ApiRequest, max_image_bytes: int) -> Body:
    """Raises BadRequest, InvalidParameter, TooLarge, and werkzeug's RequestEntityTooLarge.

    Of an uploaded file at most one byte more than `max_image_bytes` is taken, so that its size shows.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        return _multipart(request, max_image_bytes)
    content = _whole(request)
    if kind == "application/x-www-form-urlencoded":
        return _form(request, content)
    if request.is_json:
        return _json(content)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return Body(pictures=[(RAW_BODY, content)])
    if not content:
        return Body()
    if not kind:  # bytes without a type are just bytes (RFC 9110, 8.3)
        return Body(pictures=[(RAW_BODY, content)])
    raise BadRequest(f"Content-Type {kind} cannot carry an image here; send {_TYPES_THAT_CARRY}")


def read_json(request: ApiRequest) -> dict[str, Any]:
    """The JSON object that a body is, whatever its Content-Type says; {} for an empty one.

    Raises BadRequest, TooLarge and werkzeug's RequestEntityTooLarge.
    """
    return _object(_whole(request))


def read_upload(request: ApiRequest, field: str, max_image_bytes: int) -> bytes | None:
    """The file in a field of a multipart form; None where there is none. One byte more than allowed is taken.

    Raises BadRequest, TooLarge and werkzeug's RequestEntityTooLarge.
    """
    if request.mimetype != "multipart/form-data":
        return None
    _, files = _parts(request)
    file = files.get(field)
    return file.stream.read(max_image_bytes + 1) if file and file.filename else None


def _whole(request: ApiRequest) -> bytes:
    is_form = request.mimetype == "application/x-www-form-urlencoded"  # which werkzeug reads once more
    content = request.get_data(cache=is_form)
    if request.content_length is not None and len(content) < request.content_length:
        raise BadRequest(f"The body ended early: {len(content)} of {request.content_length} bytes came")
    # Of a chunked body over the limit, werkzeug gives just what fits; only the next read says that it is over.
    request.stream.read(1)
    return content


def _parts(request: ApiRequest) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
    try:
        return request.form, request.files
    except ValueError:
        raise BadRequest("The multipart body is malformed or incomplete") from None


def _multipart(request: ApiRequest, max_image_bytes: int) -> Body:
    form, files = _parts(request)
    uploads: list[FileStorage] = [file for name in UPLOAD_FIELDS for file in files.getlist(name)]
    chosen = [file for file in uploads if file.filename]
    return Body(
        texts=[(name, text) for name in TEXT_FIELDS for text in form.getlist(name)],
        options=[(name, text) for name in OPTION_FIELDS for text in form.getlist(name)],
        pictures=[("an uploaded file", file.stream.read(max_image_bytes + 1)) for file in chosen],
        has_unselected_file=len(chosen) < len(uploads),
    )


def _form(request: ApiRequest, content: bytes) -> Body:
    try:
        content.decode()
    except UnicodeDecodeError:
        # No form, but a picture: `curl --data-binary` says "form" for whatever it sends.
        return Body(pictures=[(RAW_BODY, content)])
    # werkzeug heeds its own limits in multipart forms alone
    if len(content) > MAX_FORM_TEXT_BYTES or content.count(b"&") >= MAX_FORM_PARTS:
        raise RequestEntityTooLarge
    return Body(
        texts=[(name, text) for name in TEXT_FIELDS for text in request.form.getlist(name)],
        options=[(name, text) for name in OPTION_FIELDS for text in request.form.getlist(name)],
    )


def _object(content: bytes) -> dict[str, Any]:
    if not content.strip():
        return {}
    # a picture in base64 holds none of these; of each, a few bytes become an object of many
    if sum(content.count(sign) for sign in (b"{", b"[", b",")) > MAX_JSON_SIGNS:
        raise TooLarge(f"The JSON body has more than {MAX_JSON_SIGNS:,} values: send one picture")
    try:
        message = json.loads(content)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON") from None
    if not isinstance(message, dict):
        raise BadRequest('The JSON body must be an object, such as {"url": "https://…"}')
    return message


def _json(content: bytes) -> Body:
    message = _object(content)
    image = text_in(message, "image")
    return Body(
        texts=[(name, text_in(message, name)) for name in TEXT_FIELDS],
        options=[(name, message[name]) for name in OPTION_FIELDS if name in message],
        pictures=[("a JSON image", decode_base64(image, "image"))] if image else (),
    )


def text_in(message: dict[str, Any], name: str) -> str:
    """The string under `name`; "" when there is none, or null."""
    value = message.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidParameter(f"{name} must be a string")
    return value
