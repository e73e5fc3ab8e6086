"""What tests of the sync have in common: a server of maps, and a service that follows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from services.emoji.in_use import MapHolder
from services.emoji.refresher import MapRefresher, open_map
from services.emoji.sync import MapFetcher
from tests.emoji.map_server import MapServer, map_server, map_text

HOUR_S = 3600.0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MapServer]:
    """A server of maps, reached without any proxy of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("no_proxy", raising=False)
    with map_server() as server:
        yield server


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    path = tmp_path / "bundled.yaml"
    path.write_text(map_text("bundled"), encoding="utf-8")
    return path


class Start(Protocol):
    """What a start of the service does; the cache is kept from one to the next. timeout_s: of a fetch."""

    def __call__(self, timeout_s: float = 60) -> tuple[MapHolder, MapRefresher]: ...


@pytest.fixture
def start(server: MapServer, bundled: Path, tmp_path: Path) -> Start:
    def start(timeout_s: float = 60) -> tuple[MapHolder, MapRefresher]:
        fetcher = MapFetcher(read_timeout_s=timeout_s, total_timeout_s=timeout_s, allow_http_loopback=True)
        holder, refresher = open_map(bundled, server.url, tmp_path / "cache", fetcher.fetch, HOUR_S)
        assert refresher
        return holder, refresher

    return start


def version(holder: MapHolder) -> str:
    return holder.current.emoji_map.version
