"""The OpenAPI 3.1 document of all routes: made of Flask's own table, the schemas and the table of errors."""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from gunicorn.http.errors import ParseException
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Map, Rule

from services.web import schemas, schemas_doors
from services.web.callers import OPEN_ROUTES, Unauthorized
from services.web.openapi_examples import PARAMETERS
from services.web.openapi_operations import (
    DOORS,
    JSON,
    OF_ANY,
    OPERATIONS,
    Door,
    Errors,
    Model,
    Operation,
)
from services.web.responses import ERRORS
from services.web.slow_clients import ReadTimeout

API_VERSION = "3"
ABOUT = (
    "A picture in, a caption and its emojis out. `/v3/analyze` is the main door; the others speak as other "
    "captioning services do.\n\n"
    "The examples are made for the demonstration model and the pictures that come with the service."
)
# gunicorn's parser answers these itself, before any route is known, in the common shape of errors.
OF_THE_PARSER = {414: "uri_too_long", 431: "headers_too_large"}
SEEN_BY_THE_PARSER = (ParseException, ReadTimeout, Exception)
RETRY_LATER = (429, 503)

Json = dict[str, Any]


def make_document(routes: Map, service_name: str, needs_key: bool) -> Json:
    """needs_key: whether API keys are configured. Routes of no known endpoint are left out."""
    spec = APISpec(
        title=service_name, version=API_VERSION, openapi_version="3.1.0",
        info={"description": ABOUT},
        servers=[{"url": ".", "description": "where this document comes from, under whatever path"}],
        tags=[{"name": tag} for tag in dict.fromkeys(door.tag for door in DOORS.values())],
    )  # fmt: skip
    _add_components(spec)
    for rule in sorted(routes.iter_rules(), key=lambda rule: rule.rule):
        for method in ("GET", "POST"):
            operation = OPERATIONS.get(f"{rule.endpoint} {method}") or OPERATIONS.get(rule.endpoint)
            if operation and method in (rule.methods or ()):
                described = _describe(operation, rule, method, needs_key)
                spec.path(path=path_of(rule), operations={method.lower(): described})
    return spec.to_dict()


def path_of(rule: Rule) -> str:
    """As OpenAPI writes it: "/v2/models/<model>" is "/v2/models/{model}"."""
    return re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)


def _add_components(spec: APISpec) -> None:
    found = (value for module in (schemas, schemas_doors) for value in vars(module).values())
    models = [value for value in found if isinstance(value, type) and issubclass(value, BaseModel)]
    inputs = [(model, "validation") for model in models if model is not BaseModel]
    _, defined = models_json_schema(inputs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    for name, schema in defined["$defs"].items():
        spec.components.schema(name, _without_defaults(schema))
    text, seconds = {"type": "string"}, {"type": "integer", "minimum": 1}
    spec.components.header("X-Request-ID", {"schema": text, "required": True})
    spec.components.header("Retry-After", {"schema": seconds, "description": "seconds"})
    asked = {"type": "number", "exclusiveMinimum": 0}
    what = "seconds after which the answer is of no use; no more than the service's own limit count"
    spec.components.parameter("X-Request-Timeout", "header", {"schema": asked, "description": what})
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    spec.components.security_scheme("key", {"type": "apiKey", "in": "header", "name": "X-API-Key"})


def _describe(operation: Operation, rule: Rule, method: str, needs_key: bool) -> Json:
    door = DOORS[rule.endpoint.partition(".")[0]]
    described: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path_of(rule)}").strip("_"),
        "summary": operation.summary,
        "tags": [door.tag],
        "parameters": list(_parameters(operation, rule, method)),
        "responses": _responses(operation, door, is_open=rule.rule in OPEN_ROUTES),
        "security": _security(rule, needs_key),
    }
    if operation.takes:
        content = {kind: _media(kind, model, operation) for kind, model in operation.takes.items()}
        described["requestBody"] = {"content": content, "required": operation.needs_body}
    return described


def _security(rule: Rule, needs_key: bool) -> list[Json]:
    if rule.rule in OPEN_ROUTES:
        return []
    return [*([] if needs_key else [{}]), {"bearer": []}, {"key": []}]


