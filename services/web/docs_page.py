"""/openapi.json, and Swagger UI at /docs to read and try it; all of it comes from here, none from another host."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, current_app

from services.web.assets import TYPES, Asset, answer_asset
from services.web.options import WebOptions
from services.web.request import current_request
from services.web.responses import json_bytes

OWN = Path(__file__).with_name("docs_page.js")
FILES = frozenset({"docs.js", "swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
# {up}: the way back from the page, which answers with a slash behind its path as well.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The API</title>
<link rel="stylesheet" href="{up}docs/swagger-ui.css">
<link rel="icon" type="image/png" href="{up}docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{up}docs/swagger-ui-bundle.js"></script>
<script src="{up}docs/docs.js"></script>
</body>
</html>
"""


def docs_routes(options: WebOptions) -> Blueprint:
    routes = Blueprint("docs", __name__)

    @cache
    def made() -> Asset:
        # here, when it is first asked for: pydantic takes time that a start does not have
        from services.web.openapi import make_document

        document = make_document(current_app.url_map, options.service_name, needs_key=options.api_keys is not None)
        return Asset.of(json_bytes(document) + b"\n", "application/json")

    @routes.get("/openapi.json")
    def document() -> Response:
        return answer_asset(made())

    @routes.get("/docs")
    def page() -> Response:
        up = "../" if current_request().path.endswith("/") else ""
        return answer_asset(Asset.of(PAGE.format(up=up).encode(), TYPES[".html"]))

    @routes.get("/docs/<name>")
    def file(name: str) -> Response:
        return answer_asset(_read(name) if name in FILES else None)

    return routes


@cache
def _read(name: str) -> Asset:
    return Asset.read(OWN if name == "docs.js" else _swagger_ui() / name)


def _swagger_ui() -> Path:
    """The folder of its files in the package that brings them; nothing of that package is run."""
    found = find_spec("flask_swagger_ui")
    if found is None or found.origin is None:
        raise FileNotFoundError("The package flask-swagger-ui is not installed: make setup")
    return Path(found.origin).with_name("dist")
