"""What every answer tells browsers."""

import pytest
from flask import Response

from services.web.security_headers import SECURITY_HEADERS
from tests.fakes import make_app
from tests.web.answers import upload
from tests.web.api_keys import KEYS

EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("GET", "/v1/models", 401),
        ("POST", "/analyze", 401),
        ("GET", "/nothing", 401),
        ("OPTIONS", "/analyze", 204),
    ],
)
def test_on_every_answer(method: str, path: str, status: int) -> None:
    with make_app(api_keys=KEYS) as app:
        response = app.test_client().open(path, method=method)
    assert response.status_code == status
    assert {name: response.headers.get(name) for name in EXPECTED} == EXPECTED


def test_on_captions_and_on_faults() -> None:
    with make_app() as app:

        @app.get("/broken")
        def broken() -> str:
            raise RuntimeError

        client = app.test_client()
        answers = [client.post("/analyze", **upload()), client.get("/broken"), client.get("/nothing")]
    assert [answer.status_code for answer in answers] == [200, 500, 404]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in EXPECTED} == EXPECTED


def test_a_page_may_have_a_policy_of_its_own() -> None:
    with make_app() as app:

        @app.get("/own")
        def own() -> Response:
            return Response("", headers={"Content-Security-Policy": "default-src 'self'"})

        response = app.test_client().get("/own")
    assert response.headers.getlist("Content-Security-Policy") == ["default-src 'self'"]
    assert response.headers["X-Frame-Options"] == "DENY"
    assert set(SECURITY_HEADERS) == set(EXPECTED)
