from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from flask import Flask

from services.web.security_headers import SECURITY_HEADERS
from tests.fakes import make_app
from tests.web.answers import body_of, failure

PAGE = "https://app.example.org"
LIST = (PAGE, "http://localhost:3000")


def served(cors_origins: tuple[str, ...]) -> AbstractContextManager[Flask]:
    return make_app(cors_origins=cors_origins)


@pytest.fixture(scope="module")
def private() -> Iterator[Flask]:
    with make_app(private=True, cors_origins=()) as app:
        yield app


@pytest.mark.parametrize(
    ("cors_origins", "origin", "allowed", "vary"),
    [
        (("*",), PAGE, "*", None),
        (("*",), None, "*", None),
        (LIST, PAGE, PAGE, "Origin"),
        (LIST, "http://localhost:3000", "http://localhost:3000", "Origin"),
        (LIST, "http://localhost:3001", None, "Origin"),
        (LIST, "https://app.example.org.evil.org", None, "Origin"),
        (LIST, "null", None, "Origin"),
        (LIST, None, None, "Origin"),
        ((), PAGE, None, None),
    ],
)
def test_which_pages_may_read_the_answers(
    cors_origins: tuple[str, ...], origin: str | None, allowed: str | None, vary: str | None
) -> None:
    headers = {"Origin": origin} if origin else {}
    with served(cors_origins) as app:
        for path in ("/health", "/analyze", "/nothing"):  # errors too: the page should see what is wrong
            response = app.test_client().get(path, headers=headers)
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
            assert response.headers.get("Vary") == vary
            readable = response.headers.get("Access-Control-Expose-Headers")
            assert readable == ("Retry-After, X-Request-ID" if allowed else None)


def test_preflight() -> None:
    headers = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    with served(("*",)) as app:
        response = app.test_client().options("/v3/analyze", headers=headers)
    fresh_id = response.headers["X-Request-ID"]
    assert (response.status_code, response.data, dict(response.headers)) == (
        204,
        b"",
        {
            "Allow": "GET, HEAD, OPTIONS, POST",
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS, POST",
            "Access-Control-Allow-Headers": "content-type",
            "Access-Control-Max-Age": "3600",
            "Access-Control-Expose-Headers": "Retry-After, X-Request-ID",
            "X-Request-ID": fresh_id,
            **SECURITY_HEADERS,
        },
    )


OURS = "Authorization, Content-Type, X-API-Key, X-Request-ID, X-Request-Timeout"


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ("authorization,x-stainless-lang,x-stainless-os", "authorization,x-stainless-lang,x-stainless-os"),
        ("content-type, traceparent", "content-type, traceparent"),
        ("", OURS),
        ("a:b", OURS),
        ("a,", OURS),
        (",".join(["x-a"] * 31), ",".join(["x-a"] * 31)),
        (",".join(["x-a"] * 32), OURS),
    ],
)
def test_pages_may_send_headers_of_their_own(wanted: str, allowed: str) -> None:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    with served(("*",)) as app:
        response = app.test_client().options("/v1/chat/completions", headers={"Origin": PAGE, **headers})
    assert response.headers["Access-Control-Allow-Headers"] == allowed


@pytest.mark.parametrize("headers", [{}, {"Origin": PAGE, "Access-Control-Request-Method": "POST"}])
def test_options_where_no_other_page_may_call(headers: dict[str, str]) -> None:
    with served(()) as app:
        response = app.test_client().options("/health", headers=headers)
    assert (response.status_code, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert not [name for name in dict(response.headers) if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LocalHost:7777", "localhost.", "localhost.:7777", "localhost:"),
        *("127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:7777"),
    ],
)
def test_private_answers_to_its_own_names(private: Flask, host: str) -> None:
    response = private.test_client().get("/v2/health/live", headers={"Host": host})
    assert (response.status_code, response.json) == (200, {"live": True})


@pytest.mark.parametrize(
    "host",
    [
        *("evil.org", "evil.org:7777", "localhost.evil.org", "127.0.0.1.evil.org", "evil.org:127", "localhost.."),
        *("127.0.0.2", "", ".", ":7777", "::1", "[::2]", "[::1", "[::ffff:127.0.0.1]", "[::1].evil.org"),
        *("localhost:7777:1", "localhost:x", "a@localhost", "localhost@evil.org", "localhost, evil.org"),
        *("localhost/", "0.0.0.0"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/health"), ("POST", "/analyze"), ("OPTIONS", "/analyze"), ("GET", "/nothing")],
)
def test_private_refuses_other_names_on_all_routes(private: Flask, method: str, path: str, host: str) -> None:
    response = private.test_client().open(path, method=method, headers={"Host": host})
    assert (response.status_code, body_of(response)) == (
        403,
        failure("host_not_allowed", "This service is private: it answers to localhost and 127.0.0.1 only"),
    )


def test_without_private_any_name_will_do() -> None:
    with make_app() as app:
        assert app.test_client().get("/health", headers={"Host": "captions.home:7777"}).status_code == 200
