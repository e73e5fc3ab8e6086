"""A process that does nothing but refresh a map: for tests that kill it, or start two of them."""

import logging
from pathlib import Path

from services.emoji.refresher import open_map
from services.emoji.sync import MapFetcher


def refresh_for_ever(bundled: Path, url: str, cache_folder: Path) -> None:
    _refresh(bundled, url, cache_folder, None)


def refresh_times(bundled: Path, url: str, cache_folder: Path, times: int) -> None:
    """Ends with an error as soon as a refresh does."""
    _refresh(bundled, url, cache_folder, times)


def _refresh(bundled: Path, url: str, cache_folder: Path, times: int | None) -> None:
    logging.disable()
    holder, refresher = open_map(bundled, url, cache_folder, MapFetcher(allow_http_loopback=True).fetch, 3600)
    assert refresher
    done = 0
    while times is None or done < times:
        refresher.refresh()
        done += 1
        if holder.current.last_error:
            raise SystemExit(holder.current.last_error)