def _parameters(operation: Operation, rule: Rule, method: str) -> Iterator[Any]:
    for name in sorted(rule.arguments - set(rule.defaults or {})):
        example = {"example": PARAMETERS[name]} if name in PARAMETERS else {}
        yield {"name": name, "in": "path", "schema": {"type": "string", "minLength": 1}, **example}
    if operation.query:
        schema = operation.query.model_json_schema()
        for name, value in _without_defaults(schema)["properties"].items():
            required = name in schema.get("required", ())
            # a POST has its picture in the body, and must not name another one beside it
            example = {"example": PARAMETERS[name]} if method == "GET" and name in _TRIED else {}
            what = {"description": value.pop("description")} if "description" in value else {}
            yield {"name": name, "in": "query", "required": required, "schema": value, **what, **example}
    if operation.query or operation.takes:
        yield "X-Request-Timeout"


_TRIED = ("file", "file_path", "image_url")


def _media(kind: str, model: Model | None, operation: Operation) -> Json:
    media: Json = {"schema": model.__name__ if model else {"type": "string", "format": "binary"}}
    titled = {title: {"value": value} for title, value in operation.examples.get(kind, {}).items()}
    return media | ({"examples": titled} if titled else {})


def _responses(operation: Operation, door: Door, is_open: bool) -> Json:
    content: Json = {kind: {"schema": {}} for kind in operation.answers_also}
    if operation.answer:
        content[JSON] = {"schema": operation.answer.__name__}
    responses: dict[int, Json] = {200: {"description": "As asked", "content": content}}
    if operation.cached:
        responses[304] = {"description": "If-None-Match names what would be answered"}
        responses[412] = {"description": "If-Match names something else", "content": content}
    for status, codes in _codes_by_status((*OF_ANY, *operation.errors), door, is_open).items():
        responses[status] = _failure(door, status, codes, seen_by_parser=_is_seen_by_the_parser(status))
    for status, code in OF_THE_PARSER.items():
        responses[status] = _failure(door, status, [code], seen_by_parser=True)
    if operation.unavailable:
        described = {"description": "It does not", "content": {JSON: {"schema": operation.unavailable.__name__}}}
        responses[503] = described
    for status, response in responses.items():
        response["headers"] = {"X-Request-ID": "X-Request-ID"}
        if status in RETRY_LATER:
            response["headers"]["Retry-After"] = "Retry-After"
    return {str(status): responses[status] for status in sorted(responses)}


def _codes_by_status(errors: Errors, door: Door, is_open: bool) -> dict[int, list[str]]:
    codes: dict[int, list[str]] = {}
    for error in errors:
        if is_open and error is Unauthorized:
            continue
        code, usual = next(ERRORS[kind] for kind in error.__mro__ if kind in ERRORS)
        named = codes.setdefault(door.statuses.get(error, usual), [])
        if code not in named:
            named.append(code)
    return codes


def _is_seen_by_the_parser(status: int) -> bool:
    return status in {ERRORS[error][1] for error in SEEN_BY_THE_PARSER}


def _failure(door: Door, status: int, codes: Iterable[str], seen_by_parser: bool) -> Json:
    shapes = [schemas.Failure] if status in OF_THE_PARSER else [door.error]
    if seen_by_parser and schemas.Failure not in shapes:
        shapes.append(schemas.Failure)  # for what never reached the door
    schema: Any = shapes[0].__name__ if len(shapes) == 1 else {"anyOf": [shape.__name__ for shape in shapes]}
    described = f"{HTTPStatus(status).phrase}: {', '.join(codes)}"
    return {"description": described, "content": {JSON: {"schema": schema}}}


def _without_defaults(schema: Mapping[str, Any]) -> Json:
    """A model's schema without what says nothing: the defaults, which are all null, and titles made of names."""
    properties = {
        name: {key: value for key, value in one.items() if key not in ("default", "title")}
        for name, one in schema.get("properties", {}).items()
    }
    return {**schema, **({"properties": properties} if properties else {})}
