"""What all doors share: one pipeline with its limits and deadlines; only the shapes of their errors differ."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import Captioner, ReportProgress
from services.errors import CaptioningError
from services.web.compat.openai_chat import openai_error
from services.web.failures import Failure
from tests.fakes import FakeCaptioner, make_app, wait_for
from tests.web.answers import TEAL_BASE64, upload

DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"


def as_detail(code: str, status: int, message: str) -> tuple[int, Any]:
    return status, {"detail": message}


def as_error(code: str, status: int, message: str) -> tuple[int, Any]:
    return status, {"error": message}


def as_openai(code: str, status: int, message: str) -> tuple[int, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


def as_photoprism(code: str, status: int, message: str) -> tuple[int, Any]:
    status = 429 if code == "overloaded" else status
    return status, {"id": "my-id", "code": status, "error": message}


Shape = Callable[[str, int, str], tuple[int, Any]]
CONTENT = [{"type": "image_url", "image_url": {"url": DATA_URI}}]
NO_BODY = {"data": b"{".ljust(100_000), "content_type": "application/json"}  # a chat may hold a text alone
TENSOR = {"name": "img_url", "shape": [1], "datatype": "BYTES", "data": [DATA_URI]}
DOORS: list[tuple[str, dict[str, Any], Shape]] = [
    ("/caption-url/", {"json": {"img_url": DATA_URI}}, as_detail),
    ("/caption-file/", upload(field="img_file"), as_detail),
    ("/caption-base64/", {"json": {"base64_string": TEAL_BASE64}}, as_detail),
    ("/image2caption/blip", upload(field="image"), as_detail),
    ("/v2/models/blip/infer", {"json": {"inputs": [TENSOR]}}, as_error),
    ("/v1/chat/completions", {"json": {"messages": [{"role": "user", "content": CONTENT}]}}, as_openai),
    ("/api/v1/vision/caption", {"json": {"id": "my-id", "images": [DATA_URI]}}, as_photoprism),
    ("/api/v1/vision/labels", {"json": {"id": "my-id", "images": [DATA_URI]}}, as_photoprism),
]
every_door = pytest.mark.parametrize(("route", "request_args", "shape"), DOORS, ids=[door[0] for door in DOORS])


def asked(client: FlaskClient, route: str, request_args: dict[str, Any], **headers: str) -> tuple[int, Any]:
    response = client.post(route, headers={"X-Request-ID": "my-id", **headers}, **request_args)
    assert response.content_type == "application/json"
    assert response.headers["X-Request-ID"] == "my-id"
    return response.status_code, response.json


@every_door
def test_no_caption(route: str, request_args: dict[str, Any], shape: Shape) -> None:
    with make_app(FakeCaptioner(" ")) as app:
        answer = asked(app.test_client(), route, request_args)
    assert answer == shape("no_caption", 422, "The model gave no caption for this image")


@every_door
def test_a_fault_of_ours_is_not_shown(route: str, request_args: dict[str, Any], shape: Shape) -> None:
    with make_app(FakeCaptioner(error=RuntimeError("secret details"))) as app:
        answer = asked(app.test_client(), route, request_args)
    message = "This is a fault of the service; its log explains it under the request id my-id"
    assert answer == shape("internal_error", 500, message)


@every_door
def test_deadlines(route: str, request_args: dict[str, Any], shape: Shape) -> None:
    with make_app(FakeCaptioner(gate=threading.Event())) as app:
        client = app.test_client()
        late = asked(client, route, request_args, **{"X-Request-Timeout": "0.2"})
        wrong = asked(client, route, request_args, **{"X-Request-Timeout": "soon"})
    assert late == shape("deadline_exceeded", 504, "The request took longer than its 0.2 s")
    range_s = "X-Request-Timeout must be a number of seconds, above 0 and up to 60"
    assert wrong == shape("invalid_parameter", 400, range_s)


@pytest.mark.parametrize("sent", ["whole", "nothing"])
def test_overload_is_told_before_the_body_is_read(sent: str) -> None:
    captioner = FakeCaptioner(gate=threading.Event())
    with make_app(captioner, queue_capacity=1, max_batch=1) as app, ThreadPoolExecutor(2) as pool:
        admitted = [pool.submit(app.test_client().post, "/analyze", **upload()) for _ in range(2)]
        client = app.test_client()
        wait_for(lambda: bool(client.get("/ready").status_code == 503))
        for route, request_args, shape in DOORS:
            args = request_args if sent == "whole" else NO_BODY
            response = client.post(route, headers={"X-Request-ID": "my-id"}, **args)
            seconds = response.headers["Retry-After"]
            told = shape("overloaded", 503, f"All 1 places of the queue are taken; try again in {int(seconds)} s")
            assert (response.status_code, response.json) == told, route
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/models/blip/ready").status_code == 503
        assert client.get("/v2/models/blip").status_code == 200
        assert client.get("/v1/models").status_code == 200
        assert client.post("/encode-base64/", **upload(field="img_file")).status_code == 200
        assert captioner.gate
        captioner.gate.set()
        assert [answer.result().status_code for answer in admitted] == [200, 200]


@every_door
def test_while_the_model_loads(route: str, request_args: dict[str, Any], shape: Shape) -> None:
    may_load = threading.Event()

    def load(_: ReportProgress) -> Captioner:
        may_load.wait(10)
        return FakeCaptioner()

    with make_app(load=load, wait_until=None) as app:
        answer = asked(app.test_client(), route, request_args)
        may_load.set()
    assert answer == shape("model_not_ready", 503, "The model is still loading; see /health")


def test_while_the_service_stops() -> None:
    with make_app() as app:
        app.extensions["drain"].set()
        for route, request_args, shape in DOORS:
            answer = asked(app.test_client(), route, request_args)
            assert answer == shape("overloaded", 503, "The service is stopping"), route


def test_a_model_that_failed_to_load() -> None:
    def load(_: ReportProgress) -> Captioner:
        raise OSError("no weights")

    with make_app(load=load, wait_until=ModelStatus.FAILED) as app:
        response = app.test_client().get("/v2/models/blip/ready")
    assert (response.status_code, response.json) == (503, {"error": "The model could not be loaded: no weights"})


@every_door
@pytest.mark.parametrize("slash", ["", "/"])
def test_another_method(
    client: FlaskClient, route: str, request_args: dict[str, Any], shape: Shape, slash: str
) -> None:
    path = route.rstrip("/") + slash
    response = client.put(path, headers={"X-Request-ID": "my-id"})
    message = f"PUT is not allowed for {path}; allowed: OPTIONS, POST"
    assert (response.status_code, response.json) == shape("method_not_allowed", 405, message)
    assert response.headers["Allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(("route", "request_args", "shape"), [door for door in DOORS if DATA_URI in str(door)])
def test_private_urls_are_refused(route: str, request_args: dict[str, Any], shape: Shape) -> None:
    private = "http://127.0.0.1:9/a.png"
    args = {"json": _replaced(request_args["json"], private)}
    with make_app() as app:
        answer = asked(app.test_client(), route, args)
    message = "This URL is not allowed: only public http and https addresses are fetched"
    assert answer == shape("url_not_allowed", 400, message)


def _replaced(message: Any, url: str) -> Any:
    match message:
        case dict():
            return {name: _replaced(value, url) for name, value in message.items()}
        case list():
            return [_replaced(value, url) for value in message]
        case _:
            return url if message == DATA_URI else message


@every_door
def test_another_host_in_private(route: str, request_args: dict[str, Any], shape: Shape) -> None:
    with make_app(private=True) as app:
        answer = asked(app.test_client(), route, request_args, Host="attacker.example")
    message = "This service is private: it answers to localhost and 127.0.0.1 only"
    assert answer == shape("host_not_allowed", 403, message)


@every_door
def test_other_pages_may_call(client: FlaskClient, route: str, request_args: dict[str, Any], shape: Shape) -> None:
    response = client.options(route, headers={"Origin": "https://a.b", "Access-Control-Request-Method": "POST"})
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (204, "*")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_kinds_of_errors_of_openai(status: int, kind: str) -> None:
    body, told = openai_error(Failure(CaptioningError("why"), "some_code", status, "why"))
    assert (body["error"]["type"], told) == (kind, status)


def test_paths_that_are_no_route_have_the_common_envelope(client: FlaskClient) -> None:
    for path in (
        "/v1/nothing",
        "/image2caption",
        "/image2caption/",
        "/v2/models",
        "/v2/models/a/b",
        "/api/v1/vision/faces",
    ):
        response = client.post(path)
        assert response.json is not None
        assert (response.status_code, response.json["error"]["code"]) == (404, "not_found"), path
