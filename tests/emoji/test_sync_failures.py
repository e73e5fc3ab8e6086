"""Bad answers of every kind: the last good map stays in use, and what is wrong is told."""

import gzip
import logging
import threading
from pathlib import Path

import pytest

from services.emoji.refresher import open_map
from tests.emoji.conftest import HOUR_S, Start, version
from tests.emoji.map_server import HEAD, ONE, TWO, WORDS, MapServer, Reply, answer, map_text, published, raw

BAD: dict[str, tuple[Reply, str]] = {
    "404": (answer(status=404), "answered 404"),
    "429": (answer(status=429, headers={"Retry-After": "7"}), "answered 429"),
    "500": (answer(status=500), "answered 500"),
    "no answer": (raw(b"", pause_s=9), "no whole answer in time"),
    "too slow": (raw(HEAD + b"Content-Length: 99\r\n\r\n", *[b"#"] * 50, pause_s=0.2), "no whole answer in time"),
    # what is left is a good map, so that only the length tells
    "truncated": (
        raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(TWO.encode()), TWO.partition("canaries")[0].encode()),
        "cannot be fetched",
    ),
    "empty": (answer(""), "the file must hold"),
    "not text": (answer(b"\xff\xfe\x00"), "not UTF-8 text"),
    "not YAML": (answer("a: [b\n"), ":"),
    "wrong schema": (answer('version: "2"\nwords:\n  "dog": "🐶"\n'), "unknown section 'words'"),
    "absurd": (answer(f'"{"x" * 1000}": "y"\n'), "unknown section"),
    "not an emoji": (answer(TWO.replace('"cat": "🐾"', '"cat": "cat"')), "'cat'"),
    "canary": (answer(map_text("two", canary="🐶")), "canary"),
    "half lost": (answer(map_text("two", WORDS[:5])), "lacks 5 of the 10"),
    "huge": (answer(TWO + "#" * 3_000_000), "larger than"),
    "bomb": (answer(gzip.compress(b"#" * 5_000_000, 1), headers={"Content-Encoding": "gzip"}), "larger than"),
    "web page": (answer("<html>", headers={"Content-Type": "text/html"}), "is a web page"),
    "nested": (answer("[" * 100_000), "emoji_map.yaml:1: "),
    "hang up": (raw(b"HTTP/1.1 2"), "cannot be fetched"),
}


@pytest.mark.parametrize(("reply", "reason"), BAD.values(), ids=BAD)
def test_whatever_is_wrong_the_last_good_map_stays(
    server: MapServer, start: Start, reply: Reply, reason: str
) -> None:
    server.publish(published(ONE, '"1"'))
    start()[1].refresh()
    holder, refresher = start(timeout_s=2 if "in time" in reason else 60)
    good = holder.current

    server.publish(reply)
    refresher.refresh()
    now = holder.current
    assert (now.emoji_map, now.mapper, now.confirmed_at) == (good.emoji_map, good.mapper, good.confirmed_at)
    assert now.last_error
    assert reason in now.last_error
    assert len(now.last_error) <= 1000
    assert version(start()[0]) == "one"

    server.publish(published(TWO, '"2"'))
    refresher.refresh()
    if "in time" not in reason:  # else the second time may be too short as well, on a busy machine
        assert (version(holder), holder.current.last_error) == ("two", None)


def test_without_any_good_published_map_the_bundled_one_serves(server: MapServer, start: Start) -> None:
    for reply, _ in (BAD["404"], BAD["not YAML"], BAD["canary"]):
        server.publish(reply)
        holder, refresher = start()
        refresher.refresh()
        assert version(holder) == "bundled"
        assert holder.current.last_error
    server.publish(answer(map_text("small", WORDS[:2])))  # the loss is counted between published maps only
    refresher.refresh()
    assert version(holder) == "small"


@pytest.mark.parametrize(("kept", "accepted"), [(8, True), (7, True), (6, False), (1, False)])
def test_a_map_may_lose_three_in_ten_of_its_entries(
    server: MapServer, start: Start, kept: int, accepted: bool
) -> None:
    server.publish(answer(ONE))
    start()[1].refresh()
    others = ("lion", "wolf", "fox")  # do not make up for it
    server.publish(answer(map_text("two", (*WORDS[:kept], *others))))
    holder, refresher = start()
    refresher.refresh()
    assert (version(holder) == "two") is accepted


def test_a_bug_does_not_end_the_thread(
    server: MapServer, bundled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch(url: str, etag: str, stopping: threading.Event) -> None:
        raise ZeroDivisionError("nobody thought of that")

    holder, refresher = open_map(bundled, server.url, tmp_path / "cache", fetch, HOUR_S)
    assert refresher
    with caplog.at_level(logging.CRITICAL):
        assert refresher.refresh() <= 66
    assert (version(holder), holder.current.last_error) == ("bundled", "nobody thought of that")
