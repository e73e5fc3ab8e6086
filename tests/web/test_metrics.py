"""/metrics: each series moves when what it counts happens."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.captioning.captioner import ReportProgress
from services.emoji.in_use import MapHolder, MapInUse
from services.pipeline import STAGES
from tests.fakes import FAKE_INFO, WAIT_S, FakeCaptioner, bundled_map, make_app, wait_for
from tests.images.servers import THIS_MACHINE
from tests.web.answers import upload
from tests.web.api_keys import BEARER, KEYS
from tests.web.metric_samples import samples_of, value

MODEL = FAKE_INFO.model


@pytest.fixture
def app(images: Path) -> Iterator[Flask]:
    with make_app(image_roots=[images], url_policy=THIS_MACHINE) as app:
        yield app


REQUESTS: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("GET", "/health", {}, "/health", "ok"),
    ("POST", "/v3/analyze", upload(), "/v3/analyze", "ok"),
    ("POST", "/analyze", {"data": b"text", "content_type": "image/png"}, "/analyze", "unsupported_format"),
    ("GET", "/analyze?file=nowhere.png", {}, "/analyze", "file_not_found"),
    ("POST", "/image2caption/some-model", {}, "/image2caption/<path:model>", "model_not_configured"),
    ("GET", "/no/such/path", {}, "none", "not_found"),
    ("DELETE", "/analyze", {}, "none", "method_not_allowed"),
]


@pytest.mark.parametrize(("method", "path", "sent", "route", "outcome"), REQUESTS)
def test_requests_by_route_and_outcome(
    client: FlaskClient, method: str, path: str, sent: dict[str, Any], route: str, outcome: str
) -> None:
    labels = {"route": route, "outcome": outcome}
    before = value(client, "captions_requests_total", **labels)
    timed = value(client, "captions_request_seconds_count", route=route)
    client.open(path, method=method, **sent)
    assert value(client, "captions_requests_total", **labels) == before + 1
    assert value(client, "captions_request_seconds_count", route=route) == timed + 1


def test_clients_cannot_make_series(client: FlaskClient) -> None:
    for word in ("made-up", "a" * 100):
        client.get(f"/{word}")
        client.post(f"/image2caption/{word}")
        client.get(f"/page/{word}")
        client.open(f"/v2/models/{word}", method=word.upper())
        client.get(f"/analyze?file={word}", headers={"X-Request-ID": word, "Host": word})
    labels = {text for _, labels in samples_of(client) for _, text in labels}
    assert not any("made-up" in text.lower() or "aaa" in text.lower() for text in labels)


def counts_of_stages(client: FlaskClient) -> dict[str, int]:
    return {stage: int(value(client, "captions_stage_seconds_count", stage=stage)) for stage in STAGES}


def test_stages(app: Flask, images: Path) -> None:
    client = app.test_client()
    assert counts_of_stages(client) == dict.fromkeys(STAGES, 0)
    client.post("/analyze", **upload())
    assert counts_of_stages(client) == dict.fromkeys(STAGES, 1) | {"fetch": 0}
    client.get(f"/analyze?file={images / 'teal.png'}")
    assert counts_of_stages(client) == dict.fromkeys(STAGES, 2) | {"fetch": 1}
    client.get("/analyze?url=http://127.0.0.1:1/a.png")  # ends where it is fetched
    assert counts_of_stages(client) == dict.fromkeys(STAGES, 2) | {"fetch": 2, "load": 3}
    client.post("/analyze", data=b"\x89PNG\r\n\x1a\n", content_type="image/png")  # and where it is decoded
    assert counts_of_stages(client) == dict.fromkeys(STAGES, 2) | {"load": 4, "decode": 3}


def test_queue_and_model_are_told_apart() -> None:
    """A picture's wait behind another is queue, and the model's own time is caption."""
    captioner = FakeCaptioner(gate=threading.Event())
    assert captioner.gate
    with make_app(captioner, max_batch=1) as app:
        client = app.test_client()
        threads = [threading.Thread(target=lambda: app.test_client().post("/analyze", **upload())) for _ in "ab"]
        threads[0].start()
        captioner.began.wait(WAIT_S)
        threads[1].start()
        wait_for(lambda: value(client, "captions_queue_depth") == 1)
        held_from = time.monotonic()
        threading.Event().wait(1.0)  # most of it after the second one's decoding
        held_s = time.monotonic() - held_from
        captioner.gate.set()
        for thread in threads:
            thread.join()
        assert value(client, "captions_stage_seconds_sum", stage="queue") >= held_s / 2
        assert value(client, "captions_stage_seconds_sum", stage="caption") >= held_s  # the first one's alone
        assert value(client, "captions_stage_seconds_sum", stage="decode") < held_s
        assert value(client, "captions_queue_depth") == 0
        assert value(client, "captions_queue_capacity") == 64


def test_batch_sizes() -> None:
    captioner = FakeCaptioner(gate=threading.Event())
    assert captioner.gate
    with make_app(captioner) as app:
        client = app.test_client()
        threads = [threading.Thread(target=lambda: app.test_client().post("/analyze", **upload())) for _ in "abcd"]
        threads[0].start()
        captioner.began.wait(10)
        for thread in threads[1:]:
            thread.start()
        wait_for(lambda: value(client, "captions_queue_depth") == 3)
        captioner.gate.set()
        for thread in threads:
            thread.join()
        assert captioner.batch_sizes == [1, 3]
        series = {le: value(client, "captions_batch_pictures_bucket", model=MODEL, le=le) for le in "124"}
        assert series == {"1": 1, "2": 1, "4": 2}
        assert value(client, "captions_batch_pictures_count", model=MODEL) == 2
        assert value(client, "captions_batch_pictures_sum", model=MODEL) == 4


def states_of(client: FlaskClient, model: str = MODEL) -> list[str]:
    return [
        dict(labels)["state"]
        for (name, labels), number in samples_of(client).items()
        if name == "captions_model_state" and dict(labels)["model"] == model and number == 1
    ]


def test_model_states_and_memory() -> None:
    going_on = threading.Event()

    def load(report: ReportProgress) -> FakeCaptioner:
        going_on.wait(10)
        return FakeCaptioner()

    with make_app(load=load, wait_until=None) as app:
        client = app.test_client()
        assert states_of(client) == ["loading"]
        assert value(client, "captions_device_memory_bytes", device="cpu", kind="resident") == 0
        going_on.set()
        wait_for(lambda: states_of(client) == ["loaded"])
        assert value(client, "captions_device_memory_bytes", device="cpu", kind="resident") > 2**20


def test_an_unloaded_model_is_idle_and_keeps_its_series() -> None:
    with make_app(model_idle_s=0.05, wait_until=None) as app:
        client = app.test_client()
        wait_for(lambda: states_of(client) == ["idle"])
        client.post("/analyze", **upload())
        wait_for(lambda: states_of(client) == ["idle"])  # again
        assert value(client, "captions_batch_pictures_count", model=MODEL) == 1
        assert value(client, "captions_device_memory_bytes", device="cpu", kind="resident") > 0


def test_memory_follows_what_the_process_holds(client: FlaskClient) -> None:
    before = value(client, "captions_device_memory_bytes", device="cpu", kind="resident")
    held = b"\1" * 2**26
    during = value(client, "captions_device_memory_bytes", device="cpu", kind="resident")
    assert len(held) * 0.9 < during - before < len(held) * 2
    assert value(client, "process_resident_memory_bytes") > during / 2


def test_each_model_has_its_series_and_a_failed_one_too() -> None:
    def load(report: ReportProgress) -> FakeCaptioner:
        raise RuntimeError("no such checkpoint")

    with make_app(load=load, wait_until=None, others={"other/one": FakeCaptioner()}) as app:
        client = app.test_client()
        wait_for(lambda: (states_of(client), states_of(client, "other/one")) == (["failed"], ["loaded"]))


def test_the_emoji_map() -> None:
    fresh = MapInUse.of(bundled_map())
    holder = MapHolder(replace(fresh, confirmed_at=fresh.confirmed_at - 500))
    with make_app(emoji_maps=holder) as app:
        client = app.test_client()
        assert 500 <= value(client, "captions_emoji_map_age_seconds") < 600
        assert value(client, "captions_emoji_map_failing") == 0
        holder.current = replace(fresh, last_error="HTTP 500")
        assert value(client, "captions_emoji_map_age_seconds") < 100
        assert value(client, "captions_emoji_map_failing") == 1


def test_the_process(client: FlaskClient) -> None:
    before = value(client, "process_cpu_seconds_total")
    wait_for(lambda: value(client, "process_cpu_seconds_total") > before)
    assert value(client, "process_open_fds") > 0
    assert value(client, "process_start_time_seconds") <= time.time()


def test_applications_count_for_themselves(app: Flask) -> None:
    with make_app() as other:
        app.test_client().get("/health")
        labels = {"route": "/health", "outcome": "ok"}
        assert value(app.test_client(), "captions_requests_total", **labels) == 1
        assert value(other.test_client(), "captions_requests_total", **labels) == 0


def test_a_key_is_needed_where_keys_are() -> None:
    with make_app(api_keys=KEYS) as app:
        client = app.test_client()
        assert client.get("/metrics").status_code == 401
        response = client.get("/metrics", headers=BEARER)
        assert response.status_code == 200
        assert 'captions_requests_total{outcome="unauthorized",route="/metrics"} 1.0' in response.text


def durations(header: str) -> dict[str, float]:
    assert re.fullmatch(r"(\w+;dur=\d+\.\d(, |$))+", header)
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", header)}


def test_server_timing(app: Flask, images: Path) -> None:
    client = app.test_client()
    header = client.get(f"/v3/analyze?file={images / 'teal.png'}").headers["Server-Timing"]
    assert list(durations(header)) == [*STAGES, "total"]
    *stages, total = durations(header).values()
    assert sum(stages) <= total + 0.05 * len(STAGES)  # each is rounded
    assert "fetch" not in client.post("/analyze", **upload()).headers["Server-Timing"]
    failed = client.post("/analyze", data=b"\x89PNG\r\n\x1a\n", content_type="image/png")
    assert list(durations(failed.headers["Server-Timing"])) == ["load", "decode", "total"]
    assert "Server-Timing" not in client.get("/health").headers
