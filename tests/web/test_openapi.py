"""/openapi.json: valid, of every route and of nothing else, and what the service answers is as it says."""

import base64
import copy
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from PIL import Image
from werkzeug.test import TestResponse

from services.captioning.captioner import ReportProgress
from services.pipeline import ModelStatus
from services.web.decoding import OPTION_FIELDS
from services.web.openapi import make_document, path_of
from services.web.openapi_examples import FILE, PICTURE
from tests.fakes import WAIT_S, FakeCaptioner, make_app, wait_for
from tests.images.servers import THIS_MACHINE
from tests.web.answers import TEAL_BASE64, multipart, upload
from tests.web.listening import ListeningCaptioner

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
URI = "data:image/png;base64," + TEAL_BASE64
NO_PICTURE = "data:image/png;base64,AAAA"


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    captioner = ListeningCaptioner("two dogs and a girl handing flowers")
    with make_app(captioner, image_roots=[EXAMPLES], url_policy=THIS_MACHINE) as app:
        yield app


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    body: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return body


def tightened(schema: Any) -> Any:
    """`schema` where an object may hold only the keys that are described: clients may be told of more some day,
    but none that are there today may be missing in the document."""
    match schema:
        case dict():
            tight = {key: tightened(value) for key, value in schema.items()}
            return tight | ({"additionalProperties": False} if "properties" in schema else {})
        case list():
            return [tightened(one) for one in schema]
        case _:
            return schema


def operation_of(document: dict[str, Any], app: Flask, method: str, path: str) -> dict[str, Any]:
    with app.test_request_context(path, method=method) as context:
        rule = context.request.url_rule
        assert rule is not None
        operation: dict[str, Any] = document["paths"][path_of(rule)][method.lower()]
        return operation


def check(document: dict[str, Any], app: Flask, method: str, path: str, response: TestResponse) -> None:
    """The status is documented, and with it the type, the headers and the body of this answer."""
    responses = operation_of(document, app, method, path)["responses"]
    assert str(response.status_code) in responses, (path, response.status_code, response.text)
    described = responses[str(response.status_code)]
    assert set(described["headers"]) >= {"X-Request-ID"} <= set(response.headers.keys())
    if "Retry-After" in response.headers:
        assert "Retry-After" in described["headers"]
    if not response.data:
        return
    media = described["content"][response.mimetype]
    if response.mimetype == "application/json":
        whole = {**media["schema"], "components": tightened(copy.deepcopy(document["components"]))}
        Draft202012Validator(whole).validate(response.get_json())


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_every_route_is_there_and_nothing_else(app: Flask, document: dict[str, Any]) -> None:
    routes = {
        (path_of(rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, item in document["paths"].items() for method in item} == routes


def test_every_option_is_there(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v3/analyze"]["get"]
    named = {one["name"] for one in operation["parameters"] if "name" in one}
    assert named == {"url", "file", "model", *OPTION_FIELDS}
    json_body = document["components"]["schemas"]["AnalyzeJson"]["properties"]
    assert set(json_body) == named | {"image"}


def test_it_works_under_a_prefix(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["."]


def test_keys_are_asked_for_where_they_are(app: Flask) -> None:
    asked = make_document(app.url_map, "blip2", needs_key=True)["paths"]
    free = make_document(app.url_map, "blip2", needs_key=False)["paths"]
    key: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
    assert asked["/v3/analyze"]["post"]["security"] == key
    assert free["/v3/analyze"]["post"]["security"] == [{}, *key]
    assert asked["/health"]["get"]["security"] == []
    assert "401" not in asked["/health"]["get"]["responses"]


# --- real answers ---

CHAT = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URI}}]}]}
TENSOR = {"name": "img_url", "shape": [1], "datatype": "BYTES", "data": [URI]}
GOOD: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("GET", "/", {"headers": {"Accept": "text/html"}}),
    ("GET", "/docs", {}),
    ("GET", "/docs/docs.js", {}),
    ("GET", "/docs/swagger-ui.css", {}),
    ("GET", "/docs/favicon-32x32.png", {}),
    ("GET", "/page/main.js", {}),
    ("GET", "/page/base.css", {}),
    ("GET", "/page/icon.svg", {}),
    ("GET", "/examples", {}),
    ("GET", f"/examples/{FILE}", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/health", {}),
    ("GET", "/ready", {}),
    ("GET", "/v2/health/ready", {}),
    ("GET", "/v2/health/live", {}),
    ("GET", "/metrics", {}),
    ("GET", f"/analyze?file={FILE}", {}),
    ("GET", f"/v3/analyze?file={FILE}&num_captions=3", {}),
    ("POST", "/analyze", {"json": {"image": TEAL_BASE64}}),
    ("POST", "/v3/analyze", upload()),
    ("GET", f"/v2/analyze_file?file_path={FILE}", {}),
    ("POST", "/caption-url", {"json": {"img_url": URI}}),
    ("POST", "/caption-file", upload(field="img_file")),
    ("POST", "/caption-base64", {"json": {"base64_string": TEAL_BASE64}}),
    ("POST", "/encode-base64", upload(field="img_file")),
    ("POST", "/image2caption/blip", upload(field="image")),
    ("GET", "/v2/models/blip", {}),
    ("GET", "/v2/models/blip/ready", {}),
    ("POST", "/v2/models/blip/infer", {"json": {"id": "7", "inputs": [TENSOR]}}),
    ("GET", "/v1/models", {}),
    ("POST", "/v1/chat/completions", {"json": CHAT}),
    ("POST", "/v1/chat/completions", {"json": {**CHAT, "stream": True}}),
    ("POST", "/api/v1/vision/caption", {"json": {"images": [URI]}}),
    ("POST", "/api/v1/vision/caption/blip", {"json": {"images": [URI]}}),
    ("POST", "/api/v1/vision/caption/blip/latest", {"json": {"images": [URI]}}),
    ("POST", "/api/v1/vision/labels", {"json": {"images": [URI]}}),
    ("POST", "/api/v1/vision/labels/blip", {"json": {"images": [URI]}}),
    ("POST", "/api/v1/vision/labels/blip/latest", {"json": {"images": [URI]}}),
]


