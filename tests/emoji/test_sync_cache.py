"""The copy on disk: whole or not at all, whatever happens to the process, the disk or the file."""

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.emoji.cache import MapCache, default_cache_folder
from services.emoji.sources import FetchedFile, PublishedMap
from tests.emoji.map_server import ONE, TWO, map_text

PUBLISHED = PublishedMap("https://maps.example/emoji_map.yaml?token=SECRET")


@pytest.fixture
def cache(tmp_path: Path) -> MapCache:
    return MapCache(tmp_path / "cache" / "deep", PUBLISHED)


def file(text: str, etag: str = '"1"') -> FetchedFile:
    return FetchedFile(text.encode(), etag)


def version(cache: MapCache) -> str:
    cached = cache.load()
    return cached.emoji_map.version if cached else ""


def test_what_is_stored_is_loaded(cache: MapCache) -> None:
    assert cache.load() is None
    for text in (ONE, TWO, "\ufeff" + ONE.replace("\n", "\r\n")):
        cache.store([file(text)])
        cached = cache.load()
        assert cached
        assert cached.files == (file(text),)
        assert cached.confirmed_at == pytest.approx(time.time(), abs=60)
    assert [path.name for path in cache.path.parent.iterdir()] == [cache.path.name]
    assert "SECRET" not in cache.path.read_text(encoding="utf-8")


def test_each_address_has_a_copy_of_its_own(cache: MapCache, tmp_path: Path) -> None:
    cache.store([file(ONE)])
    other = MapCache(tmp_path / "cache" / "deep", PublishedMap("https://maps.example/emoji_map.yaml?token=OTHER"))
    other.store([file(TWO)])
    assert (version(cache), version(other)) == ("one", "two")


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_copy_that_is_cut_off_is_not_used(cache: MapCache, keep: int) -> None:
    cache.store([file(ONE)])
    content = cache.path.read_bytes()
    cache.path.write_bytes(content[:keep])
    assert cache.load() is None
    cache.path.write_bytes(content)
    assert version(cache) == "one"


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 64},
        {"files": []},
        {"files": [None]},
        {"files": {}},
        {"files": 3},
        {"files": [{"content": ONE}]},
        {"files": [{"content": 5, "etag": ""}]},
        {"files": [{"content": "\ud800", "etag": ""}]},
        {"files": [{"content": ONE.replace("dog", "dig"), "etag": ""}]},
    ],
)
def test_a_copy_with_other_content_is_not_used(cache: MapCache, change: dict[str, object]) -> None:
    cache.store([file(ONE)])
    record = json.loads(cache.path.read_text(encoding="utf-8"))
    cache.path.write_text(json.dumps({**record, **change}), encoding="utf-8")
    assert cache.load() is None


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", "\x00"])
def test_what_is_no_copy_at_all_is_not_used(cache: MapCache, content: str) -> None:
    cache.path.parent.mkdir(parents=True)
    cache.path.write_text(content, encoding="utf-8")
    assert cache.load() is None


def test_a_copy_is_checked_like_any_map(cache: MapCache) -> None:
    cache.store([file(map_text("no", canary="🐶"))])
    assert cache.load() is None


def test_the_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(cache: MapCache) -> None:
    cache.path.parent.mkdir(parents=True)
    dead, living, foreign = (cache.path.parent / name for name in ("dead", "living", "foreign.part"))
    dead, living = (path.with_name(f"{cache.path.name}.{path.name}.part") for path in (dead, living))
    for path in (dead, living, foreign):
        path.touch()
    os.utime(dead, (1000, 1000))
    os.utime(foreign, (1000, 1000))
    cache.store([file(ONE)])
    assert set(cache.path.parent.iterdir()) == {cache.path, living, foreign}


@contextmanager
def small_files() -> Iterator[None]:
    """The system takes the first 200 bytes of a file and no more, as a full disk does.

    Of every file of this process, the tests' own output included: so only around the one call.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(cache: MapCache) -> None:
    cache.store([file(ONE)])
    before = cache.path.read_bytes()
    with pytest.raises(OSError, match="File too large"), small_files():
        cache.store([file(TWO)])
    assert cache.path.read_bytes() == before
    assert list(cache.path.parent.iterdir()) == [cache.path]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_CACHE_HOME": "/var/cache/me"}, "/var/cache/me/captions/emoji_maps"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/me"}, "/home/me/.cache/captions/emoji_maps"),
        ({"HOME": "/home/me"}, "/home/me/.cache/captions/emoji_maps"),
    ],
)
def test_the_folder_is_the_users(environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert default_cache_folder() == Path(expected)
