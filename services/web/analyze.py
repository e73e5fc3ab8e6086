"""The main door: one image in, its caption and emojis out. Also by the routes and names of version 2."""

from collections.abc import Callable, Sequence
from threading import Event

from flask import Blueprint, Response

from services.errors import ModelNotConfigured, Overloaded
from services.pipeline import FileSource, ImageSource, Pipeline, UrlSource
from services.web.inputs import Candidate, read_inputs, read_timeout_s, the_only
from services.web.options import WebOptions
from services.web.request import current_request
from services.web.responses import analysis_body, as_json

RETRY_ELSEWHERE_S = 5  # by then this process is gone, and another answers


def analyze_routes(options: WebOptions, pipeline: Pipeline, drain: Event) -> Blueprint:
    routes = Blueprint("analyze", __name__)

    @routes.before_request
    def refuse_before_the_body_is_read() -> None:
        if drain.is_set():
            raise Overloaded("The service is stopping", retry_after_s=RETRY_ELSEWHERE_S)
        pipeline.check_admitting()

    @routes.route("/analyze", methods=["GET", "POST"])
    @routes.route("/v3/analyze", methods=["GET", "POST"])
    def analyze() -> Response:
        inputs = read_inputs(current_request(), options.max_image_bytes)
        return answer(inputs.source, inputs.models)

    @routes.get("/v2/analyze")
    def analyze_url() -> Response:
        return answer_query("image_url", UrlSource)

    @routes.get("/v2/analyze_file")
    def analyze_file() -> Response:
        return answer_query("file_path", FileSource)

    def answer_query(name: str, make_source: Callable[[str], ImageSource]) -> Response:
        query = current_request().args
        candidates = [Candidate(name, make_source(text)) for text in query.getlist(name) if text]
        return answer(the_only(candidates, f"Must provide the {name} parameter"), query.getlist("model"))

    def answer(source: ImageSource, models: Sequence[str]) -> Response:
        request = current_request()
        for model in models:
            if model != options.model:
                raise ModelNotConfigured(f"The model {model} is not served here, only {options.model} is")
        timeout_s = read_timeout_s(request, options.request_timeout_s)
        analysis = pipeline.analyze(source, timeout_s, spent_s=request.seconds)
        return as_json(analysis_body(options.service_name, analysis, request.seconds))

    return routes