@pytest.mark.parametrize(("method", "path", "sent"), GOOD)
def test_a_good_answer_is_as_described(
    app: Flask, client: FlaskClient, document: dict[str, Any], method: str, path: str, sent: dict[str, Any]
) -> None:
    response = client.open(path, method=method, **sent)
    assert response.status_code == 200, response.text
    check(document, app, method, path, response)


def test_the_list_above_has_every_operation(app: Flask, document: dict[str, Any]) -> None:
    operations = [operation_of(document, app, method, path)["operationId"] for method, path, _ in GOOD]
    every = {one["operationId"] for item in document["paths"].values() for one in item.values()}
    assert every - set(operations) == {"get_v2_analyze"}  # takes URLs alone; its errors are below


JSON_TEXT = {"data": "{", "content_type": "application/json"}
BAD: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/analyze", {}, 400),
    ("POST", "/analyze", JSON_TEXT, 400),
    ("GET", "/analyze?file=nowhere.png", {}, 400),
    ("GET", "/analyze?file=/etc/hostname", {}, 403),
    ("POST", "/analyze", {"data": bytes(2_000_000), "content_type": "image/png"}, 413),
    ("POST", "/analyze", {"data": b"text", "content_type": "image/png"}, 415),
    ("GET", "/v2/analyze?image_url=http://127.0.0.1:1/", {}, 400),
    ("GET", "/v2/analyze_file?file_path=/etc/hostname", {}, 403),
    ("POST", "/caption-url", {"json": {}}, 422),
    ("POST", "/caption-url", {"json": {"img_url": "ftp://a.b/"}}, 400),
    ("POST", "/caption-base64", {"json": {"base64_string": "AAAA"}}, 415),
    ("POST", "/caption-file", {}, 422),
    ("POST", "/encode-base64", multipart(("img_file", "a.png", bytes(1_000_001))), 413),
    ("POST", "/image2caption/gpt", {}, 404),
    ("POST", "/image2caption/blip", {}, 422),
    ("GET", "/v2/models/gpt", {}, 400),
    ("GET", "/v2/models/gpt/ready", {}, 400),
    ("POST", "/v2/models/blip/infer", {"json": {"inputs": []}}, 400),
    ("POST", "/v1/chat/completions", JSON_TEXT, 400),
    ("POST", "/api/v1/vision/caption", {"json": {"images": [NO_PICTURE]}}, 415),
    ("POST", "/api/v1/vision/labels", {"json": {}}, 400),
    ("GET", "/page/none", {}, 404),
    ("GET", "/docs/none", {}, 404),
    ("GET", "/examples/none", {}, 404),
]


