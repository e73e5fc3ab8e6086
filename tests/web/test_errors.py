"""Errors of no single input: every answer is JSON in the one envelope, whatever the route and the method."""

import logging
import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services import errors
from services.web.responses import ERRORS, code_and_status
from tests.fakes import make_app, picture
from tests.web.answers import body_of, failure


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    with make_app() as app:

        @app.get("/broken")
        def broken() -> str:
            raise RuntimeError("secret details")

        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.NoInput(""), "no_input", 400),
        (errors.ConflictingInput(""), "conflicting_input", 400),
        (errors.InvalidParameter(""), "invalid_parameter", 400),
        (errors.UrlNotAllowed(), "url_not_allowed", 400),
        (errors.UrlUnreachable(""), "url_unreachable", 400),
        (errors.FileNotAllowed(""), "file_not_allowed", 403),
        (errors.FileMissing(""), "file_not_found", 400),
        (errors.UnsupportedFormat(), "unsupported_format", 415),
        (errors.UnreadableImage(""), "unreadable_image", 400),
        (errors.TooLarge(""), "too_large", 413),
        (errors.BadRequest(""), "bad_request", 400),
        (errors.ModelNotConfigured(""), "model_not_configured", 400),
        (errors.NoCaption(""), "no_caption", 422),
        (errors.Overloaded(""), "overloaded", 503),
        (errors.ModelNotReady(""), "model_not_ready", 503),
        (errors.DeadlineExceeded(""), "deadline_exceeded", 504),
        (RuntimeError(), "internal_error", 500),
    ],
)
def test_code_and_status(error: Exception, code: str, status: int) -> None:
    assert code_and_status(error) == (code, status)


def test_every_error_of_the_tree_has_a_row() -> None:
    assert set(errors.CaptioningError.__subclasses__()) <= set(ERRORS)


@pytest.mark.parametrize("path", ["/nothing", "/analyze/more", "/v3", "/static/a.js", "/%0Aanalyze"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_not_found(client: FlaskClient, method: str, path: str) -> None:
    response = client.open(path, method=method)
    shown = path.replace("%0A", "\n")
    assert (response.status_code, body_of(response)) == (
        404,
        failure("not_found", f"There is no {shown} here; / lists what there is"),
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/analyze", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/v3/analyze", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/v2/analyze", "GET, HEAD, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("BREW", "/", "GET, HEAD, OPTIONS"),
    ],
)
def test_method_not_allowed(client: FlaskClient, method: str, path: str, allowed: str) -> None:
    response = client.open(path, method=method)
    assert response.headers["Allow"] == allowed
    assert (response.status_code, body_of(response)) == (
        405,
        failure("method_not_allowed", f"{method} is not allowed for {path}; allowed: {allowed}"),
    )


def test_a_fault_of_ours_is_logged_and_not_shown(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    response = client.get("/broken", headers={"X-Request-ID": "abc"})
    assert (response.status_code, body_of(response)) == (
        500,
        failure("internal_error", "This is a fault of the service; its log explains it under the request id abc"),
    )
    assert "secret details" in caplog.text


def test_head_has_the_headers_of_get_and_no_body(client: FlaskClient) -> None:
    ok, wrong = client.head("/v2/health/live"), client.head("/analyze")
    assert (ok.status_code, ok.data, ok.content_length) == (200, b"", len(client.get("/v2/health/live").data))
    assert (wrong.status_code, wrong.data, wrong.content_type) == (400, b"", "application/json")


@pytest.mark.parametrize("host", ["a b", "<script>", "[::1", "x" * 300 + ":70000"])
def test_a_malformed_host_is_no_fault_of_ours(client: FlaskClient, host: str) -> None:
    response = client.get("/v2/health/live", headers={"Host": host})
    assert response.status_code in {200, 400}
    assert response.content_type == "application/json"


@pytest.mark.parametrize("sent", ["a", "Z-9_.x", "x" * 64])
def test_a_sane_request_id_is_kept(client: FlaskClient, sent: str) -> None:
    for path in ("/health", "/analyze", "/nothing"):
        assert client.get(path, headers={"X-Request-ID": sent}).headers["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 65, "ä", "a,b"])
def test_other_requests_get_a_fresh_id(client: FlaskClient, sent: str | None) -> None:
    environ = {} if sent is None else {"HTTP_X_REQUEST_ID": sent}
    ids = {client.get("/health", environ_overrides=environ).headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", fresh) for fresh in ids)


def test_a_lone_surrogate_comes_back_as_it_was_sent(client: FlaskClient) -> None:
    response = client.post("/analyze", data=rb'{"model": "\udcff", "file": "/a"}', content_type="application/json")
    assert body_of(response) == failure(
        "model_not_configured", "The model \udcff is not served here, only fake/colours is"
    )


def test_the_log_has_one_line_a_request_without_its_query(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="services.web")
    client.post("/v3/analyze?token=secret", data=picture(), headers={"X-Request-ID": "1"})
    client.get("/no%0Asuch?url=secret", headers={"X-Request-ID": "2"})
    lines = [re.sub(r"\d+ ms", "N ms", record.getMessage()) for record in caplog.records]
    assert lines == [
        "1 127.0.0.1 POST /v3/analyze 200 N ms ok",
        "2 127.0.0.1 GET /no%0Asuch 404 N ms not_found",
    ]
