"""/metrics for Prometheus, and the Server-Timing header of answers about pictures.

Requests and stages are counted as they end; what has a state (queue, models, map, memory) is read when it is asked
for. No label holds what a client sent: routes are the application's rules, outcomes the codes of errors.
"""

from collections.abc import Iterable, Iterator, Mapping

from flask import Blueprint, Flask, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.pipeline import STAGES, ModelStatus, Pipeline
from services.web.request import ApiRequest, current_request

NO_ROUTE = "none"  # of a path that is none of ours, a method that its route does not take, and what is no HTTP

# Seconds: from a cached page to a request that waits for its deadline.
TIME_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # pictures; 64 is the most that MAX_BATCH allows


class Metrics:
    """The counts of one application, in a registry of its own."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "captions_requests", "Requests answered, by route and outcome: ok, or the code of the error",
            ["route", "outcome"], registry=self.registry,
        )  # fmt: skip
        self._request_s = Histogram(
            "captions_request_seconds", "From a request's headers to its answer", ["route"],
            buckets=TIME_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._stage_s = Histogram(
            "captions_stage_seconds", "What a picture's time is spent on", ["stage"],
            buckets=TIME_BUCKETS, registry=self.registry,
        )  # fmt: skip
        for stage in STAGES:
            self._stage_s.labels(stage)  # shown from the start, so that a first one is seen as a rise
        self.registry.register(StateCollector(pipeline))
        ProcessCollector(registry=self.registry)

    def count(self, request: ApiRequest) -> None:
        route = request.url_rule.rule if request.url_rule else NO_ROUTE
        self._requests.labels(route, request.outcome).inc()
        self._request_s.labels(route).observe(request.seconds)
        for stage in request.stages:
            self._stage_s.labels(stage.name).observe(stage.seconds)

    def count_rejected(self, code: str) -> None:
        """What the server's parser answered by itself, since it never became a request."""
        self._requests.labels(NO_ROUTE, code).inc()

    def text(self) -> bytes:
        """In Prometheus' own format, version 0.0.4."""
        return generate_latest(_WithoutCreated(self.registry))


class StateCollector(Collector):
    """What the pipeline is like at the moment of asking."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def describe(self) -> Iterable[Metric]:
        return ()  # or the registry would collect to learn the names

    def collect(self) -> Iterator[Metric]:
        state, emojis = self._pipeline.state, self._pipeline.map_in_use
        yield GaugeMetricFamily("captions_queue_depth", "Pictures that wait for a device", state.queue_depth)
        yield GaugeMetricFamily(
            "captions_queue_capacity", "Pictures that may wait, of all models", state.queue_capacity
        )
        statuses = GaugeMetricFamily(
            "captions_model_state", "1 for the state that the model is in", labels=["model", "state"]
        )
        batches = HistogramMetricFamily("captions_batch_pictures", "Pictures of a batch", labels=["model"])
        for name, model in state.models.items():
            for status in ModelStatus:
                statuses.add_metric([name, status.value], model.status is status)
            batches.add_metric([name], *_buckets(model.batch_sizes))
        yield statuses
        yield batches
        yield GaugeMetricFamily(
            "captions_emoji_map_age_seconds", "Since the emoji map's source gave or confirmed it", emojis.age_s
        )
        yield GaugeMetricFamily(
            "captions_emoji_map_failing", "1 while the last look for a newer emoji map failed",
            emojis.last_error is not None,
        )  # fmt: skip
        memory = GaugeMetricFamily(
            "captions_device_memory_bytes",
            "A GPU's memory: allocated (tensors), reserved (those and the allocator's own) and total; "
            "of the CPU's: resident (this process)",
            labels=["device", "kind"],
        )
        for device, kinds in self._pipeline.device_memory.items():
            for kind, n_bytes in kinds.items():
                memory.add_metric([device, kind], n_bytes)
        yield memory


def register_metrics(app: Flask, pipeline: Pipeline) -> None:
    """Adds the route, and counts all requests. `app.extensions["metrics"]` is the application's Metrics."""
    metrics = app.extensions["metrics"] = Metrics(pipeline)
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def show() -> Response:
        return Response(metrics.text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    app.register_blueprint(routes)

    @app.after_request
    def count(response: Response) -> Response:
        request = current_request()
        metrics.count(request)
        if request.stages:
            response.headers["Server-Timing"] = server_timing(request)
        return response


def server_timing(request: ApiRequest) -> str:
    """Milliseconds by stage, those of several pictures added up. https://www.w3.org/TR/server-timing/"""
    totals: dict[str, float] = {}
    for stage in request.stages:
        totals[stage.name] = totals.get(stage.name, 0.0) + stage.seconds
    totals["total"] = request.seconds
    return ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in totals.items())


def _buckets(sizes: Mapping[int, int]) -> tuple[list[tuple[str, float]], float]:
    """Pictures of a batch -> number of batches, as a histogram: (limit, batches up to it), pictures in all."""
    below = [(str(limit), float(sum(n for size, n in sizes.items() if size <= limit))) for limit in BATCH_BUCKETS]
    return [*below, ("+Inf", float(sum(sizes.values())))], float(sum(size * n for size, n in sizes.items()))


class _WithoutCreated(Collector):
    """Leaves out when each series began: that would double them, and Prometheus does not need it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