@pytest.mark.parametrize(("method", "path", "sent", "status"), BAD)
def test_an_error_is_as_described(
    app: Flask,
    client: FlaskClient,
    document: dict[str, Any],
    method: str,
    path: str,
    sent: dict[str, Any],
    status: int,
) -> None:
    response = client.open(path, method=method, **sent)
    assert response.status_code == status, response.text
    check(document, app, method, path, response)


CAPTIONING = [(method, path, sent) for method, path, sent in GOOD if method == "POST" and "encode" not in path]


@pytest.mark.parametrize(("method", "path", "sent"), CAPTIONING)
def test_troubles_of_the_service_are_as_described(
    document: dict[str, Any], method: str, path: str, sent: dict[str, Any]
) -> None:
    """No caption, a fault, no time, and stopping: on every door in its own shape."""
    captioner = FakeCaptioner("")
    with make_app(captioner) as app:
        client = app.test_client()

        def tried(**more: Any) -> int:
            response = client.open(path, method=method, **{**sent, **more})
            check(document, app, method, path, response)
            return response.status_code

        assert tried() == 422
        captioner.error = RuntimeError("broken")
        assert tried() == 500
        captioner.error = None
        assert tried(headers={"X-Request-Timeout": "0.000000001"}) == 504
        app.extensions["drain"].set()
        assert tried() == (429 if "vision" in path else 503)


def test_a_service_that_loads_and_one_that_cannot_are_as_described(document: dict[str, Any]) -> None:
    going_on = threading.Event()

    def load(report: ReportProgress) -> FakeCaptioner:
        going_on.wait(WAIT_S)
        raise RuntimeError("no such checkpoint")

    with make_app(load=load, wait_until=None) as app:
        client = app.test_client()
        for status in (ModelStatus.LOADING, ModelStatus.FAILED):
            for path in ("/health", "/ready", "/v2/health/ready", "/v2/models/blip/ready"):
                check(document, app, "GET", path, client.get(path))
            assert client.get("/health").get_json()["model_status"] == status.value
            going_on.set()
            wait_for(lambda: client.get("/health").get_json()["model_status"] == "failed")


def test_foreign_hosts_are_as_described(document: dict[str, Any]) -> None:
    with make_app(private=True) as app:
        for method, path, _ in GOOD:
            response = app.test_client().open(path, method=method, headers={"Host": "example.org"})
            assert response.status_code == 403
            check(document, app, method, path, response)


def test_conditional_answers_are_as_described(app: Flask, client: FlaskClient, document: dict[str, Any]) -> None:
    for path in ("/docs", "/openapi.json", "/examples", f"/examples/{FILE}", "/page/main.js"):
        etag = client.get(path).headers["ETag"]
        for name, status in (("If-None-Match", 304), ("If-Match", 200)):
            response = client.get(path, headers={name: etag})
            assert response.status_code == status
            check(document, app, "GET", path, response)
        check(document, app, "GET", path, client.get(path, headers={"If-Match": '"other"'}))


# --- the examples in it ---


def test_the_examples_run(app: Flask, client: FlaskClient, document: dict[str, Any]) -> None:
    """Each as Swagger UI sends it."""
    n_run = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            real_path, query = path, {}
            for parameter in operation["parameters"]:
                if parameter.get("in") == "path":
                    named = "{" + parameter["name"] + "}"
                    real_path = real_path.replace(named, parameter.get("example", named))
                elif "example" in parameter:
                    query[parameter["name"]] = parameter["example"]
            if "image_url" in query or "{" in real_path:  # the web is not asked; files of pages have no example
                continue
            media = operation.get("requestBody", {}).get("content", {})
            for kind, one in media.items():
                for example in one.get("examples", {}).values():
                    key = "json" if kind == "application/json" else "data"
                    response = client.open(real_path, method=method, **{key: example["value"]})
                    assert response.status_code == 200, (real_path, response.text)
                    n_run += 1
            if method == "get":
                assert client.get(real_path, query_string=query).status_code == 200, real_path
                n_run += 1
    assert n_run > 20


def test_the_picture_in_it_is_the_example() -> None:
    """Small enough to be written down, and still the same scene."""
    small = Image.open(BytesIO(base64.b64decode(PICTURE))).convert("RGB")
    with Image.open(EXAMPLES / FILE) as file:
        large = file.convert("RGB").resize(small.size)
    differences = [abs(a - b) for a, b in zip(small.tobytes(), large.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 6
