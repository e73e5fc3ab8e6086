"""The whole way from the settings to an answer: a process of its own, https, and no model."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import pytest

from config.values import CHECKOUT
from tests.emoji.map_server import MapServer, answer, map_server
from tests.images.servers import CERTIFICATE

MAP = 'version: "published"\nnouns:\n  "dog": "🐩"\n'

# REST.create_app() on a fake captioner; prints the version of the map that answers first, and at last.
SERVICE = """
import os, pathlib, sys
import REST
from tests.fakes import FakeCaptioner, loads, wait_for
from tests.web.answers import upload

REST._loader = lambda *_: loads(FakeCaptioner("a dog"))
app = REST.create_app()
client = app.test_client()
wait_for(lambda: client.get("/ready").status_code == 200, 60)

def answered():
    body = client.post("/analyze", **upload()).json
    return body["metadata"]["emoji_map_version"], body["predictions"][0]["emoji_mappings"][0]["emoji"]

print(*answered())
if sys.argv[1:]:
    wait_for(lambda: client.get("/health").json["emoji_map"]["version"] == sys.argv[1], 60)
    print(*answered())
    cached = pathlib.Path(os.environ["XDG_CACHE_HOME"])
    wait_for(lambda: any(cached.rglob("*.json")), 60)  # the next start has it, too
print(client.get("/health").json["emoji_map"]["source"])
assert "torch" not in sys.modules
"""

# Begins the drain while the map's server is silent; prints what became of the refresher's thread.
DRAIN = """
import threading
import REST
from tests.fakes import FakeCaptioner, loads, wait_for

def refreshing():
    return any(thread.name == "emoji-map" for thread in threading.enumerate())

REST._loader = lambda *_: loads(FakeCaptioner("a dog"))
app = REST.create_app()
assert refreshing()
input()  # until the server was asked
app.extensions["begin_drain"]()
wait_for(lambda: not refreshing())
print("ended")
"""


@pytest.fixture
def tls_server() -> Iterator[MapServer]:
    with map_server(tls=True) as server:
        yield server


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    (tmp_path / "bundled.yaml").write_text('version: "bundled"\nnouns:\n  "dog": "🐕"\n', encoding="utf-8")
    return {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "EMOJI_MAP": str(tmp_path / "bundled.yaml"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "REQUESTS_CA_BUNDLE": str(CERTIFICATE),
        "NO_PROXY": "localhost",
        **settings,
    }


def run_service(tmp_path: Path, *arguments: str, **settings: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SERVICE, *arguments],
        cwd=CHECKOUT, env=environment(tmp_path, **settings),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_service_fetches_its_map_and_starts_with_it_the_next_time(tls_server: MapServer, tmp_path: Path) -> None:
    tls_server.publish(answer(MAP))
    url = tls_server.url
    first = run_service(tmp_path, "published", EMOJI_MAP_URL=url)
    assert first[-2:] == ["published 🐩", url]
    n_asked = len(tls_server.asked)
    assert n_asked == 1

    offline = run_service(tmp_path, EMOJI_MAP_URL=url, AUTO_UPDATE="false")
    assert offline == ["published 🐩", url]
    assert len(tls_server.asked) == n_asked


def test_without_an_address_the_bundled_map_answers(tmp_path: Path) -> None:
    assert run_service(tmp_path) == ["bundled 🐕", str(tmp_path / "bundled.yaml")]
    assert not (tmp_path / "cache").exists()


def test_an_address_that_nobody_answers_costs_nothing(tmp_path: Path) -> None:
    assert run_service(tmp_path, EMOJI_MAP_URL="https://localhost:9/m.yaml")[0] == "bundled 🐕"


def test_the_drain_ends_a_fetch_that_would_take_long(tls_server: MapServer, tmp_path: Path) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def reply(handler: object) -> None:
        asked.set()
        may_answer.wait(300)

    tls_server.publish(reply)
    with subprocess.Popen(
        [sys.executable, "-c", DRAIN],
        cwd=CHECKOUT, env=environment(tmp_path, EMOJI_MAP_URL=tls_server.url), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert asked.wait(120)
            assert process.communicate("drain\n", timeout=120) == ("ended\n", ANY)
        finally:
            process.kill()
            may_answer.set()
