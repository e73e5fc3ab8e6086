"""Traces: a span for each request with its stages below it, and where TRACING sends them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from flask import Flask
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import REST
from config.settings import Settings, SettingsError
from services.web.traces import otlp_provider, register_traces
from tests.fakes import make_app
from tests.web.answers import upload

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MS = 1_000_000


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def app(kept: InMemorySpanExporter) -> Iterator[Flask]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with make_app() as app:
        register_traces(app, provider)
        yield app


def spans(kept: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The request's span, and those of its stages in their order."""
    *stages, request = kept.get_finished_spans()
    return request, stages


def test_a_request_and_its_stages(app: Flask, kept: InMemorySpanExporter) -> None:
    app.test_client().post("/v3/analyze?secret=1", **upload(), headers={"X-Request-ID": "my-id"})
    request, stages = spans(kept)
    assert (request.name, request.kind, request.parent) == ("POST /v3/analyze", SpanKind.SERVER, None)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v3/analyze",
        "http.response.status_code": 200,
        "captions.outcome": "ok",
        "captions.request_id": "my-id",
    }
    assert [stage.name for stage in stages] == ["load", "decode", "queue", "caption", "emoji"]
    assert all(stage.parent == request.context for stage in stages)
    moments = [moment for stage in stages for moment in (stage.start_time, stage.end_time)]
    assert None not in moments
    assert [request.start_time, *moments, request.end_time] == sorted(
        m for m in [request.start_time, *moments, request.end_time] if m is not None
    )


def test_a_caller_s_trace_goes_on(app: Flask, kept: InMemorySpanExporter) -> None:
    app.test_client().get("/health", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    request, stages = spans(kept)
    assert stages == []
    assert request.parent
    assert request.context
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, CALLER)


@pytest.mark.parametrize("sent", ["", "nonsense", "00-0-0-01", "é" * 300])
def test_a_broken_trace_of_a_caller_is_none(app: Flask, kept: InMemorySpanExporter, sent: str) -> None:
    assert app.test_client().get("/health", headers={"traceparent": sent}).status_code == 200
    assert spans(kept)[0].parent is None


def test_faults_are_marked_and_paths_of_clients_are_not_told(app: Flask, kept: InMemorySpanExporter) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("secret details")

    client = app.test_client()
    client.get("/broken")
    client.get("/made-up")
    fault, nowhere = kept.get_finished_spans()
    assert (fault.name, fault.status.status_code) == ("GET /broken", StatusCode.ERROR)
    assert (nowhere.name, nowhere.status.status_code) == ("GET", StatusCode.UNSET)
    assert "secret" not in fault.to_json()
    assert "made-up" not in nowhere.to_json()


def test_they_are_sent_where_opentelemetry_s_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
        provider = otlp_provider()
        with make_app() as app:
            register_traces(app, provider)
            app.test_client().get("/ready")
        provider.shutdown()
        server.shutdown()
    [(path, content)] = received
    assert path == "/v1/traces"
    assert b"GET /ready" in content
    assert b"captions" in content


def test_a_start_without_the_packages_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REST, "find_spec", lambda _name: None)
    REST.check_packages(Settings())
    with pytest.raises(SettingsError, match=r"pip install -r requirements\.tracing\.txt"):
        REST.check_packages(Settings(tracing=True))
