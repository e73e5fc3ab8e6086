"""The main door: one image in, its captions and emojis out. Also by the routes and names of version 2."""

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response

from services.errors import ConflictingInput
from services.pipeline import FileSource, ImageSource, UrlSource
from services.web.decoding import read_decoding
from services.web.doorway import Doorway
from services.web.inputs import Candidate, Inputs, read_inputs, the_only
from services.web.request import current_request
from services.web.responses import analysis_body, as_json


def analyze_routes(doorway: Doorway) -> Blueprint:
    routes = Blueprint("analyze", __name__)
    routes.before_request(doorway.check_admitting)

    @routes.route("/analyze", methods=["GET", "POST"])
    @routes.route("/v3/analyze", methods=["GET", "POST"])
    def analyze() -> Response:
        return answer(read_inputs(current_request(), doorway.options.max_image_bytes))

    @routes.get("/v2/analyze")
    def analyze_url() -> Response:
        return answer(_read_query("image_url", UrlSource))

    @routes.get("/v2/analyze_file")
    def analyze_file() -> Response:
        return answer(_read_query("file_path", FileSource))

    def answer(inputs: Inputs) -> Response:
        model, *others = {doorway.models.get(name): None for name in inputs.models or [""]}
        if others:
            raise ConflictingInput("Cannot provide model more than once")
        decoding = read_decoding(inputs.options, model.name, [served.name for served in doorway.models])
        analysis = doorway.analyze(inputs.source, decoding, model)
        return as_json(analysis_body(doorway.options.service_name, analysis, current_request().seconds))

    return routes


def _read_query(name: str, make_source: Callable[[str], ImageSource]) -> Inputs:
    query = current_request().args
    candidates = [Candidate(name, make_source(text)) for text in query.getlist(name) if text]
    models: Sequence[str] = [text for text in query.getlist("model") if text]
    options: Sequence[tuple[str, Any]] = list(query.items(multi=True))
    return Inputs(the_only(candidates, f"Must provide the {name} parameter"), models, options)
