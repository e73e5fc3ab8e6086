"""Traces for OpenTelemetry, where TRACING asks for them: a span for each request, and below it one for each stage.

The packages are an extra, requirements.tracing.txt; so this file is imported only where it is needed. Where the
traces go is OpenTelemetry's own business: OTEL_EXPORTER_OTLP_ENDPOINT and the like.
"""

import time

from flask import Flask, Response
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.web.request import ApiRequest, current_request

DEFAULT_SERVICE = "captions"  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first


def otlp_provider() -> TracerProvider:
    """Sends over HTTP, in the background; what is unsent when the process ends is sent then."""
    resource = Resource({SERVICE_NAME: DEFAULT_SERVICE}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def register_traces(app: Flask, provider: TracerProvider) -> None:
    tracer = provider.get_tracer("captions")

    @app.after_request
    def trace(response: Response) -> Response:
        _record(tracer, current_request(), response.status_code)
        return response


def _record(tracer: Tracer, request: ApiRequest, status: int) -> None:
    """The spans of a request, written when it is over: by then it is known how long each stage took.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/; neither query nor body is told.
    """
    now, now_ns = time.monotonic(), time.time_ns()

    def at_ns(moment: float) -> int:
        return now_ns - round((now - moment) * 1e9)

    route = request.url_rule.rule if request.url_rule else ""
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "http.route": route,
        "http.response.status_code": status,
        "captions.outcome": request.outcome,
        "captions.request_id": request.id,
    }
    caller = TraceContextTextMapPropagator().extract(request.headers, Context())
    name = f"{request.method} {route}".strip()
    span = tracer.start_span(name, caller, SpanKind.SERVER, attributes, start_time=at_ns(request.arrived_at))
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR, request.outcome))
    inside = set_span_in_context(span, Context())
    for stage in request.stages:
        part = tracer.start_span(stage.name, inside, start_time=at_ns(stage.began_at))
        part.end(at_ns(stage.ended_at))
    span.end(now_ns)
