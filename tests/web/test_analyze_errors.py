"""Each error that an input can lead to: status and whole body."""

import base64
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeCaptioner, make_app, picture
from tests.images.servers import pictures
from tests.web.answers import TEAL_BASE64, TEAL_PNG, body_of, failure, upload

URL_NOT_ALLOWED = failure(
    "url_not_allowed", "This URL is not allowed: only public http and https addresses are fetched"
)
FILE_NOT_ALLOWED = failure(
    "file_not_allowed", "This file is not allowed: only files inside the server's image folders are read"
)


@pytest.mark.parametrize(
    ("request_args", "status", "code", "message"),
    [
        ({}, 400, "no_input", "Must provide either url or file parameter, or POST a file"),
        (upload(name=""), 400, "no_input", "No file selected"),
        (
            {"query_string": {"url": "http://a/b.png", "file": "/c.png"}},
            400,
            "conflicting_input",
            "Cannot provide both url and file parameters",
        ),
        (
            {"headers": {"X-Request-Timeout": "soon"}, **upload()},
            400,
            "invalid_parameter",
            "X-Request-Timeout must be a number of seconds, above 0 and up to 60",
        ),
        (
            {"query_string": {"model": "gpt"}, **upload()},
            400,
            "model_not_configured",
            "The model gpt is not served here, only fake/colours is",
        ),
        (
            {"json": {"model": "gpt", "image": TEAL_BASE64}},
            400,
            "model_not_configured",
            "The model gpt is not served here, only fake/colours is",
        ),
        (
            {"query_string": {"url": "ftp://example.org/a.png"}},
            400,
            "url_not_allowed",
            "This URL is not allowed: only public http and https addresses are fetched",
        ),
        (
            {"query_string": {"file": "/images/../etc/passwd"}},
            403,
            "file_not_allowed",
            "This file is not allowed: only files inside the server's image folders are read",
        ),
        (upload(b"just text"), 415, "unsupported_format", "File type not allowed"),
        (upload(b""), 400, "unreadable_image", "Failed to load image: the file is empty"),
        (
            upload(TEAL_PNG[:50]),
            400,
            "unreadable_image",
            "Failed to load image: the file is damaged or incomplete",
        ),
        (
            upload(picture(size=(1001, 1000))),
            413,
            "too_large",
            "The image has 1001 × 1000 pixels, more than the 1,000,000 that are allowed: send a smaller one",
        ),
        (
            upload(bytes(1_000_001)),
            413,
            "too_large",
            "The image file is larger than 1,000,000 bytes (0.954 MiB): send a smaller one",
        ),
        (
            {"json": {"image": base64.b64encode(bytes(1_000_001)).decode()}},
            413,
            "too_large",
            "The image file is larger than 1,000,000 bytes (0.954 MiB): send a smaller one",
        ),
        (
            {"data": bytes(2_000_000), "content_type": "image/png"},
            413,
            "too_large",
            "The request is too large: an image may have 1,000,000 bytes, "
            "a form 100 parts and 500,000 bytes of text",
        ),
        ({"data": "{", "content_type": "application/json"}, 400, "bad_request", "The body is not valid JSON"),
    ],
)
def test_errors(client: FlaskClient, request_args: dict[str, Any], status: int, code: str, message: str) -> None:
    response = client.post("/v3/analyze", **request_args)
    assert (response.status_code, body_of(response)) == (status, failure(code, message))


def test_file_not_found_names_the_path_as_it_was_sent(client: FlaskClient, images: Path) -> None:
    path = f"{images}/./missing.png"
    response = client.get("/analyze", query_string={"file": path})
    assert (response.status_code, body_of(response)) == (400, failure("file_not_found", f"File not found: {path}"))


@pytest.mark.parametrize("path", ["{}/../secret.png", "{}/../missing.png", "/etc/passwd"])
def test_a_file_outside_of_the_folders_whether_there_or_not(client: FlaskClient, images: Path, path: str) -> None:
    response = client.get("/v2/analyze_file", query_string={"file_path": path.format(images)})
    assert (response.status_code, body_of(response)) == (403, FILE_NOT_ALLOWED)


def test_file_input_that_is_switched_off() -> None:
    with make_app(image_roots=()) as app:
        response = app.test_client().get("/analyze", query_string={"file": "/etc/passwd"})
    assert (response.status_code, body_of(response)) == (
        403,
        failure("file_not_allowed", "Reading files of the server is switched off: send the image or a URL"),
    )


def test_url_unreachable(client: FlaskClient) -> None:
    with pictures() as port:
        response = client.get("/analyze", query_string={"url": f"http://127.0.0.1:{port}/missing"})
    assert (response.status_code, body_of(response)) == (
        400,
        failure("url_unreachable", "Failed to download image: the server answered 404"),
    )


def test_private_urls_are_refused_by_default() -> None:
    with pictures() as port, make_app() as app:
        response = app.test_client().get("/analyze", query_string={"url": f"http://127.0.0.1:{port}/picture"})
    assert (response.status_code, body_of(response)) == (400, URL_NOT_ALLOWED)


@pytest.mark.parametrize(("route", "name"), [("/v2/analyze", "image_url"), ("/v2/analyze_file", "file_path")])
def test_version_2_names_what_is_missing_or_too_much(client: FlaskClient, route: str, name: str) -> None:
    missing, twice = client.get(route), client.get(f"{route}?{name}=/a&{name}=/b")
    assert (missing.status_code, body_of(missing)) == (
        400,
        failure("no_input", f"Must provide the {name} parameter"),
    )
    assert (twice.status_code, body_of(twice)) == (
        400,
        failure("conflicting_input", f"Cannot provide {name} more than once"),
    )


@pytest.mark.parametrize("text", ["", "  "])
def test_no_caption(text: str) -> None:
    with make_app(FakeCaptioner(text)) as app:
        response = app.test_client().post("/analyze", **upload())
    assert (response.status_code, body_of(response)) == (
        422,
        failure("no_caption", "The model gave no caption for this image"),
    )
