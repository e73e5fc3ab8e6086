import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from services.captioning.batcher import ModelStatus
from services.captioning.captioner import Captioner, LoadProgress, ReportProgress
from tests.fakes import FakeCaptioner, bundled_map, make_app, picture, wait_for

DRAWN_FROM_THE_MODEL = {
    "model": "fake/colours",
    "device": "cpu",
    "device_reason": "a fake needs no GPU",
    "precision": "fp32",
    "engine": "fake",
}
NOTHING_KNOWN_YET = {"model": "fake/colours"} | dict.fromkeys(("device", "device_reason", "precision", "engine"))


def health_of(app: Flask) -> tuple[int, dict[str, Any]]:
    """Status and body, without what is the same in all; uptime and age are checked and taken out."""
    response = app.test_client().get("/health")
    assert response.json is not None
    body: dict[str, Any] = response.json
    uptime_s, age_s = body.pop("uptime_seconds"), body["emoji_map"].pop("age_seconds")
    assert 0 <= uptime_s < 60
    assert 0 <= age_s < 60  # the map was read before the application was made
    emoji_map = bundled_map()
    assert body.pop("emoji_map") == {
        "source": emoji_map.source,
        "version": emoji_map.version,
        "sha256": emoji_map.sha256,
        "last_error": None,
    }
    return response.status_code, body


def ready_of(app: Flask) -> tuple[int, Any]:
    response = app.test_client().get("/ready")
    return response.status_code, response.json


def live_of(app: Flask) -> tuple[int, Any]:
    response = app.test_client().get("/v2/health/live")
    return response.status_code, response.json


@pytest.fixture
def app() -> Iterator[Flask]:
    with make_app() as app:
        yield app


def test_loaded(app: Flask) -> None:
    assert health_of(app) == (
        200,
        {
            "status": "healthy",
            "model_status": "loaded",
            **DRAWN_FROM_THE_MODEL,
            "queue": {"depth": 0, "capacity": 64},
        },
    )
    assert ready_of(app) == (200, {"ready": True})
    assert live_of(app) == (200, {"live": True})


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (LoadProgress("loading"), {"load_progress": 0.0}),
        (
            LoadProgress("downloading", n_bytes=500, total_bytes=2000),
            {"load_progress": 0.25, "load_bytes": 500, "load_total_bytes": 2000},
        ),
    ],
)
def test_loading(progress: LoadProgress, shown: dict[str, Any]) -> None:
    reported, may_end = threading.Event(), threading.Event()

    def load(report: ReportProgress) -> Captioner:
        report(progress)
        reported.set()
        may_end.wait(10)
        return FakeCaptioner()

    with make_app(load=load, wait_until=None) as app:
        try:
            assert reported.wait(10)
            assert health_of(app) == (
                200,
                {
                    "status": "starting",
                    "model_status": "loading",
                    **NOTHING_KNOWN_YET,
                    **shown,
                    "queue": {"depth": 0, "capacity": 64},
                },
            )
            assert ready_of(app) == (503, {"ready": False, "reason": "the model is loading"})
            assert live_of(app) == (200, {"live": True})
        finally:
            may_end.set()


def test_failed() -> None:
    def load(_: ReportProgress) -> Captioner:
        raise OSError("no weights at https://example.org/w.pth")

    with make_app(load=load, wait_until=ModelStatus.FAILED) as app:
        assert health_of(app) == (
            503,
            {
                "status": "unhealthy",
                "model_status": "failed",
                **NOTHING_KNOWN_YET,
                "error": "no weights at https://example.org/w.pth",
                "queue": {"depth": 0, "capacity": 64},
            },
        )
        assert ready_of(app) == (503, {"ready": False, "reason": "the model could not be loaded"})
        assert live_of(app) == (200, {"live": True})


def test_one_of_two_devices_failed() -> None:
    def load(_: ReportProgress) -> Captioner:
        raise OSError("cuda:1 fell off the bus")

    with make_app(second_load=load) as app:
        wait_for(lambda: "error" in health_of(app)[1])
        assert health_of(app) == (
            200,
            {
                "status": "healthy",
                "model_status": "loaded",
                **DRAWN_FROM_THE_MODEL,
                "error": "device 2 of 2: cuda:1 fell off the bus",
                "queue": {"depth": 0, "capacity": 64},
            },
        )
        assert ready_of(app) == (200, {"ready": True})


def test_full() -> None:
    captioner = FakeCaptioner(gate=threading.Event())

    with make_app(captioner, queue_capacity=1, max_batch=1) as app:

        def ask() -> None:
            app.test_client().post("/analyze", data=picture(), content_type="image/png")

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: ready_of(app)[0] == 503)
        assert ready_of(app) == (503, {"ready": False, "reason": "the queue is full"})
        assert health_of(app)[1]["queue"] == {"depth": 1, "capacity": 1}
        assert health_of(app)[0] == 200
        assert live_of(app) == (200, {"live": True})
        assert captioner.gate
        captioner.gate.set()
        for thread in threads:
            thread.join()
        assert ready_of(app) == (200, {"ready": True})


def test_stopping(app: Flask) -> None:
    app.extensions["drain"].set()
    assert ready_of(app) == (503, {"ready": False, "reason": "the service is stopping"})
    assert (health_of(app)[0], live_of(app)) == (200, (200, {"live": True}))
    assert app.test_client().get("/health").headers["Connection"] == "close"


def test_the_first_page_says_what_there_is(app: Flask) -> None:
    assert app.test_client().get("/").json == {
        "service": "blip2",
        "status": "healthy",
        "routes": [
            "/ GET",
            "/analyze GET|POST",
            "/api/v1/vision/caption POST",
            "/api/v1/vision/caption/<name> POST",
            "/api/v1/vision/caption/<name>/<version> POST",
            "/api/v1/vision/labels POST",
            "/api/v1/vision/labels/<name> POST",
            "/api/v1/vision/labels/<name>/<version> POST",
            "/caption-base64 POST",
            "/caption-file POST",
            "/caption-url POST",
            "/docs GET",
            "/docs/<name> GET",
            "/encode-base64 POST",
            "/examples GET",
            "/examples/<name> GET",
            "/health GET",
            "/image2caption/<path:model> POST",
            "/metrics GET",
            "/openapi.json GET",
            "/page/<name> GET",
            "/ready GET",
            "/v1/chat/completions POST",
            "/v1/models GET",
            "/v2/analyze GET",
            "/v2/analyze_file GET",
            "/v2/health/live GET",
            "/v2/health/ready GET",
            "/v2/models/<model> GET",
            "/v2/models/<model>/infer POST",
            "/v2/models/<model>/ready GET",
            "/v3/analyze GET|POST",
        ],
    }
