"""Requests that upload, and what the service should answer: whole answers, to compare with."""

import base64
from collections.abc import Mapping
from typing import Any

from werkzeug.test import TestResponse

from tests.fakes import FAKE_INFO, Colour, bundled_map, colour_caption, picture

TEAL = (0, 128, 128)
TEAL_PNG = picture(TEAL)
TEAL_BASE64 = base64.b64encode(TEAL_PNG).decode()


def analysis(text: str, pairs: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A success without its processing_time. pairs: word -> emoji."""
    return {
        "service": "blip2",
        "status": "success",
        "predictions": [
            {
                "text": text,
                "emoji_mappings": [{"emoji": emoji, "word": word} for word, emoji in (pairs or {}).items()],
                "confidence": None,
            }
        ],
        "metadata": {
            "model_info": {
                "framework": "BLIP2 (Bootstrapping Language-Image Pre-training v2)",
                "model": FAKE_INFO.model,
                "device": "cpu",
                "precision": "fp32",
                "engine": "fake",
            },
            "emoji_map_version": bundled_map().version,
        },
    }


def colour_analysis(colour: Colour) -> dict[str, Any]:
    return analysis(colour_caption(colour))


def failure(code: str, message: str) -> dict[str, Any]:
    """An error without its processing_time."""
    return {
        "service": "blip2",
        "status": "error",
        "predictions": [],
        "error": {"code": code, "message": message},
        "metadata": {},
    }


def multipart(*parts: tuple[str, str | None, bytes]) -> dict[str, Any]:
    """The body of a form, as arguments of the test client. parts: field, file name (None for a text), content.

    Werkzeug's client would put large ones into a temporary file, and leave that open.
    """
    body = b""
    for field, name, content in parts:
        filename = f'; filename="{name}"' if name is not None else ""
        body += f'--limit\r\nContent-Disposition: form-data; name="{field}"{filename}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return {"data": body + b"--limit--\r\n", "content_type": "multipart/form-data; boundary=limit"}


def upload(data: bytes = TEAL_PNG, field: str = "file", name: str = "a.png") -> dict[str, Any]:
    """An upload as browsers and curl send it."""
    return multipart((field, name, data))


def body_of(response: TestResponse) -> dict[str, Any]:
    """The JSON answered, with its processing_time checked and taken out."""
    assert response.content_type == "application/json"
    assert response.json is not None
    body: dict[str, Any] = response.json
    seconds = body["metadata"].pop("processing_time")
    assert isinstance(seconds, float)
    assert seconds >= 0
    return body
