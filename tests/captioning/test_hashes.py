"""A checkpoint is hashed once, and again when it may have changed."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from services.captioning import hashes
from services.captioning.hashes import ChangedFile, check_unchanged, record_of

CONTENT = b"weights" * 1000


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    read: list[Path] = []
    really = hashes.sha256_of

    def sha256_of(path: Path) -> str:
        read.append(path)
        return really(path)

    monkeypatch.setattr(hashes, "sha256_of", sha256_of)
    return read


def test_the_second_time_nothing_is_read(checkpoint: Path, hashed: list[Path]) -> None:
    expected = hashlib.sha256(CONTENT).hexdigest()
    assert [check_unchanged(checkpoint) for _ in range(3)] == [expected] * 3
    assert hashed == [checkpoint]


@pytest.mark.parametrize("change", ["time", "inode"])
def test_the_same_content_is_read_once_more_and_recorded_anew(
    checkpoint: Path, hashed: list[Path], change: str
) -> None:
    check_unchanged(checkpoint)
    if change == "time":
        os.utime(checkpoint, ns=(1, 1))
    else:
        times = checkpoint.stat()
        copy = checkpoint.with_name("copy")
        copy.write_bytes(CONTENT)
        os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
        copy.replace(checkpoint)
    check_unchanged(checkpoint)
    check_unchanged(checkpoint)
    assert len(hashed) == 2


@pytest.mark.parametrize("content", [b"another", CONTENT[:-1] + b"!"])
def test_another_content_is_refused_with_both_hashes(checkpoint: Path, content: bytes) -> None:
    before = check_unchanged(checkpoint)
    os.utime(checkpoint, ns=(1, 1))  # a file system's clock may be too coarse to show the second write
    checkpoint.write_bytes(content)
    with pytest.raises(ChangedFile, match=f"{hashlib.sha256(content).hexdigest()}, and was {before}") as refused:
        check_unchanged(checkpoint)
    assert f"delete {record_of(checkpoint)}" in str(refused.value)
    record_of(checkpoint).unlink()
    assert check_unchanged(checkpoint) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 1}', "\udcff"])
def test_a_broken_record_is_written_anew(checkpoint: Path, text: str) -> None:
    record_of(checkpoint).write_bytes(text.encode(errors="surrogateescape"))
    sha256 = check_unchanged(checkpoint)
    assert json.loads(record_of(checkpoint).read_text())["sha256"] == sha256


def test_a_folder_that_cannot_be_written_is_no_obstacle(checkpoint: Path, hashed: list[Path]) -> None:
    record_of(checkpoint).mkdir()
    assert check_unchanged(checkpoint) == hashlib.sha256(CONTENT).hexdigest()
    assert check_unchanged(checkpoint) == hashlib.sha256(CONTENT).hexdigest()
    assert len(hashed) == 2
    assert sorted(path.name for path in checkpoint.parent.iterdir() if path.suffix == ".part") == []
