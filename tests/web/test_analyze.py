import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import Captioner, ReportProgress
from tests.fakes import FakeCaptioner, bundled_map, colour_caption, make_app, picture, wait_for
from tests.images.servers import pictures, raw, sends
from tests.web.answers import analysis, body_of, colour_analysis, failure, multipart

TEAL = (0, 128, 128)
TEAL_PNG = picture(TEAL)
TEAL_BASE64 = base64.b64encode(TEAL_PNG).decode()
ROUTES = ("/analyze", "/v3/analyze", "/analyze/", "/v3/analyze/")

EXAMPLE = "a man in a military uniform handing flowers to a little girl"
EXAMPLE_ANSWER = """{
  "service": "blip2",
  "status": "success",
  "predictions": [{
    "text": "a man in a military uniform handing flowers to a little girl",
    "emoji_mappings": [{"emoji": "🧑", "word": "man"}, {"emoji": "👔", "word": "military_uniform"},
                       {"emoji": "✋", "word": "handing"}, {"emoji": "🌼", "word": "flowers"},
                       {"emoji": "👧", "word": "girl"}],
    "confidence": null
  }],
  "metadata": {
    "processing_time": 0,
    "model_info": {"framework": "BLIP2 (Bootstrapping Language-Image Pre-training v2)",
                   "model": "fake/colours", "device": "cpu", "precision": "fp32"},
    "emoji_map_version": "VERSION"
  }
}"""


