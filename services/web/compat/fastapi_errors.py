"""Errors as FastAPI tells them: a `detail`, which is a list where a field of the body is missing or wrong."""

from typing import Any

from services.errors import InvalidParameter, TooLarge
from services.web.body import read_upload
from services.web.failures import Failure
from services.web.request import ApiRequest


class FieldError(InvalidParameter):
    """A field of the body is not as it must be: 422, with a row of FastAPI's for it."""

    def __init__(self, kind: str, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.row = {"type": kind, "loc": ["body", field], "msg": message}


def missing(field: str) -> FieldError:
    return FieldError("missing", field, "Field required")


def fastapi_error(failure: Failure) -> tuple[dict[str, Any], int]:
    if isinstance(failure.error, FieldError):
        return {"detail": [failure.error.row]}, 422
    return {"detail": failure.message}, failure.status


def required_text(message: dict[str, Any], field: str) -> str:
    """Raises FieldError."""
    if field not in message:
        raise missing(field)
    value = message[field]
    if not isinstance(value, str):
        raise FieldError("string_type", field, "Input should be a valid string")
    return value


def required_upload(request: ApiRequest, field: str, max_image_bytes: int) -> bytes:
    """The file in a field of a multipart form. Raises FieldError, TooLarge, and what `read_upload` raises."""
    data = read_upload(request, field, max_image_bytes)
    if data is None:
        raise missing(field)
    if len(data) > max_image_bytes:
        raise TooLarge(f"The image file is larger than {max_image_bytes:,} bytes: send a smaller one")
    return data
