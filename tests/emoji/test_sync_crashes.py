"""Disks that take nothing, processes that die or come in pairs: a good map is always there."""

import itertools
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from services.emoji.cache import MapCache
from services.emoji.refresher import open_map
from services.emoji.sources import PublishedMap
from services.emoji.sync import MapFetcher
from tests.emoji import refreshing
from tests.emoji.map_server import ONE, TWO, Handler, MapServer, Reply, answer, map_text
from tests.fakes import wait_for

KILLS = 100
PADDING = "# much to write, and little to read\n" * 1500
WAIT_S = 60  # for what should come at once, on the busiest machine


def version(cache: MapCache) -> str:
    cached = cache.load()
    return cached.emoji_map.version if cached else ""


def test_a_folder_that_cannot_be_written_costs_only_the_copy(
    server: MapServer, bundled: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "occupied"
    folder.write_text("a file where the folder should be", encoding="utf-8")
    server.publish(answer(ONE))
    fetch = MapFetcher(allow_http_loopback=True).fetch
    holder, refresher = open_map(bundled, server.url, folder / "cache", fetch, 3600)
    assert refresher
    for _ in range(2):  # the second time nothing has changed but the disk, which is tried again
        assert refresher.refresh() >= 0.9 * 3600  # no failure of the server: it is not asked more often
        assert holder.current.emoji_map.version == "one"
        assert "could not be kept" in str(holder.current.last_error)
    folder.unlink()
    refresher.refresh()
    assert holder.current.last_error is None
    assert open_map(bundled, server.url, folder / "cache", fetch, 3600)[0].current.emoji_map.version == "one"


@pytest.fixture
def folder_of_nobody() -> Iterator[Path]:
    """A folder; root, who may write everywhere, is nobody until the end of the test."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o777)
        if os.geteuid() != 0:
            yield folder
            return
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_a_read_only_folder(server: MapServer, folder_of_nobody: Path) -> None:
    bundled, folder = folder_of_nobody / "bundled.yaml", folder_of_nobody / "cache"
    bundled.write_text(map_text("bundled"), encoding="utf-8")
    fetch = MapFetcher(allow_http_loopback=True).fetch
    server.publish(answer(ONE))
    _, refresher = open_map(bundled, server.url, folder, fetch, 3600)
    assert refresher
    refresher.refresh()
    folder.chmod(0o555)
    try:
        holder, refresher = open_map(bundled, server.url, folder, fetch, 3600)
        assert refresher
        refresher.refresh()
        assert (holder.current.emoji_map.version, holder.current.last_error) == ("one", None)
        server.publish(answer(TWO))
        refresher.refresh()
        assert holder.current.emoji_map.version == "two"
        assert "could not be kept" in str(holder.current.last_error)
        assert open_map(bundled, server.url, folder, fetch, 3600)[0].current.emoji_map.version == "one"
    finally:
        folder.chmod(0o755)


def test_a_copy_that_somebody_deleted_comes_back(server: MapServer, bundled: Path, tmp_path: Path) -> None:
    server.publish(answer(ONE))
    fetch = MapFetcher(allow_http_loopback=True).fetch
    _, refresher = open_map(bundled, server.url, tmp_path / "cache", fetch, 3600)
    assert refresher
    refresher.refresh()
    (copy,) = (tmp_path / "cache").iterdir()
    copy.unlink()
    refresher.refresh()
    assert copy.exists()


@pytest.fixture
def processes() -> ForkServerContext:
    """Makes processes at once: what they import is imported before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.emoji.refreshing"])
    return context


def alternating(*texts: str) -> Reply:
    """Another of `texts` at every request."""
    turns, lock = itertools.cycle(texts), threading.Lock()

    def reply(handler: Handler) -> None:
        with lock:
            text = next(turns)
        answer(text)(handler)

    return reply


def test_a_process_killed_in_the_middle_of_a_refresh_leaves_a_good_map(
    server: MapServer, bundled: Path, tmp_path: Path, processes: ForkServerContext
) -> None:
    server.publish(alternating(ONE + PADDING, TWO + PADDING))
    folder = tmp_path / "cache"
    cache = MapCache(folder, PublishedMap(server.url))
    first = processes.Process(target=refreshing.refresh_times, args=(bundled, server.url, folder, 1))
    first.start()
    first.join()
    assert version(cache) == "one"
    seen = set()
    chance = random.Random(4)
    for number in range(KILLS):
        files, asked = set(folder.iterdir()), len(server.asked) + chance.randrange(4)
        process = processes.Process(target=refreshing.refresh_for_ever, args=(bundled, server.url, folder))
        process.start()
        if number % 2:  # while it writes
            wait_for(lambda: not files.issuperset(folder.iterdir()), WAIT_S)  # noqa: B023 - called here
        else:  # while it receives, or a little later
            wait_for(lambda: len(server.asked) > asked, WAIT_S)  # noqa: B023
            time.sleep(chance.uniform(0, 0.01))
        process.kill()
        process.join()
        assert process.exitcode == -9
        seen.add(version(cache))
    assert seen == {"one", "two"}
    assert len(list(folder.iterdir())) > 10  # some were caught in the act
    holder, _ = open_map(bundled, server.url, folder, MapFetcher().fetch, 3600)
    assert holder.current.emoji_map.source == server.url


def test_two_processes_refresh_at_once(
    server: MapServer, bundled: Path, tmp_path: Path, processes: ForkServerContext
) -> None:
    server.publish(alternating(ONE, TWO, map_text("three")))
    folder = tmp_path / "cache"
    cache = MapCache(folder, PublishedMap(server.url))
    both = [
        processes.Process(target=refreshing.refresh_times, args=(bundled, server.url, folder, 20))
        for _ in range(2)
    ]
    for process in both:
        process.start()
    wait_for(cache.path.exists, WAIT_S)
    while any(process.is_alive() for process in both):
        assert version(cache) in {"one", "two", "three"}
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert list(folder.iterdir()) == [cache.path]
