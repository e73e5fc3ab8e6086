"""Downloads from a real server: the file appears whole or not at all; a failure names its cause and its cure."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from services.captioning.captioner import LoadProgress
from services.captioning.checkpoints import (
    ModelLoadError,
    cached_path,
    ensure_checkpoint,
    ensure_vocabulary,
    read_weights,
)
from services.captioning.hashes import record_of
from tests.captioning.file_server import File, file_server
from tests.images.servers import pictures, raw, sends


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def checkpoint(value: float) -> bytes:
    content = io.BytesIO()
    torch.save({"model": {"weight": torch.full((1000,), value)}}, content)
    return content.getvalue()


@pytest.fixture
def file() -> File:
    return File(checkpoint(1.0))


@pytest.fixture
def url(file: File) -> Iterator[str]:
    with file_server(file) as url:
        yield url


@pytest.fixture
def server() -> Iterator[str]:
    with pictures() as port:
        yield f"http://127.0.0.1:{port}"


def test_the_cache_is_that_of_torch_hub(cache: Path) -> None:
    assert cached_path("https://models.example/a/model_large.pth?x=1") == cache / "model_large.pth"
    assert cache.parent == Path(torch.hub.get_dir())


def test_a_download_is_kept_and_its_progress_reported(cache: Path, file: File, url: str) -> None:
    seen: list[LoadProgress] = []
    path = ensure_checkpoint(url, seen.append)
    assert path == cache / "model.pth"
    assert path.read_bytes() == file.content
    assert sorted(cache.iterdir()) == [path, record_of(path)]
    assert seen[-1] == LoadProgress("downloading", len(file.content), len(file.content))
    assert seen[-1].fraction == 1.0


def test_a_page_in_place_of_the_file_is_not_kept(cache: Path, file: File, url: str) -> None:
    file.content = b"<html>Please log in</html>" * 100
    with pytest.raises(ModelLoadError, match=f"{url} is no checkpoint.*not a whole checkpoint"):
        ensure_checkpoint(url, ignore)
    assert list(cache.iterdir()) == []


def test_another_file_at_the_same_address_is_refused(cache: Path, file: File, url: str) -> None:
    path = ensure_checkpoint(url, ignore)
    path.unlink()
    file.content = checkpoint(2.0)
    with pytest.raises(ModelLoadError, match="not the file that was used before"):
        ensure_checkpoint(url, ignore)
    assert list(cache.iterdir()) == [record_of(path)]
    record_of(path).unlink()
    assert ensure_checkpoint(url, ignore).read_bytes() == file.content


@pytest.mark.parametrize("damage", ["cut", "zeros", "first bytes", "same time"])
def test_a_damaged_download_is_made_anew(cache: Path, file: File, url: str, damage: str) -> None:
    path = ensure_checkpoint(url, ignore)
    times = path.stat()
    broken = {
        "cut": file.content[:-100],
        "zeros": bytes(len(file.content)),
        "first bytes": b"XXXX" + file.content[4:],
        "same time": bytes(len(file.content)),
    }[damage]
    path.write_bytes(broken)
    if damage == "same time":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ensure_checkpoint(url, ignore).read_bytes() == file.content
    assert (cache / "model.pth.damaged").read_bytes() == broken
    assert len(file.asked) == 2
    ensure_checkpoint(url, ignore)
    assert len(file.asked) == 2


def test_a_damaged_download_that_cannot_be_had_again_is_tried_once(cache: Path, file: File, url: str) -> None:
    ensure_checkpoint(url, ignore).write_bytes(b"broken")
    file.content = b"broken too"
    with pytest.raises(ModelLoadError, match="is no checkpoint"):
        ensure_checkpoint(url, ignore)
    assert len(file.asked) == 2


@pytest.mark.parametrize("how", ["no download", "moved there", "another that is whole"])
def test_a_file_that_a_person_put_there_is_never_replaced(cache: Path, file: File, url: str, how: str) -> None:
    path, theirs = cache / "model.pth", b"broken"
    if how == "no download":
        cache.mkdir(parents=True)
        path.write_bytes(theirs)
    elif how == "moved there":
        ensure_checkpoint(url, ignore)
        (cache / "mine").write_bytes(theirs)
        (cache / "mine").replace(path)
    else:
        theirs = checkpoint(3.0)
        ensure_checkpoint(url, ignore).write_bytes(theirs)
    asked = len(file.asked)
    with pytest.raises(ModelLoadError, match=r"not the file that was used before|not a whole checkpoint"):
        read_weights(ensure_checkpoint(url, ignore))
    assert path.read_bytes() == theirs
    assert len(file.asked) == asked


@pytest.mark.parametrize("offline", ["true", "1"])
def test_offline_asks_nobody(
    cache: Path, file: File, url: str, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    monkeypatch.setenv("OFFLINE", offline)
    with pytest.raises(ModelLoadError, match=r"OFFLINE=true.*model\.pth is not there.*captioning download MODEL"):
        ensure_checkpoint(url, ignore)
    monkeypatch.delenv("OFFLINE")
    path = ensure_checkpoint(url, ignore)
    monkeypatch.setenv("OFFLINE", offline)
    assert ensure_checkpoint(url, ignore) == path
    path.write_bytes(b"broken")
    with pytest.raises(ModelLoadError, match="not the file that was used before"):
        ensure_checkpoint(url, ignore)
    assert len(file.asked) == 1


def test_offline_names_the_vocabulary_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OFFLINE", "true")
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"OFFLINE=true, and vocab\.txt of nobody/nothing.*download MODEL"):
        ensure_vocabulary("nobody/nothing")


@pytest.mark.parametrize("content", [b"", b"<html>", bytes(100), b"\x80\x02", b"PK\x03\x04"])
def test_a_broken_file_is_called_broken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(ModelLoadError, match="not a whole checkpoint"):
        read_weights(tmp_path / "model.pth")


def test_weights_that_are_there_are_not_downloaded(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "model.pth").write_bytes(b"from the old set-up")
    path = ensure_checkpoint("http://127.0.0.1:9/model.pth", ignore)
    assert path.read_bytes() == b"from the old set-up"


def test_a_checkpoint_that_has_changed_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "model.pth").write_bytes(b"from the old set-up")
    ensure_checkpoint("http://127.0.0.1:9/model.pth", ignore)
    (cache / "model.pth").write_bytes(b"tampered with")
    with pytest.raises(ModelLoadError, match=r"model\.pth is not the file that was used before"):
        ensure_checkpoint("http://127.0.0.1:9/model.pth", ignore)


def test_a_folder_in_its_place_is_named(cache: Path) -> None:
    (cache / "model.pth").mkdir(parents=True)
    with pytest.raises(ModelLoadError, match=r"model\.pth cannot be read: .*directory"):
        ensure_checkpoint("http://127.0.0.1:9/model.pth", ignore)


def test_failures_name_the_url_the_cause_and_the_cure(cache: Path, server: str) -> None:
    with raw(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nonly this")) as port:
        cases = [
            (f"{server}/nothing", "404"),
            (f"{server}/status/503", "503"),
            ("http://127.0.0.1:9/model.pth", "refused"),
            (f"http://127.0.0.1:{port}/cut", "4991 more expected"),
        ]
        for url, cause in cases:
            with pytest.raises(ModelLoadError) as failed:
                ensure_checkpoint(url, ignore)
            message = str(failed.value)
            assert url in message
            assert cause in message
            assert "put the file there yourself" in message
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(cache: Path, server: str) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_bytes(b"a file where the folder should be")
    with pytest.raises(ModelLoadError, match="hub"):
        ensure_checkpoint(f"{server}/picture", ignore)


def test_a_vocabulary_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # as HF_HUB_OFFLINE=1 and HF_HOME set them, which are read once, at the import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"vocabulary of bert-base-uncased could not be downloaded.*network"):
        ensure_vocabulary("bert-base-uncased")
