"""Downloads from a real server: the file appears whole or not at all; a failure names its cause and its cure."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from services.captioning.captioner import LoadProgress
from services.captioning.checkpoints import ModelLoadError, cached_path, ensure_checkpoint, ensure_vocabulary
from services.captioning.hashes import record_of
from tests.images.servers import PICTURE, pictures, raw, sends


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server() -> Iterator[str]:
    with pictures() as port:
        yield f"http://127.0.0.1:{port}"


def test_the_cache_is_that_of_torch_hub(cache: Path) -> None:
    assert cached_path("https://models.example/a/model_large.pth?x=1") == cache / "model_large.pth"
    assert cache.parent == Path(torch.hub.get_dir())


def test_a_download_is_kept_and_its_progress_reported(cache: Path, server: str) -> None:
    seen: list[LoadProgress] = []
    path = ensure_checkpoint(f"{server}/picture", seen.append)
    assert path == cache / "picture"
    assert path.read_bytes() == PICTURE
    assert sorted(cache.iterdir()) == [path, record_of(path)]
    assert seen[-1] == LoadProgress("downloading", len(PICTURE), len(PICTURE))
    assert seen[-1].fraction == 1.0


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
