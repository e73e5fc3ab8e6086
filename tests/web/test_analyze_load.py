"""Many requests at once, deadlines, and a model that is late, broken or about to stop."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import Captioner, ReportProgress
from tests.fakes import Colour, FakeCaptioner, make_app, picture, wait_for
from tests.web.answers import TEAL, body_of, colour_analysis, failure, upload


def test_64_pictures_at_once_get_each_its_own_caption() -> None:
    colours = [(4 * n, 255 - 4 * n, n) for n in range(64)]
    start = threading.Barrier(len(colours))
    captioner = FakeCaptioner()

    with make_app(captioner) as app, ThreadPoolExecutor(len(colours)) as pool:

        def ask(colour: Colour) -> dict[str, Any]:
            client = app.test_client()
            start.wait()
            return body_of(client.post("/analyze", **upload(picture(colour))))

        answers = list(pool.map(ask, colours))
    assert answers == [colour_analysis(colour) for colour in colours]
    assert sum(captioner.batch_sizes) == len(colours)


def test_a_burst_over_the_capacity_is_refused_and_the_admitted_are_answered() -> None:
    captioner = FakeCaptioner(gate=threading.Event())
    with make_app(captioner, queue_capacity=2, max_batch=1) as app, ThreadPoolExecutor(3) as pool:
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
        failure("model_not_ready", "The model could not be loaded: no weights at https://example.org/w.pth"),
    )


@pytest.mark.parametrize(
    ("method", "route"), [("POST", "/analyze"), ("GET", "/v3/analyze"), ("GET", "/v2/analyze")]
)
def test_new_requests_are_refused_while_the_service_stops(method: str, route: str) -> None:
    with make_app() as app:
        app.extensions["drain"].set()
        response = app.test_client().open(route, method=method)
    assert (response.headers["Retry-After"], response.headers["Connection"]) == ("5", "close")
    assert (response.status_code, body_of(response)) == (503, failure("overloaded", "The service is stopping"))
