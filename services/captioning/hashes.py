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
    part = record.with_name(f"{record.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps({"sha256": sha256, **facts}) + "\n", encoding="utf-8")
        part.replace(record)
    except OSError as exc:
        part.unlink(missing_ok=True)
        logger.warning("The hash of %s cannot be recorded, so it is computed at every start: %s", path, exc)
    return sha256


def _read(record: Path) -> dict[str, object] | None:
    """What is recorded; None where nothing is, or nothing that can be used."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and isinstance(known.get("sha256"), str) else None


def _facts(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}
