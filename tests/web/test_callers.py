"""API keys and the limit on requests, at every door."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.web.rate_limit import ADDRESS_COUNTS, RateLimit, of_address
from tests.fakes import make_app, wait_for
from tests.web.answers import TEAL_PNG, body_of, failure, upload
from tests.web.api_keys import BEARER, KEY, KEYS
from tests.web.compat.test_doors import DOORS, as_detail, as_error, as_photoprism

NO_KEY = "This service asks for an API key: send `Authorization: Bearer KEY` or `X-API-Key: KEY`"
WRONG_KEY = "The API key is not one of this service's: send `Authorization: Bearer KEY` or `X-API-Key: KEY`"
OPEN = (
    *("/health", "/health/", "/ready", "/v2/health/live", "/v2/health/ready"),
    *("/", "/page/main.js", "/examples", "/docs", "/openapi.json"),
)
CLOSED = (
    *("/analyze", "/v3/analyze", "/v2/analyze", "/v2/analyze_file", "/v1/models", "/v2/models/blip"),
    *("/metrics", "/nothing", "/health/more", "/v2/health", "/v2/models/blip/ready"),
)


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    with make_app(api_keys=KEYS) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_without_a_key(client: FlaskClient, path: str) -> None:
    for headers in ({}, {"X-API-Key": "wrong"}):
        assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_is_closed(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert NO_KEY in response.get_data(as_text=True)
    assert client.get(path, headers=BEARER).status_code in {200, 400, 404, 405}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer   {KEY} "},
        {"X-API-Key": KEY},
        {"X-API-Key": "key of bob"},
        {"Authorization": "Basic YTpi", "X-API-Key": KEY},  # a proxy's own password, and our key
        {"Authorization": "Bearer of something else", "X-API-Key": KEY},
    ],
)
def test_a_key_lets_in(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/analyze", headers=headers, **upload()).status_code == 200


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, NO_KEY),
        ({"Authorization": "Bearer"}, NO_KEY),
        ({"Authorization": "Bearer "}, NO_KEY),
        ({"Authorization": KEY}, NO_KEY),
        ({"Authorization": f"Basic {KEY}"}, NO_KEY),
        ({"X-API-Key": ""}, NO_KEY),
        ({"Authorization": f"Bearer {KEY}x"}, WRONG_KEY),
        ({"Authorization": f"Bearer {KEY[:-1]}"}, WRONG_KEY),
        ({"X-API-Key": KEY.upper()}, WRONG_KEY),
        ({"X-API-Key": f"Bearer {KEY}"}, WRONG_KEY),
        ({"X-API-Key": "ä"}, WRONG_KEY),
    ],
)
def test_other_keys_do_not(client: FlaskClient, headers: dict[str, str], message: str) -> None:
    response = client.post("/v3/analyze", headers=headers, **upload())
    assert (response.status_code, body_of(response)) == (401, failure("unauthorized", message))
    assert KEY not in response.get_data(as_text=True)


def test_a_key_in_the_query_is_none(client: FlaskClient) -> None:
    assert client.get("/v1/models", query_string={"api_key": KEY, "key": KEY}).status_code == 401


def as_openai(code: str, status: int, message: str) -> tuple[int, Any]:
    kind = {401: "authentication_error", 429: "rate_limit_error"}[status]
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


# PhotoPrism's own id stands in the body, which nobody reads before the caller is known; the request's id is sent.
IN_ITS_SHAPE = [
    (path, args, shape if shape in (as_detail, as_error, as_photoprism) else as_openai)
    for path, args, shape in DOORS
]


@pytest.mark.parametrize(("path", "args", "shape"), IN_ITS_SHAPE, ids=[door[0] for door in DOORS])
def test_each_door_refuses_in_its_own_shape(path: str, args: dict[str, Any], shape: Any) -> None:
    mine = {"X-Request-ID": "my-id"}
    with make_app(api_keys=KEYS, rate_limit="3/day") as app:
        client = app.test_client()
        refused = client.post(path, headers=mine, **args)
        assert (refused.status_code, refused.json) == shape("unauthorized", 401, NO_KEY)
        refused = client.get(path, headers=mine)  # the wrong method of a route of theirs
        assert (refused.status_code, refused.json) == shape("unauthorized", 401, NO_KEY)
        assert client.post(path, headers=mine, data=b"{").status_code == 401  # not read
        assert client.post(path, headers={**BEARER, **mine}, **args).status_code == 200
        limited = client.post(path, headers=mine, **args)
    message = f"Too many requests: 3/day are allowed; try again in {limited.headers['Retry-After']} s"
    assert (limited.status_code, limited.json) == shape("rate_limited", 429, message)


def test_a_preflight_needs_no_key(client: FlaskClient) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "authorization,x-api-key"
    response = client.options("/analyze", headers=asks)
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (204, "*")
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(",")
    assert {"authorization", "x-api-key"} <= {name.strip() for name in allowed}
    # the refusal can be read by the page too
    assert client.get("/analyze", headers=asks).headers["Access-Control-Allow-Origin"] == "*"
    assert client.options("/nothing", headers=asks).status_code == 401


# --- the limit ---


def statuses(client: FlaskClient, n: int, **headers: str) -> list[int]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [client.get("/v1/models", headers=named).status_code for _ in range(n)]


def test_so_many_and_no_more() -> None:
    with make_app(rate_limit="3/hour") as app:
        client = app.test_client()
        assert statuses(client, 5) == [200, 200, 200, 429, 429]
        response = client.post("/analyze", data=TEAL_PNG)
        seconds = int(response.headers["Retry-After"])
        assert 3500 < seconds <= 3600
        message = f"Too many requests: 3/hour are allowed; try again in {seconds} s"
        assert (response.status_code, body_of(response)) == (429, failure("rate_limited", message))
        for path in OPEN:
            assert client.get(path).status_code == 200
        assert client.get("/nothing").status_code == 429
        assert client.options("/analyze").status_code == 204


def test_the_window_ends() -> None:
    with make_app(rate_limit="1/second") as app:
        client = app.test_client()
        assert 429 in statuses(client, 3)
        wait_for(lambda: statuses(client, 1) == [200])


def test_each_address_and_each_key_has_its_own_count() -> None:
    with make_app(rate_limit="1/hour", api_keys=KEYS) as app:

        def ask(address: str, key: str = "") -> int:
            return app.test_client().get(
                "/v1/models", headers={"X-API-Key": key} if key else {}, environ_overrides={"REMOTE_ADDR": address}
            ).status_code

        assert [ask("192.0.2.1"), ask("192.0.2.1"), ask("192.0.2.2")] == [401, 429, 401]  # guesses are counted
        assert [ask("192.0.2.1", "wrong"), ask("192.0.2.3", "wrong")] == [429, 401]
        assert [ask("192.0.2.1", KEY), ask("192.0.2.2", KEY)] == [200, 429]  # wherever it comes from
        assert [ask("192.0.2.1", "key of bob"), ask("192.0.2.1", "key of bob")] == [200, 429]


def test_what_counts_as_one_address() -> None:
    one = "2001:db8:1:2::1"
    assert of_address(one) == of_address("2001:db8:1:2:ffff:ffff:ffff:ffff") == of_address("2001:0db8:1:2::1")
    assert of_address("::ffff:192.0.2.1") == of_address("192.0.2.1")
    assert of_address("") == of_address("no address")
    # two addresses share one of 16,384 counts by chance; all of these do not
    assert len({of_address(one), of_address("2001:db8:1:3::1"), of_address("::1"), of_address("192.0.2.1")}) > 1


def test_any_number_of_addresses_takes_bounded_memory() -> None:
    assert len({of_address(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}") for i in range(200_000)}) <= ADDRESS_COUNTS


def test_counts_are_right_with_many_threads() -> None:
    limit = RateLimit("100/hour")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: limit.hit("x"), range(1000)))
    assert answers.count(None) == 100
