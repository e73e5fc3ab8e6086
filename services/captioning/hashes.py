"""Is a checkpoint still the file that was used first?

Its sha256 is recorded beside it, with the size, the time and the inode that the file had then. While these are the
same the file is not read again: hashing gigabytes takes seconds, and a start should not.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

SUFFIX = ".sha256.json"


class ChangedFile(Exception):
    """The file has another content than when it was recorded."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_of(path: Path) -> Path:
    """Where the hash of `path` is recorded."""
    return path.with_name(path.name + SUFFIX)


def record_download(file: Path, path: Path, url: str) -> None:
    """Record the hash of `file`, which came from `url` and is about to be renamed to `path`.

    Raises ChangedFile if another hash is recorded there: of the file that was used before. Raises OSError.
    """
    sha256, known = sha256_of(file), _read(record_of(path))
    if known and known["sha256"] != sha256:
        raise ChangedFile(
            f"What {url} has now is not the file that was used before: its sha256 is {sha256}, and was "
            f"{known['sha256']}. It was not kept. If you trust it, delete {record_of(path)}, and start again"
        )
    _write(record_of(path), {"sha256": sha256, **_facts(file), "url": url})


def is_download(path: Path) -> bool:
    """Whether the file at `path` came there by a download of ours: its record says so, and names its inode.

    A file that a person moves there has another inode.
    """
    known = _read(record_of(path))
    return known is not None and "url" in known and known.get("inode") == _facts(path)["inode"]


def differs(path: Path) -> bool:
    """Whether the content is another one than was recorded, whatever the size and the time. Raises OSError."""
    known = _read(record_of(path))
    return known is not None and known["sha256"] != sha256_of(path)


def check_unchanged(path: Path) -> str:
    """The sha256 of `path`; recorded, if it has not been.

    Raises ChangedFile, and OSError where the file cannot be read. A folder that cannot be written only costs the
    hashing at the next start.
    """
    record = record_of(path)
    known = _read(record)
    facts = _facts(path)
    if known and all(known.get(name) == value for name, value in facts.items()):
        return str(known["sha256"])
    sha256 = sha256_of(path)
    if known and known["sha256"] != sha256:
        raise ChangedFile(
            f"{path} is not the file that was used before: its sha256 is {sha256}, and was {known['sha256']}. "
            f"If you replaced it yourself, delete {record}; else delete {path}, and it is downloaded anew"
        )
    try:
        # a copy of a download, with the same content, stays one
        _write(record, {**(known or {}), "sha256": sha256, **facts})
    except OSError as exc:
        logger.warning("The hash of %s cannot be recorded, so it is computed at every start: %s", path, exc)
    return sha256


def _read(record: Path) -> dict[str, object] | None:
    """What is recorded; None where nothing is, or nothing that can be used."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and isinstance(known.get("sha256"), str) else None


def _write(record: Path, content: dict[str, object]) -> None:
    part = record.with_name(f"{record.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")
        part.replace(record)
    finally:
        part.unlink(missing_ok=True)


def _facts(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}
