"""The page at `/` for people, its files and the pictures to try; programs get the list of routes there, as ever.

Everything is read once, when the application is made, and nothing else can be named: a request chooses among
what was read, and no path of its making reaches the disk.
"""

import json
from pathlib import Path

from flask import Blueprint, Response, current_app

from services.pipeline import Pipeline
from services.web.assets import TYPES, Asset, answer_asset
from services.web.health import status_of
from services.web.options import WebOptions
from services.web.request import ApiRequest, current_request
from services.web.responses import as_json, json_bytes

FOLDER = Path(__file__).with_name("page")
EXAMPLES = Path(__file__).parents[2] / "examples"

_METHODS = {"GET", "POST"}  # the others come with these by themselves


def page_routes(options: WebOptions, pipeline: Pipeline) -> Blueprint:
    routes = Blueprint("page", __name__)
    files = {path.name: Asset.read(path) for path in FOLDER.iterdir() if path.suffix in TYPES}
    page = files.pop("index.html")
    listing, pictures = read_examples(EXAMPLES)

    @routes.get("/")
    def index() -> Response:
        request = current_request()
        if _wants_page(request):
            response = answer_asset(page)
        else:
            status = status_of(pipeline.state)
            response = as_json({"service": options.service_name, "status": status, "routes": _routes()})
        response.vary.add("Accept")
        return response

    @routes.get("/page/<name>")
    def file(name: str) -> Response:
        return answer_asset(files.get(name))

    @routes.get("/examples")
    def examples() -> Response:
        return answer_asset(listing)

    @routes.get("/examples/<name>")
    def example(name: str) -> Response:
        return answer_asset(pictures.get(name))

    return routes


def read_examples(folder: Path) -> tuple[Asset, dict[str, Asset]]:
    """The list of the pictures to try (JSON: `file` and `caption` of each), and name -> picture.

    What lies in the folder and is not in its captions.jsonl is left out. No folder: no examples.
    """
    rows, pictures = [], {}
    truths = folder / "captions.jsonl"
    for line in truths.read_text(encoding="utf-8").splitlines() if truths.exists() else ():
        truth = json.loads(line)
        path = folder / Path(truth["file"]).name
        if path.exists():
            rows.append({"file": path.name, "caption": truth["caption"]})
            pictures[path.name] = Asset.read(path)
    return Asset.of(json_bytes({"examples": rows}) + b"\n", "application/json"), pictures


def _wants_page(request: ApiRequest) -> bool:
    """Browsers name HTML; curl and HTTP libraries take anything, and have always been given JSON."""
    accepted = request.accept_mimetypes
    return bool(accepted["text/html"] > accepted["application/json"])


def _routes() -> list[str]:
    rules = current_app.url_map.iter_rules()
    return sorted(f"{rule.rule} {'|'.join(sorted(_METHODS & (rule.methods or set())))}" for rule in rules)
