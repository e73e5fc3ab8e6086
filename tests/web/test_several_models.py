"""Several models at every door: which one answers, what each is in, and what is said of the others."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import Captioner, LoadProgress, ReportProgress
from services.errors import BadRequest, DeadlineExceeded
from services.pipeline import BytesSource
from tests.fakes import FAKE_INFO, WAIT_S, FakeCaptioner, make_app, make_pipeline, wait_for
from tests.web.answers import TEAL_BASE64, TEAL_PNG, body_of, failure, multipart, upload

FIRST, SECOND = "a girl", "two dogs"
DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"
SOON_S = 0.05


class Second(FakeCaptioner):
    def __init__(self) -> None:
        super().__init__(SECOND)
        self.info = replace(FAKE_INFO, model="fake/second")


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    with make_app(FakeCaptioner(FIRST), others={"fake/second": Second()}) as app:
        wait_for(lambda: health_of(app)[1]["models"]["fake/second"] == "loaded")
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def health_of(app: Flask) -> tuple[int, dict[str, Any]]:
    response = app.test_client().get("/health")
    assert response.json is not None
    return response.status_code, response.json


@pytest.mark.parametrize(
    "request_args",
    [
        {"query_string": {"model": "second"}, **upload()},
        {"query_string": {"model": "fake/second"}, "data": TEAL_PNG, "content_type": "image/png"},
        {"json": {"model": "second", "image": TEAL_BASE64}},
        multipart(("model", None, b"fake/second"), ("file", "a.png", TEAL_PNG)),
        {"query_string": {"model": "second"}, "json": {"model": "fake/second", "image": TEAL_BASE64}},
    ],
    ids=["query, upload", "query, raw", "json", "form", "both the same"],
)
def test_a_request_chooses_its_model(client: FlaskClient, request_args: dict[str, Any]) -> None:
    body = body_of(client.post("/v3/analyze", **request_args))
    assert body["predictions"][0]["text"] == SECOND
    assert body["metadata"]["model_info"]["model"] == "fake/second"


@pytest.mark.parametrize("model", ["", "blip", "colours", "fake/colours"])
def test_the_first_is_the_default(client: FlaskClient, model: str) -> None:
    body = body_of(client.post("/analyze", query_string={"model": model}, **upload()))
    assert body["predictions"][0]["text"] == FIRST
    assert body["metadata"]["model_info"]["model"] == "fake/colours"


def test_one_request_has_one_model(client: FlaskClient) -> None:
    response = client.post("/analyze", query_string={"model": ["second", "colours"]}, **upload())
    assert response.status_code == 400
    assert body_of(response) == failure("conflicting_input", "Cannot provide model more than once")


def test_what_is_not_configured(client: FlaskClient) -> None:
    response = client.post("/analyze", query_string={"model": "gpt"}, **upload())
    message = "The model gpt is not served here, only fake/colours and fake/second are"
    assert (response.status_code, body_of(response)) == (400, failure("model_not_configured", message))


def test_image2caption(client: FlaskClient) -> None:
    picture = upload(field="image")
    assert client.post("/image2caption/blip", **picture).json == {"caption": FIRST}
    assert client.post("/image2caption/second", **picture).json == {"caption": SECOND}
    assert client.post("/image2caption/fake/second", **picture).json == {"caption": SECOND}
    detail = "Not supported model third, please choose from ['blip', 'colours', 'second']"
    assert client.post("/image2caption/third", **picture).json == {"detail": detail}


@pytest.mark.parametrize(("model", "caption"), [("colours", FIRST), ("second", SECOND)])
def test_open_inference_protocol(client: FlaskClient, model: str, caption: str) -> None:
    tensor = {"name": "img_url", "shape": [1], "datatype": "BYTES", "data": [DATA_URI]}
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}).json
    assert answer
    assert (answer["model_name"], answer["outputs"][0]["data"]) == (model, [caption])
    metadata = client.get(f"/v2/models/{model}").json
    assert metadata
    assert metadata["name"] == model
    assert client.get(f"/v2/models/{model}/ready").json == {"name": model, "ready": True}


@pytest.mark.parametrize(("model", "caption"), [("colours", FIRST), ("fake/second", SECOND)])
def test_chat(client: FlaskClient, model: str, caption: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": DATA_URI}}]
    message = {"model": model, "messages": [{"role": "user", "content": content}]}
    answer = client.post("/v1/chat/completions", json=message).json
    assert answer
    assert answer["choices"][0]["message"]["content"] == caption
    listed = client.get("/v1/models").json
    assert listed
    assert [row["id"] for row in listed["data"]] == ["colours", "second"]


@pytest.mark.parametrize("path", ["caption/second", "caption"])
def test_photoprism(client: FlaskClient, path: str) -> None:
    answer = client.post(f"/api/v1/vision/{path}", json={"model": "second:latest", "images": [DATA_URI]}).json
    assert answer
    assert answer["model"]["name"] == "second"
    assert answer["result"]["caption"]["text"] == SECOND


def test_health_names_all(app: Flask) -> None:
    status, health = health_of(app)
    assert (status, health["status"], health["model_status"]) == (200, "healthy", "loaded")
    assert health["model"] == "fake/colours"
    assert health["models"] == {"fake/colours": "loaded", "fake/second": "loaded"}
    assert "error" not in health
    assert health["queue"] == {"depth": 0, "capacity": 128}


def fails(_: ReportProgress) -> Captioner:
    raise OSError("no such weights")


def test_where_the_default_model_failed_the_next_one_speaks_for_the_service() -> None:
    with make_app(load=fails, wait_until=ModelStatus.FAILED, others={"fake/second": Second()}) as app:
        client = app.test_client()
        wait_for(lambda: health_of(app)[1]["models"]["fake/second"] == "loaded")
        status, health = health_of(app)
        assert (status, health["status"], health["model_status"]) == (200, "healthy", "failed")
        assert health["models"] == {"fake/colours": "failed", "fake/second": "loaded"}
        assert health["error"] == "fake/colours: no such weights"
        # but most requests name no model
        assert client.get("/ready").json == {"ready": False, "reason": "the model could not be loaded"}
        refused = client.post("/analyze", **upload())
        assert refused.status_code == 503
        assert body_of(refused)["error"]["code"] == "model_not_ready"
        answered = client.post("/analyze?model=second", **upload())
        assert body_of(answered)["predictions"][0]["text"] == SECOND
        assert client.get("/v2/models/colours/ready").status_code == 503
        assert client.get("/v2/models/second/ready").status_code == 200


def test_while_the_default_model_loads_no_request_should_come() -> None:
    """Most name no model: a load balancer should wait for the one that they get."""
    go_on = threading.Event()

    def load(_: ReportProgress) -> Captioner:
        assert go_on.wait(WAIT_S)
        return FakeCaptioner(FIRST)

    with make_app(load=load, wait_until=None, others={"fake/second": Second()}) as app:
        try:
            assert health_of(app)[1]["status"] == "starting"
            assert app.test_client().get("/ready").json == {"ready": False, "reason": "the model is loading"}
        finally:
            go_on.set()


class Returning:
    """Loads at once the first time, and then when `may_load` is set."""

    def __init__(self) -> None:
        self.may_load = threading.Event()
        self.may_load.set()

    def __call__(self, report: ReportProgress) -> Captioner:
        report(LoadProgress("downloading", 1, 4))
        assert self.may_load.wait(WAIT_S)
        return FakeCaptioner(FIRST)


def test_an_idle_model_is_ready_and_comes_back() -> None:
    returning = Returning()
    with make_app(load=returning, wait_until=None, model_idle_s=SOON_S) as app:
        wait_for(lambda: health_of(app)[1]["model_status"] == "idle")
        status, health = health_of(app)
        assert (status, health["status"]) == (200, "healthy")
        assert "models" not in health
        assert health["device"] == "cpu"  # where it was, and will be
        assert app.test_client().get("/ready").status_code == 200
        returning.may_load.clear()
        texts: list[str] = []

        def ask() -> None:
            answer = body_of(app.test_client().post("/analyze", **upload()))
            texts.append(answer["predictions"][0]["text"])

        asker = threading.Thread(target=ask)
        asker.start()
        wait_for(lambda: health_of(app)[1].get("load_progress") == 0.25)
        status, health = health_of(app)
        assert (status, health["status"], health["model_status"]) == (200, "healthy", "loading")
        assert app.test_client().get("/ready").status_code == 200
        returning.may_load.set()
        asker.join(WAIT_S)
        assert texts == [FIRST]


@pytest.mark.parametrize(("left", "error"), [(False, DeadlineExceeded), (True, BadRequest)])
def test_nobody_waits_longer_than_he_wanted(left: bool, error: type[Exception]) -> None:
    returning = Returning()
    with make_pipeline(load=returning, wait_until=None, model_idle_s=SOON_S) as pipeline:
        wait_for(lambda: pipeline.state.status is ModelStatus.IDLE)
        returning.may_load.clear()
        with pytest.raises(error):
            pipeline.analyze(BytesSource(TEAL_PNG), 60.0 if left else 0.1, client_left=lambda: left)
        assert pipeline.state.status is ModelStatus.LOADING
        returning.may_load.set()
        assert pipeline.analyze(BytesSource(TEAL_PNG), WAIT_S).predictions[0].caption.text == FIRST
