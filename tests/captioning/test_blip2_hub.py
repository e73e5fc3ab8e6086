"""The files of a language model: in a folder, in the hub's cache, or downloaded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.captioning import __main__ as command
from services.captioning.blip2.hub import language_files
from services.captioning.blip2.model import BLIP2_MODELS, Blip2Model
from services.captioning.captioner import LoadProgress
from services.captioning.checkpoints import ModelLoadError

REPOSITORY = "somebody/opt-tiny"
VERSION = "1" * 40
SMALL = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


def write_model(folder: Path, shards: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "opt"}))
    for name in SMALL:
        (folder / name).write_text("{}")
    if shards == 1:
        paths = [folder / "pytorch_model.bin"]
    else:
        paths = [folder / f"model-{n:05}-of-{shards:05}.safetensors" for n in range(1, shards + 1)]
        listed = {f"weight{n}": path.name for n, path in enumerate([*paths, paths[0]])}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    for path in paths:
        path.write_bytes(b"weights")
    return paths


@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_is_taken_as_it_is(tmp_path: Path, shards: int) -> None:
    paths = write_model(tmp_path / "opt", shards)
    found = language_files(str(tmp_path / "opt"), ignore)
    assert (found.folder, found.weights) == (tmp_path / "opt", paths)


@pytest.mark.parametrize("lost", ["vocab.json", "model-00002-of-00003.safetensors"])
def test_a_folder_that_lacks_a_file_is_not(tmp_path: Path, lost: str) -> None:
    write_model(tmp_path / "opt", 3)
    (tmp_path / "opt" / lost).unlink()
    with pytest.raises(ModelLoadError, match=lost):
        language_files(str(tmp_path / "opt"), ignore)


class Hub:
    """In place of the hub's client: `there` is what the hub has, `here` the cache of this machine."""

    def __init__(self, root: Path, shards: int) -> None:
        self.there, self.here = root / "there", root / "here" / VERSION
        self.here.mkdir(parents=True)
        write_model(self.there, shards)
        self.downloaded: list[str] = []
        self.reachable = True

    def fetch(
        self, repository: str, name: str, *, local_files_only: bool, resume_download: bool, revision: str = "main"
    ) -> str:
        from huggingface_hub.utils import LocalEntryNotFoundError

        assert repository == REPOSITORY
        assert resume_download
        if not (self.here / name).exists():
            if local_files_only or not self.reachable:
                raise LocalEntryNotFoundError("no network")
            if not (self.there / name).exists():
                raise LocalEntryNotFoundError("404")
            assert revision == (VERSION if self.downloaded else "main")  # all of one version
            (self.here / name).write_bytes((self.there / name).read_bytes())
            self.downloaded.append(name)
        return str(self.here / name)


@pytest.fixture(params=[1, 3])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path, request.param)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", made.fetch)
    monkeypatch.delenv("OFFLINE", raising=False)
    return made


def test_all_files_are_downloaded_once(hub: Hub) -> None:
    told: list[str] = []
    found = language_files(REPOSITORY, lambda progress: told.append(progress.stage))
    assert set(hub.downloaded) == {path.name for path in hub.there.iterdir()}
    assert all(path.read_bytes() == b"weights" for path in found.weights)
    assert told == ["downloading"]
    hub.downloaded.clear()
    hub.reachable = False
    assert language_files(REPOSITORY, ignore) == found
    assert hub.downloaded == []


def test_what_a_broken_off_download_left_is_completed(hub: Hub) -> None:
    found = language_files(REPOSITORY, ignore)
    found.weights[-1].unlink()
    hub.downloaded.clear()
    hub.downloaded.append("config.json")  # the version is known from what is there
    assert language_files(REPOSITORY, ignore) == found
    assert hub.downloaded[1:] == [found.weights[-1].name]


def test_offline_says_what_is_missing_and_how_to_get_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLINE", "true")
    with pytest.raises(ModelLoadError, match=rf"OFFLINE=true, .*{REPOSITORY}.*captioning download MODEL"):
        language_files(REPOSITORY, ignore)
    assert hub.downloaded == []


def test_no_network_is_said(hub: Hub) -> None:
    hub.reachable = False
    with pytest.raises(
        ModelLoadError, match=rf"{REPOSITORY} could not be downloaded .*no network.*Check the network"
    ):
        language_files(REPOSITORY, ignore)


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Blip2Model], None]:
    def know(model: Blip2Model) -> None:
        monkeypatch.setitem(BLIP2_MODELS, "blip2_opt/tiny", model)

    return know


def test_the_download_command_has_all_parts(tmp_path: Path, known: Callable[[Blip2Model], None]) -> None:
    weights = write_model(tmp_path / "opt", 3)
    checkpoint, vision = tmp_path / "blip2.pth", tmp_path / "vision.pth"
    known(Blip2Model(str(tmp_path / "opt"), checkpoint, vision, 1))
    assert command.files_of("blip2_opt/tiny") == [checkpoint, vision, tmp_path / "opt", *weights]
    known(Blip2Model(str(tmp_path / "opt"), checkpoint, None, 1))
    assert vision not in command.files_of("blip2_opt/tiny")
