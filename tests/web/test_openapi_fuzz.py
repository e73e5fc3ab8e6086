"""Requests made up from the OpenAPI document: whatever they are, no fault, and no answer that is not described.

Nothing leaves this machine: the policy of these tests fetches no URL at all.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import BaseSchema, Case, CheckFunction, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.images.policy import UrlPolicy
from services.web.openapi_examples import DATA_URI, PICTURE
from tests.fakes import make_app
from tests.web.answers import TEAL_PNG
from tests.web.listening import ListeningCaptioner

FEW, MANY = 5, 150  # cases of each operation and kind of generation
NO_URL = UrlPolicy(ports=())
AS_DESCRIBED: list[CheckFunction] = [
    status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance
]  # fmt: skip
KINDS = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
# What is made up has no picture in it but by a miracle; with these, half of the requests get further.
PICTURES = {
    "image": PICTURE, "base64_string": PICTURE, "img_url": DATA_URI, "images": [DATA_URI],
    "content": [{"type": "image_url", "image_url": {"url": DATA_URI}}],
    "inputs": [{"name": "img_url", "shape": [1], "datatype": "BYTES", "data": [DATA_URI]}],
}  # fmt: skip
UPLOADS = ("file", "image", "img_file")


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    with make_app(ListeningCaptioner("two dogs"), url_policy=NO_URL) as app:
        yield app


def with_picture(body: Any, is_form: bool) -> Any:
    match body:
        case bytes():
            return TEAL_PNG
        case dict() if is_form:
            return {name: TEAL_PNG if name in UPLOADS else value for name, value in body.items()}
        case dict():
            return {name: PICTURES.get(name, with_picture(value, is_form)) for name, value in body.items()}
        case list():
            return [with_picture(one, is_form) for one in body]
        case _:
            return body


def run_cases(schema: BaseSchema, method: str, path: str, max_examples: int) -> int:
    """How many cases there were: up to `max_examples` of each kind."""
    n_cases = 0
    for kind in KINDS:

        @settings(
            max_examples=max_examples, derandomize=True, database=None, deadline=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=schema[path][method].as_strategy(generation_mode=kind), is_helped=st.booleans())
        def run(case: Case[Any], is_helped: bool) -> None:
            nonlocal n_cases
            if is_helped:
                case.body = with_picture(case.body, "form" in (case.media_type or ""))
                case.path_parameters = dict.fromkeys(case.path_parameters or {}, "blip")
            response = case.call()
            n_cases += 1
            assert response.status_code != 500, case.as_curl_command()
            case.validate_response(response, checks=AS_DESCRIBED)

        # a route that takes nothing cannot be asked in a wrong way
        with suppress(*([Unsatisfiable] if kind is GenerationMode.NEGATIVE else [])):
            run()
    return n_cases


def run_all(app: Flask, max_examples: int) -> int:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    schema.raw_schema.pop("servers")  # it would ask for /./
    found = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
    left_out = {"/openapi.json"}  # schemathesis never asks for the document itself
    assert {one.path for one in found} == set(schema.raw_schema["paths"]) - left_out
    return sum(run_cases(schema, one.method, one.path, max_examples) for one in found)


def test_a_few_made_up_requests_of_each_route(app: Flask) -> None:
    assert run_all(app, FEW) > 200


@pytest.mark.slow
def test_five_thousand_made_up_requests(app: Flask) -> None:
    assert run_all(app, MANY) >= 5_000
