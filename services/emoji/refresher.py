"""Keeps the map in use as fresh as its published address, in a thread beside the service.

    start ─▶ fetch ─▶ compile, canaries ─▶ compare with the last one ─▶ map in use ─▶ cache
      ▲         └──────── anything wrong: the map in use stays ────────┐                │
      └─────────────────────────── wait ◀──────────────────────────────┴────────────────┘

No request and no start ever waits for it.
"""

import dataclasses
import logging
import random
import threading
import time
from pathlib import Path
from typing import Protocol

from services.emoji.cache import Files, MapCache
from services.emoji.in_use import MapHolder, MapInUse
from services.emoji.map_file import EmojiMap, MapFileError
from services.emoji.sources import FetchedFile, FetchError, PublishedMap, load_map_file

MAX_LOSS = 0.3  # of the entries of one version in the next: more looks like an accident
_FIRST_RETRY_S = 60.0  # doubled at every further failure, up to the interval
_MAX_RETRY_AFTER_S = 24 * 3600.0
_JITTER = 0.1  # of each wait, so that many services do not ask in step
_MAX_ERROR_CHARACTERS = 1000  # it may quote the file
_NOT_FOUND = 404

logger = logging.getLogger(__name__)


class LostEntriesError(Exception):
    """A map that is well formed, and yet not to be trusted: too much of the last one is gone."""


class Fetch(Protocol):
    """What MapFetcher.fetch does."""

    def __call__(self, url: str, etag: str, stopping: threading.Event) -> FetchedFile | None: ...


class MapRefresher:
    """Replaces what `holder` holds by what is published, whenever that is new and good."""

    def __init__(
        self,
        published: PublishedMap,
        holder: MapHolder,
        cache: MapCache,
        fetch: Fetch,
        interval_s: float,
        files: Files | None = None,
    ) -> None:
        """files: what the map in use was made of if it came out of `cache`, else None."""
        self._published = published
        self._holder = holder
        self._cache = cache
        self._fetch = fetch
        self._interval_s = interval_s
        self._files = files  # of the last good published map
        self._is_stored = files is not None
        self._failures = 0  # since the last success
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emoji-map", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no other look, and give up the fetch that runs. Does not wait for it."""
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def refresh(self) -> float:
        """Look once. Never raises; gives the seconds to wait before the next look."""
        retry_after_s = 0.0
        self._failures += 1  # until it is none
        try:
            error = self._look()
            self._failures = 0
        except (FetchError, MapFileError, LostEntriesError) as exc:
            if self._stopping.is_set():
                return 0.0  # it was given up, which is no fault of the map
            error = str(exc)
            retry_after_s = exc.retry_after_s if isinstance(exc, FetchError) else 0.0
        except Exception as exc:
            logger.exception("A bug: the emoji map could not be refreshed")
            error = str(exc) or type(exc).__name__
        if error:
            error = error[:_MAX_ERROR_CHARACTERS]
            logger.warning("Emoji map %s stays in use: %s", self._holder.current.emoji_map.version, error)
        self._holder.current = dataclasses.replace(self._holder.current, last_error=error)
        return max(self._wait_s(), min(retry_after_s, _MAX_RETRY_AFTER_S))

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            wait_s = self.refresh()

    def _wait_s(self) -> float:
        wait_s = self._interval_s
        if self._failures:
            wait_s = min(wait_s, _FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 20))
        return wait_s * random.uniform(1 - _JITTER, 1 + _JITTER)

    def _look(self) -> str | None:
        """Fetch, check, swap, store. None, or why a good map could not be stored; raises when there is none."""
        files = self._fetch_files()
        if self._files is not None and _contents(files) == _contents(self._files):
            self._holder.current = dataclasses.replace(self._holder.current, confirmed_at=time.time())
        else:
            emoji_map = self._published.compile(files)
            if self._files is not None:
                self._check_loss(self._holder.current.emoji_map, emoji_map)
            self._holder.current = MapInUse.of(emoji_map)
            logger.info("Emoji map %s of %s is in use", emoji_map.version, emoji_map.source)
        self._is_stored = self._is_stored and files == self._files
        self._files = files
        return self._store(files)

    def _fetch_files(self) -> Files:
        """All files of the map; those that have not changed are taken from the last time."""
        known = self._files or (None,) * len(self._published.urls)
        files: list[FetchedFile | None] = []
        for number, (url, file) in enumerate(zip(self._published.urls, known, strict=True)):
            try:
                files.append(self._fetch(url, file.etag if file else "", self._stopping) or file)
            except FetchError as exc:
                if number == 0 or exc.status != _NOT_FOUND:
                    raise
                files.append(None)  # only the first must be there
        return tuple(files)

    def _check_loss(self, old: EmojiMap, new: EmojiMap) -> None:
        lost = len(old.entries.keys() - new.entries.keys())
        if lost > MAX_LOSS * len(old.entries):
            raise LostEntriesError(
                f"{new.source}: version {new.version} lacks {lost} of the {len(old.entries)} forms of version "
                f"{old.version}. If that is meant, delete {self._cache.path} and restart"
            )

    def _store(self, files: Files) -> str | None:
        if self._is_stored and self._cache.confirm():
            return None
        try:
            self._cache.store(files)
        except OSError as exc:
            self._is_stored = False
            return f"it could not be kept for the next start: {exc.strerror}: {exc.filename or self._cache.path}"
        self._is_stored = True
        return None


def open_map(
    file: Path, url: str, cache_folder: Path, fetch: Fetch, interval_s: float
) -> tuple[MapHolder, MapRefresher | None]:
    """The best map on disk: the cached one of `url`, else that of `file`; and what will refresh it, not started.

    `url` is "" where no map is published. Raises MapFileError for a broken `file`, be it needed or not.
    """
    local = load_map_file(file)
    if not url:
        return MapHolder(MapInUse.of(local)), None
    published = PublishedMap(url)
    cache = MapCache(cache_folder, published)
    cached = cache.load()
    holder = MapHolder(MapInUse.of(cached.emoji_map, cached.confirmed_at) if cached else MapInUse.of(local))
    return holder, MapRefresher(published, holder, cache, fetch, interval_s, cached.files if cached else None)


def _contents(files: Files) -> list[bytes | None]:
    return [file.content if file else None for file in files]
