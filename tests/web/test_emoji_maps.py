"""Which map answers a request, and what is told of it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from services.emoji.in_use import MapHolder
from services.emoji.refresher import MapRefresher, open_map
from services.emoji.sync import MapFetcher
from tests.emoji.map_server import MapServer, answer, map_server
from tests.fakes import FakeCaptioner, make_app
from tests.web.answers import upload

EMOJIS = {"bundled": "🐕", "one": "🐶", "two": "🐩"}  # version -> what its map has for a dog


def map_text(version: str) -> str:
    return f'version: "{version}"\nnouns:\n  "dog": "{EMOJIS[version]}"\n'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MapServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with map_server() as server:
        yield server


@pytest.fixture
def maps(server: MapServer, tmp_path: Path) -> tuple[MapHolder, MapRefresher]:
    bundled = tmp_path / "bundled.yaml"
    bundled.write_text(map_text("bundled"), encoding="utf-8")
    fetch = MapFetcher(allow_http_loopback=True).fetch
    holder, refresher = open_map(bundled, server.url, tmp_path / "cache", fetch, interval_s=0.001)
    assert refresher
    return holder, refresher


def answered(app: Flask) -> tuple[str, list[dict[str, str]]]:
    """The version of the map, and the rows, of one answer."""
    response = app.test_client().post("/analyze", **upload())
    assert response.status_code == 200
    body: Any = response.json
    return body["metadata"]["emoji_map_version"], body["predictions"][0]["emoji_mappings"]


def test_a_new_map_changes_the_next_answer_and_its_version(
    server: MapServer, maps: tuple[MapHolder, MapRefresher], tmp_path: Path
) -> None:
    holder, refresher = maps
    with make_app(FakeCaptioner("a dog"), emoji_maps=holder) as app:
        assert answered(app) == ("bundled", [{"emoji": "🐕", "word": "dog"}])
        assert health(app) == (str(tmp_path / "bundled.yaml"), "bundled", None)

        server.publish(answer(map_text("one")))
        refresher.refresh()
        assert answered(app) == ("one", [{"emoji": "🐶", "word": "dog"}])
        assert health(app) == (server.url, "one", None)

        server.publish(answer(status=500))
        refresher.refresh()
        assert answered(app) == ("one", [{"emoji": "🐶", "word": "dog"}])
        error = f"{server.url}: answered 500 Internal Server Error"
        assert health(app) == (server.url, "one", error)


def health(app: Flask) -> tuple[str, str, str | None]:
    """Source, version and error of the map that /health shows."""
    response = app.test_client().get("/health")
    assert response.status_code == 200  # a map that cannot be refreshed makes nobody unhealthy
    body: Any = response.json
    shown = body["emoji_map"]
    assert set(shown) == {"source", "version", "sha256", "age_seconds", "last_error"}
    assert 0 <= shown["age_seconds"] < 600
    return shown["source"], shown["version"], shown["last_error"]


def test_maps_that_change_under_running_requests_never_mix(
    server: MapServer, maps: tuple[MapHolder, MapRefresher]
) -> None:
    holder, refresher = maps
    turn = 0

    def reply(handler: Any) -> None:
        nonlocal turn
        turn += 1
        good = answer(map_text(("one", "two")[turn // 2 % 2]))
        (good if turn % 2 else answer(status=500))(handler)

    server.publish(reply)
    seen = set()
    lock = threading.Lock()
    with make_app(FakeCaptioner("a dog"), emoji_maps=holder) as app:

        def ask() -> None:
            while turn < 40:
                version, rows = answered(app)
                assert rows == [{"emoji": EMOJIS[version], "word": "dog"}]
                with lock:
                    seen.add(version)

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        while turn < 40:
            refresher.refresh()
        for thread in asking:
            thread.join()
    assert {"one", "two"} <= seen
