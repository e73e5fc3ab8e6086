"""Forwarded headers: believed from a trusted proxy, and from nobody else."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from tests.fakes import make_app
from tests.web.answers import body_of, failure, upload

PROXY = "10.0.0.2"  # the peer of every request here, unless it says otherwise
FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "captions.example",
    "X-Forwarded-Prefix": "/captions",
}


def seen() -> dict[str, Any]:
    return {"address": request.remote_addr, "url": request.url}


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    with make_app(trusted_proxies=(ip_network("10.0.0.0/24"), ip_network("fd00::/8"))) as app:
        app.get("/seen")(seen)
        yield app


def ask(app: Flask, headers: dict[str, str], peer: str = PROXY, path: str = "/seen") -> Any:
    client: FlaskClient = app.test_client()
    return client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": peer}).json


def test_a_trusted_proxy_is_believed(app: Flask) -> None:
    expected = {"address": "203.0.113.7", "url": "https://captions.example/captions/seen"}
    assert ask(app, FORWARDED) == ask(app, FORWARDED, peer="::ffff:10.0.0.2") == expected


@pytest.mark.parametrize("peer", ["10.0.1.2", "203.0.113.9", "127.0.0.1", "::1", "::ffff:10.0.1.2", ""])
def test_nobody_else_is(app: Flask, peer: str) -> None:
    assert ask(app, FORWARDED, peer) == {"address": peer, "url": "http://localhost/seen"}


def test_without_the_setting_nobody_is() -> None:
    with make_app() as app:
        app.get("/seen")(seen)
        for peer in ("127.0.0.1", PROXY):
            assert ask(app, FORWARDED, peer) == {"address": peer, "url": "http://localhost/seen"}


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the left one is what the client claims
        ("127.0.0.1,203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.9", "203.0.113.7"),  # a chain of two proxies
        ("198.51.100.1, 203.0.113.7, fd00::5, 10.0.0.9", "203.0.113.7"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),  # one of the proxies' own machines asks
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("unknown", PROXY),
        ("203.0.113.7, unknown", PROXY),
        ("unknown, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, x, 10.0.0.9", "10.0.0.9"),
        ("fe80::1%<script>", PROXY),
        ("", PROXY),
        (",,", PROXY),
        ('", 203.0.113.7', "203.0.113.7"),  # a quote that the client sent quotes nothing
        ('"198.51.100.1, 203.0.113.7, 10.0.0.9', "203.0.113.7"),
    ],
)
def test_who_the_client_is(app: Flask, forwarded: str, address: str) -> None:
    assert ask(app, {"X-Forwarded-For": forwarded})["address"] == address


@pytest.mark.parametrize(
    ("name", "value", "url"),
    [
        ("Proto", "https", "https://localhost/seen"),
        ("Proto", "http, https", "https://localhost/seen"),  # the nearest proxy's word
        ("Proto", "javascript", "http://localhost/seen"),
        ("Host", "a.example:8443", "http://a.example:8443/seen"),
        ("Host", "[2001:db8::1]:80", "http://[2001:db8::1]/seen"),
        ("Host", "a.example/x", "http://localhost/seen"),
        ("Host", "a b", "http://localhost/seen"),
        ("Host", "u:p@a.example", "http://localhost/seen"),
        ("Prefix", "/a/b-c", "http://localhost/a/b-c/seen"),
        ("Prefix", "//evil.example", "http://localhost/seen"),
        ("Prefix", "/a/", "http://localhost/seen"),
        ("Prefix", "a", "http://localhost/seen"),
        ("Prefix", '/"><script>', "http://localhost/seen"),
    ],
)
def test_only_what_looks_as_it_should(app: Flask, name: str, value: str, url: str) -> None:
    assert ask(app, {f"X-Forwarded-{name}": value})["url"] == url


def test_everything_works_under_a_prefix(app: Flask) -> None:
    """The proxy takes the prefix off the path, and says so."""
    under: dict[str, Any] = {"headers": FORWARDED, "environ_overrides": {"REMOTE_ADDR": PROXY}}
    client = app.test_client()
    for path in ("/health", "/ready", "/v2/health/live", "/v1/models", "/v2/models/blip", "/"):
        assert client.get(path, **under).status_code == 200
    assert client.post("/v3/analyze/", **upload(), **under).status_code == 200
    nothing = client.get("/nothing", **under)
    assert body_of(nothing) == failure("not_found", "There is no /nothing here; /captions/ lists what there is")
    assert client.delete("/analyze", **under).status_code == 405
    assert client.options("/analyze", **under).status_code == 204


def test_private_looks_at_the_host_that_was_sent() -> None:
    """A page that reaches this machine under a name of its own (DNS rebinding) can send any other header."""
    with make_app(private=True, trusted_proxies=(ip_network("127.0.0.1"),)) as app:
        client = app.test_client()
        theirs = client.get("/health", headers={"Host": "evil.example", "X-Forwarded-Host": "localhost"})
        ours = client.get("/health", headers={"Host": "localhost:7777", "X-Forwarded-Host": "captions.example"})
    assert (theirs.status_code, ours.status_code) == (403, 200)


def test_the_limit_counts_clients_not_the_proxy() -> None:
    with make_app(rate_limit="1/hour", trusted_proxies=(ip_network(PROXY),)) as app:
        client = app.test_client()

        def status(client_address: str, peer: str = PROXY) -> int:
            headers = {"X-Forwarded-For": client_address}
            return client.get("/v1/models", headers=headers, environ_overrides={"REMOTE_ADDR": peer}).status_code

        assert [status("203.0.113.7"), status("203.0.113.7"), status("203.0.113.8")] == [200, 429, 200]
        # who is no proxy cannot pretend to be somebody else each time
        assert [status("203.0.113.1", "192.0.2.1"), status("203.0.113.2", "192.0.2.1")] == [200, 429]
