"""The last good map of a published address, on disk: what a start has without waiting for the network.

One file an address, written beside and renamed, so that it is there whole or not at all; several processes may
share the folder. Its modification time is when the address last confirmed the map.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.emoji.map_file import EmojiMap
from services.emoji.sources import FetchedFile, PublishedMap

_LEFTOVER_S = 3600  # a file that was being written so long ago is a dead process's

logger = logging.getLogger(__name__)

Files = tuple[FetchedFile | None, ...]


@dataclass(frozen=True)
class CachedMap:
    emoji_map: EmojiMap
    files: Files  # that it was compiled from
    confirmed_at: float  # Unix time


def default_cache_folder() -> Path:
    """$XDG_CACHE_HOME/captions/emoji_maps, else below ~/.cache: beside the folder of the checkpoints."""
    caches = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")  # noqa: PTH111 - never raises
    # A user without a home leaves the ~ as it is: not to become a folder of that name in the working directory.
    return Path("/", caches, "captions", "emoji_maps")


class MapCache:
    """The cached copy of one published map."""

    def __init__(self, folder: Path, published: PublishedMap) -> None:
        self._published = published
        key = hashlib.sha256(published.url.encode()).hexdigest()[:16]
        self.path = folder / f"{key}.json"

    def load(self) -> CachedMap | None:
        """The map as it was stored, checked anew; None when there is none that can be used."""
        try:
            record = json.loads(self.path.read_bytes())
            files = tuple(_unpacked(entry) for entry in record["files"])
            if len(files) == len(self._published.urls) and record["sha256"] == _sha256(files):
                emoji_map = self._published.compile(files)
                return CachedMap(emoji_map, files, self.path.stat().st_mtime)
            reason = "its content is not what was stored"
        except FileNotFoundError:
            return None
        # ValueError: MapFileError, and what json raises; the others: JSON of another shape
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            reason = str(exc) or type(exc).__name__
        logger.warning("The cached emoji map %s of %s is not used: %s", self.path, self._published.name, reason)
        return None

    def store(self, files: Sequence[FetchedFile | None]) -> None:
        """Replace the copy, as one step that survives a crash. Raises OSError, and leaves the old copy then."""
        record = {
            "source": self._published.name,
            "sha256": _sha256(files),
            "files": [_packed(file) for file in files],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        # a name of chance, not of the process id: containers that share a folder have equal ids
        handle, name = tempfile.mkstemp(".part", f"{self.path.name}.", self.path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(record, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())  # else a crash of the machine could leave the new name without its content
            part.replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise

    def confirm(self) -> bool:
        """Note that the copy is still what is published; whether there is one. The note is not worth an error."""
        with contextlib.suppress(OSError):
            os.utime(self.path)
        return self.path.exists()

    def _remove_leftovers(self) -> None:
        for part in self.path.parent.glob(f"{self.path.name}.*.part"):
            with contextlib.suppress(OSError):  # another process was faster
                if part.stat().st_mtime < time.time() - _LEFTOVER_S:
                    part.unlink()


def _packed(file: FetchedFile | None) -> dict[str, str] | None:
    return None if file is None else {"etag": file.etag, "content": file.content.decode("utf-8")}


def _unpacked(entry: dict[str, str] | None) -> FetchedFile | None:
    return None if entry is None else FetchedFile(entry["content"].encode("utf-8"), str(entry["etag"]))


def _sha256(files: Sequence[FetchedFile | None]) -> str:
    """Of the files as they were fetched, one after the other."""
    return hashlib.sha256(b"".join(file.content for file in files if file)).hexdigest()
