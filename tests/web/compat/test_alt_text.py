"""The Alt Text API: each route, in and out, as its clients know them."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.answers import TEAL_BASE64, TEAL_PNG, multipart, upload

CAPTION = "two dogs and a girl handing flowers"
DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"


@pytest.mark.parametrize("slash", ["/", ""])
def test_caption_url(client: FlaskClient, web: str, slash: str) -> None:
    response = client.post(f"/caption-url{slash}", json={"img_url": web})
    assert response.status_code == 200
    assert response.json == {"Img URL": web, "Caption": CAPTION, "close explicit": "yes"}


@pytest.mark.parametrize("slash", ["/", ""])
def test_caption_file(client: FlaskClient, slash: str) -> None:
    response = client.post(f"/caption-file{slash}", **upload(field="img_file"))
    assert (response.status_code, response.json) == (200, {"Caption": CAPTION, "close explicit": "yes"})


@pytest.mark.parametrize("text", [TEAL_BASE64, DATA_URI])
@pytest.mark.parametrize("slash", ["/", ""])
def test_caption_base64(client: FlaskClient, slash: str, text: str) -> None:
    response = client.post(f"/caption-base64{slash}", json={"base64_string": text})
    assert (response.status_code, response.json) == (200, {"Caption": CAPTION, "close explicit": "yes"})


@pytest.mark.parametrize("slash", ["/", ""])
def test_encode_base64(client: FlaskClient, slash: str) -> None:
    response = client.post(f"/encode-base64{slash}", **upload(field="img_file"))
    assert (response.status_code, response.json) == (200, {"Base64 String": TEAL_BASE64})


def missing(field: str) -> dict[str, Any]:
    return {"detail": [{"type": "missing", "loc": ["body", field], "msg": "Field required"}]}


@pytest.mark.parametrize(
    ("route", "field", "request_args"),
    [
        ("/caption-url/", "img_url", {"json": {}}),
        ("/caption-url/", "img_url", {"json": {"url": "http://a/b"}}),
        ("/caption-url/", "img_url", {}),
        ("/caption-base64/", "base64_string", {"json": {}}),
        ("/caption-file/", "img_file", {}),
        ("/caption-file/", "img_file", upload(field="file")),
        ("/caption-file/", "img_file", upload(field="img_file", name="")),
        ("/caption-file/", "img_file", multipart(("img_file", None, TEAL_PNG))),
        ("/caption-file/", "img_file", {"json": {"img_file": "a"}}),
        ("/encode-base64/", "img_file", {}),
    ],
)
def test_a_missing_field(client: FlaskClient, route: str, field: str, request_args: dict[str, Any]) -> None:
    response = client.post(route, **request_args)
    assert (response.status_code, response.json) == (422, missing(field))


@pytest.mark.parametrize("value", [None, 5, ["http://a/b"]])
def test_a_field_of_another_type(client: FlaskClient, value: Any) -> None:
    response = client.post("/caption-url/", json={"img_url": value})
    row = {"type": "string_type", "loc": ["body", "img_url"], "msg": "Input should be a valid string"}
    assert (response.status_code, response.json) == (422, {"detail": [row]})


TOO_LARGE = "The image file is larger than 1,000,000 bytes"


@pytest.mark.parametrize(
    ("route", "request_args", "status", "detail"),
    [
        ("/caption-url/", {"data": "{"}, 400, "The body is not valid JSON"),
        ("/caption-url/", {"json": {"img_url": "ftp://example.org/a"}}, 400, "This URL is not allowed: only"),
        ("/caption-base64/", {"json": {"base64_string": "!"}}, 400, "base64_string is not valid base64"),
        ("/caption-base64/", {"json": {"base64_string": ""}}, 400, "Failed to load image: the file is empty"),
        ("/caption-file/", upload(b"text", "img_file"), 415, "File type not allowed"),
        ("/caption-file/", upload(TEAL_PNG[:50], "img_file"), 400, "Failed to load image"),
        ("/caption-file/", upload(bytes(1_000_001), "img_file"), 413, TOO_LARGE),
        ("/encode-base64/", upload(bytes(1_000_001), "img_file"), 413, TOO_LARGE),
        ("/encode-base64/", upload(bytes(2_000_000), "img_file"), 413, "The request is too large"),
    ],
)
def test_other_errors(
    client: FlaskClient, route: str, request_args: dict[str, Any], status: int, detail: str
) -> None:
    response = client.post(route, **request_args)
    assert response.json is not None
    assert (response.status_code, list(response.json)) == (status, ["detail"])
    assert response.json["detail"].startswith(detail)