def upload(data: bytes = TEAL_PNG, field: str = "file", name: str = "a.png") -> dict[str, Any]:
    return multipart((field, name, data))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder inside of which files may be named; beside it lies one that may not be."""
    root = tmp_path_factory.mktemp("served")
    folder = root / "images"
    folder.mkdir()
    (root / "secret.png").write_bytes(TEAL_PNG)
    (folder / "teal.png").write_bytes(TEAL_PNG)
    return folder


@pytest.fixture(scope="module")
def app(images: Path) -> Iterator[Flask]:
    with make_app(image_roots=[images], allow_private_urls=True) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The URL of a picture."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(TEAL_PNG)}\r\nConnection: close\r\n\r\n".encode()
    with raw(sends(head + TEAL_PNG)) as port:
        yield f"http://127.0.0.1:{port}/teal.png"


def test_the_example_of_the_contract_to_the_letter() -> None:
    with make_app(FakeCaptioner(EXAMPLE)) as app:
        response = app.test_client().post("/v3/analyze", **upload())
    text = response.get_data(as_text=True)
    assert "🧑" in text  # as itself, not escaped
    answer, expected = json.loads(text), json.loads(EXAMPLE_ANSWER.replace("VERSION", bundled_map().version))
    answer["metadata"]["processing_time"] = 0
    assert json.dumps(answer) == json.dumps(expected)  # the order of the keys too


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_query_url(client: FlaskClient, web: str, method: str, route: str) -> None:
    response = client.open(route, method=method, query_string={"url": web})
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_query_file(client: FlaskClient, images: Path, method: str, route: str) -> None:
    response = client.open(route, method=method, query_string={"file": str(images / "teal.png")})
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("field", ["file", "image", "img_file"])
@pytest.mark.parametrize("route", ROUTES)
def test_multipart_file(client: FlaskClient, route: str, field: str) -> None:
    response = client.post(route, **upload(field=field, name="no matter what.txt"))
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


def test_multipart_file_so_large_that_it_waits_on_disk(client: FlaskClient) -> None:
    large = picture(TEAL, size=(600, 400), file_format="BMP")
    assert len(large) > 512_000
    response = client.post("/analyze", **upload(large))
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "json"])
@pytest.mark.parametrize("name", ["url", "file"])
def test_form_and_json_name_urls_and_files(
    client: FlaskClient, web: str, images: Path, name: str, as_form: bool
) -> None:
    values = {name: web if name == "url" else str(images / "teal.png")}
    response = client.post("/v3/analyze", **({"data": values} if as_form else {"json": values}))
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize("image", [TEAL_BASE64, f"data:image/png;base64,{TEAL_BASE64}"], ids=["bare", "data URI"])
def test_json_image(client: FlaskClient, image: str) -> None:
    response = client.post("/v3/analyze", json={"image": image})
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "image/jpeg", "application/octet-stream", None, "application/x-www-form-urlencoded"],
    ids=["its own", "another", "bytes", "none", "what curl says"],
)
def test_raw_body(client: FlaskClient, content_type: str | None) -> None:
    response = client.post("/v3/analyze", data=TEAL_PNG, content_type=content_type)
    assert (response.status_code, body_of(response)) == (200, colour_analysis(TEAL))


def test_the_routes_of_version_2(client: FlaskClient, web: str, images: Path) -> None:
    by_url = client.get("/v2/analyze", query_string={"image_url": web})
    by_file = client.get("/v2/analyze_file", query_string={"file_path": str(images / "teal.png")})
    assert (by_url.status_code, body_of(by_url)) == (200, colour_analysis(TEAL))
    assert (by_file.status_code, body_of(by_file)) == (200, colour_analysis(TEAL))


def test_all_five_formats(client: FlaskClient) -> None:
    for file_format in ("PNG", "GIF", "BMP", "JPEG", "WEBP"):
        response = client.post("/analyze", **upload(picture((255, 255, 255), file_format=file_format)))
        assert (response.status_code, body_of(response)) == (200, colour_analysis((255, 255, 255)))


def test_the_model_may_be_named_when_it_is_the_one_that_is_served(client: FlaskClient) -> None:
    by_query = client.post("/analyze", query_string={"model": "fake/colours"}, **upload())
    by_form = client.post(
        "/analyze", **multipart(("model", None, b"fake/colours"), ("file", "a.png", TEAL_PNG))
    )
    by_json = client.post("/analyze", json={"model": "fake/colours", "image": TEAL_BASE64})
    assert [response.status_code for response in (by_query, by_form, by_json)] == [200, 200, 200]


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
            "X-Request-Timeout must be a number of seconds, above 0 and up to 10",
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


def test_a_file_beside_the_allowed_folder(client: FlaskClient, images: Path) -> None:
    response = client.get("/v2/analyze_file", query_string={"file_path": f"{images}/../secret.png"})
    assert (response.status_code, body_of(response)) == (
        403,
        failure(
            "file_not_allowed", "This file is not allowed: only files inside the server's image folders are read"
        ),
    )


def test_url_unreachable(client: FlaskClient) -> None:
    with pictures() as port:
        response = client.get("/analyze", query_string={"url": f"http://127.0.0.1:{port}/missing"})
    assert (response.status_code, body_of(response)) == (
        400,
        failure("url_unreachable", "Failed to download image: the server answered 404"),
    )


def test_private_urls_are_refused_by_default(web: str) -> None:
    with make_app() as app:
        response = app.test_client().get("/analyze", query_string={"url": web})
    assert (response.status_code, body_of(response)) == (
        400,
        failure("url_not_allowed", "This URL is not allowed: only public http and https addresses are fetched"),
    )


@pytest.mark.parametrize(
    ("route", "name"), [("/v2/analyze", "image_url"), ("/v2/analyze_file", "file_path")]
)
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


def test_64_pictures_at_once_get_each_its_own_caption() -> None:
    colours = [(4 * n, 255 - 4 * n, n) for n in range(64)]
    start = threading.Barrier(len(colours))
    captioner = FakeCaptioner()

    def ask(colour: tuple[int, int, int]) -> dict[str, Any]:
        client = app.test_client()
        start.wait()
        return body_of(client.post("/analyze", **upload(picture(colour))))

    with make_app(captioner) as app, ThreadPoolExecutor(len(colours)) as pool:
        answers = list(pool.map(ask, colours))
    assert answers == [analysis(colour_caption(colour)) for colour in colours]
    assert sum(captioner.batch_sizes) == len(colours)


def test_a_burst_over_the_capacity_is_refused_and_the_admitted_are_answered() -> None:
    captioner = FakeCaptioner(gate=threading.Event())
    with make_app(captioner, queue_capacity=2) as app, ThreadPoolExecutor(3) as pool:
        admitted = [pool.submit(app.test_client().post, "/analyze", **upload()) for _ in range(3)]
        health = app.test_client()
        wait_for(lambda: bool(health.get("/ready").status_code == 503))
        refused = app.test_client().post("/analyze", **upload())
        assert captioner.gate
        captioner.gate.set()
        assert [answer.result().status_code for answer in admitted] == [200, 200, 200]
        assert health.get("/ready").status_code == 200
    seconds = refused.headers["Retry-After"]
    assert int(seconds) >= 1
    assert (refused.status_code, body_of(refused)) == (
        503,
        failure("overloaded", f"All 2 places of the queue are taken; try again in {seconds} s"),
    )


@pytest.mark.parametrize(
    ("header", "setting", "told"), [("0.2", 10.0, "0.2"), ("60", 0.3, "0.3"), (None, 0.2, "0.2")]
)
def test_the_deadline_is_the_shorter_of_the_header_and_the_setting(
    header: str | None, setting: float, told: str
) -> None:
    headers = {"X-Request-Timeout": header} if header else {}
    with make_app(FakeCaptioner(gate=threading.Event()), request_timeout_s=setting) as app:
        response = app.test_client().post("/analyze", headers=headers, **upload())
    assert (response.status_code, body_of(response)) == (
        504,
        failure("deadline_exceeded", f"The request took longer than its {told} s"),
    )


def test_a_captioner_that_raises_fails_its_own_request_only() -> None:
    captioner = FakeCaptioner(error=RuntimeError("secret details"))
    with make_app(captioner) as app:
        client = app.test_client()
        broken = client.post("/analyze", headers={"X-Request-ID": "my-id"}, **upload())
        captioner.error = None
        assert body_of(client.post("/analyze", **upload())) == colour_analysis(TEAL)
    assert (broken.status_code, body_of(broken)) == (
        500,
        failure(
            "internal_error", "This is a fault of the service; its log explains it under the request id my-id"
        ),
    )


def test_while_the_model_loads() -> None:
    may_load = threading.Event()

    def load(_: ReportProgress) -> Captioner:
        may_load.wait(10)
        return FakeCaptioner()

    with make_app(load=load, wait_until=None) as app:
        response = app.test_client().post("/analyze", **upload())
        may_load.set()
    assert response.headers["Retry-After"] == "5"
    assert (response.status_code, body_of(response)) == (
        503,
        failure("model_not_ready", "The model is still loading; see /health"),
    )


def test_after_the_model_failed_to_load() -> None:
    def load(_: ReportProgress) -> Captioner:
        raise OSError("no weights at https://example.org/w.pth")

    with make_app(load=load, wait_until=ModelStatus.FAILED) as app:
        response = app.test_client().post("/analyze", **upload())
    assert "Retry-After" not in response.headers
    assert (response.status_code, body_of(response)) == (
        503,
        failure(
            "model_not_ready", "The model could not be loaded: no weights at https://example.org/w.pth"
        ),
    )


def test_new_requests_are_refused_while_the_service_stops(app: Flask) -> None:
    app.extensions["drain"].set()
    try:
        responses = [
            app.test_client().open(route, method=method)
            for route, method in [("/analyze", "POST"), ("/v3/analyze", "GET"), ("/v2/analyze", "GET")]
        ]
    finally:
        app.extensions["drain"].clear()
    for response in responses:
        assert (response.headers["Retry-After"], response.headers["Connection"]) == ("5", "close")
        assert (response.status_code, body_of(response)) == (
            503,
            failure("overloaded", "The service is stopping"),
        )
