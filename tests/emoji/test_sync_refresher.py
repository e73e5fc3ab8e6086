"""Published maps, and what becomes of the map in use."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from services.emoji.in_use import MapHolder
from services.emoji.map_file import MapFileError
from services.emoji.refresher import MapRefresher, open_map
from services.emoji.sync import MapFetcher
from tests.emoji.conftest import HOUR_S, Start, version
from tests.emoji.map_server import MAP_PATH, ONE, TWO, MapServer, answer, published
from tests.fakes import wait_for


def test_from_bundled_to_published_to_cached(server: MapServer, start: Start, bundled: Path) -> None:
    holder, refresher = start()
    first = holder.current
    assert (version(holder), first.emoji_map.source, first.last_error) == ("bundled", str(bundled), None)

    server.publish(published(ONE, '"1"'))
    refresher.refresh()
    now = holder.current
    assert (version(holder), now.emoji_map.source, now.last_error) == ("one", server.url, None)
    assert now.emoji_map.sha256 == hashlib.sha256(ONE.encode()).hexdigest()
    assert [pair.word for pair in now.mapper.map("a dog and a cat")] == ["dog", "cat"]

    server.publish(published(TWO, '"2"'))
    refresher.refresh()
    assert version(holder) == "two"
    assert version(start()[0]) == "two"  # the next start has it without asking
    assert server.asked == [(MAP_PATH, None), (MAP_PATH, '"1"')]


def test_an_unchanged_map_is_confirmed_and_not_sent(server: MapServer, start: Start, tmp_path: Path) -> None:
    server.publish(published(ONE, '"1"'))
    start()[1].refresh()
    (stored,) = (tmp_path / "cache").iterdir()
    os.utime(stored, (1000, 1000))
    holder, refresher = start()
    assert holder.current.confirmed_at == 1000
    assert holder.current.age_s > 1_000_000
    mapper = holder.current.mapper
    refresher.refresh()
    assert server.asked[-1] == (MAP_PATH, '"1"')
    assert holder.current.mapper is mapper
    assert holder.current.age_s < HOUR_S
    assert start()[0].current.age_s < HOUR_S  # it is noted on disk, too


def test_without_etags_the_same_content_is_not_compiled_again(server: MapServer, start: Start) -> None:
    server.publish(answer(ONE))
    holder, refresher = start()
    refresher.refresh()
    mapper = holder.current.mapper
    refresher.refresh()
    assert holder.current.mapper is mapper


def test_the_next_look_comes_sooner_after_a_failure_and_never_before_retry_after(
    server: MapServer, start: Start
) -> None:
    _, refresher = start()
    waits_s = [refresher.refresh() for _ in range(9)]
    for wait_s, expected_s in zip(waits_s, (60, 120, 240, 480, 960, 1920, 3600, 3600, 3600), strict=True):
        assert 0.9 * expected_s <= wait_s <= 1.1 * expected_s
    for header, least_s, most_s in (("90000", 86400, 86400), ("5000", 5000, 5000), ("1", 3240, 3960)):
        for status in (429, 503):
            server.publish(answer(status=status, headers={"Retry-After": header}))
            assert least_s <= refresher.refresh() <= most_s
    server.publish(answer(ONE))
    regular_s = [refresher.refresh() for _ in range(50)]
    assert all(0.9 * HOUR_S <= wait_s <= 1.1 * HOUR_S for wait_s in regular_s)
    assert len(set(regular_s)) > 10  # jittered
    server.publish(answer(status=500))
    assert refresher.refresh() <= 66  # the failures are counted anew


def test_a_start_does_not_wait_for_the_server(server: MapServer, start: Start) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def reply(handler: object) -> None:
        asked.set()
        may_answer.wait(10)

    server.publish(reply)
    holder, refresher = start()
    refresher.start()
    assert asked.wait(10)
    assert holder.current.mapper.map("a dog")  # while the server is silent
    may_answer.set()
    refresher.stop()
    assert refresher.join(10)


def test_a_stop_ends_the_thread_while_the_server_is_silent(server: MapServer, start: Start) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def reply(handler: object) -> None:
        asked.set()
        may_answer.wait(30)

    server.publish(reply)
    holder, refresher = start()
    before = holder.current
    refresher.start()
    assert asked.wait(10)
    refresher.stop()
    assert refresher.join(10)
    assert holder.current is before  # and no error is told of it
    may_answer.set()


def test_the_thread_looks_at_the_start_and_again_and_ends(
    server: MapServer, bundled: Path, tmp_path: Path
) -> None:
    server.publish(answer(ONE))
    fetch = MapFetcher(allow_http_loopback=True).fetch
    holder, refresher = open_map(bundled, server.url, tmp_path / "cache", fetch, interval_s=0.01)
    assert refresher
    refresher.start()
    wait_for(lambda: version(holder) == "one")
    server.publish(answer(TWO))
    wait_for(lambda: version(holder) == "two")
    refresher.stop()
    assert refresher.join(10)


def test_no_address_no_refresher(bundled: Path, tmp_path: Path) -> None:
    holder, refresher = open_map(bundled, "", tmp_path / "cache", MapFetcher().fetch, HOUR_S)
    assert (version(holder), refresher) == ("bundled", None)
    assert not (tmp_path / "cache").exists()


def test_a_broken_file_of_ones_own_is_told_though_a_cached_map_would_do(
    server: MapServer, start: Start, bundled: Path
) -> None:
    server.publish(answer(ONE))
    start()[1].refresh()
    bundled.write_text("broken", encoding="utf-8")
    with pytest.raises(MapFileError):
        start()


def test_the_copy_of_another_address_is_not_used(
    server: MapServer, start: Start, bundled: Path, tmp_path: Path
) -> None:
    server.publish(answer(ONE))
    start()[1].refresh()
    other, _ = open_map(bundled, f"{server.url}?ref=2", tmp_path / "cache", MapFetcher().fetch, HOUR_S)
    assert version(other) == "bundled"


OLD_PATH, PHRASES_PATH = "/old/emoji_mappings.json", "/old/mwe.txt"


def test_the_old_layout_is_two_files(server: MapServer, bundled: Path, tmp_path: Path) -> None:
    def start() -> tuple[MapHolder, MapRefresher]:
        fetch = MapFetcher(allow_http_loopback=True).fetch
        url = server.url.replace(MAP_PATH, OLD_PATH)
        holder, refresher = open_map(bundled, url, tmp_path / "cache", fetch, HOUR_S)
        assert refresher
        return holder, refresher

    def rows() -> list[str]:
        return [pair.word for pair in holder.current.mapper.map("a dog with a hot dog")]

    holder, refresher = start()
    server.replies[OLD_PATH] = published('{"dog": "🐶", "hot_dog": "🌭"}', '"m"')
    server.replies[PHRASES_PATH] = published("cold_dog\n", '"p"')
    refresher.refresh()
    assert rows() == ["dog"]
    first = version(holder)

    server.replies[PHRASES_PATH] = published("hot_dog\n", '"q"')
    refresher.refresh()
    assert rows() == ["dog", "hot_dog"]
    assert version(holder) != first
    assert server.asked[-2:] == [(OLD_PATH, '"m"'), (PHRASES_PATH, '"p"')]

    server.replies[PHRASES_PATH] = answer(status=500)
    refresher.refresh()
    assert "mwe.txt: answered 500" in str(holder.current.last_error)
    holder, refresher = start()
    assert rows() == ["dog", "hot_dog"]

    del server.replies[PHRASES_PATH]  # it may be missing: every phrase counts then
    refresher.refresh()
    assert (rows(), holder.current.last_error) == (["dog", "hot_dog"], None)
    holder, refresher = start()
    assert rows() == ["dog", "hot_dog"]
