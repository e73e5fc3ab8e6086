"""A model file that is not what it should be: the service says so on /health, and runs nothing of it.

The real loader on a real download, in front of it the real web layer; the details are tested beside the code
(tests/captioning/test_checkpoints.py, test_download.py, test_hashes.py).
"""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from services.captioning.batcher import ModelStatus
from services.captioning.blip.captioner import load_blip_captioner
from services.captioning.blip.model import BLIP_MODELS, DEMO_MODEL
from services.captioning.captioner import Captioner, ReportProgress
from services.captioning.checkpoints import cached_path
from services.captioning.download import CHUNK_BYTES
from tests.captioning.file_server import File, file_server
from tests.fakes import make_app
from tests.web.answers import upload

LACKED = "text_decoder.bert.encoder.layer.1.crossattention.self.key.weight"


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def checkpoint(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def weights() -> dict[str, torch.Tensor]:
    held: dict[str, torch.Tensor] = load_file(DEMO_MODEL / "model.safetensors")
    return held


@pytest.fixture(scope="module")
def whole() -> bytes:
    return checkpoint({"model": weights()})


@pytest.fixture
def file(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    """The checkpoint of the demonstration model, as a published model's: at an address, nothing on disk yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = File(whole)
    with file_server(file) as url:
        monkeypatch.setitem(BLIP_MODELS, "demo", replace(BLIP_MODELS["demo"], checkpoint=url))
        yield file


def load(report: ReportProgress) -> Captioner:
    return load_blip_captioner("demo", "cpu", "fp32", report)


def assert_serves() -> None:
    with make_app(load=load, wait_until=ModelStatus.LOADED) as app:
        assert app.test_client().post("/analyze", **upload()).status_code == 200


def error_of_a_start() -> str:
    """Where the model cannot be loaded: what /health says, and everybody who asks for a caption."""
    with make_app(load=load, wait_until=ModelStatus.FAILED) as app:
        client = app.test_client()
        health: Any = client.get("/health")
        refused: Any = client.post("/analyze", **upload())
        assert (health.status_code, health.json["model_status"]) == (503, "failed")
        assert (client.get("/ready").status_code, client.get("/v2/health/live").status_code) == (503, 200)
        assert (refused.status_code, refused.json["error"]["code"]) == (503, "model_not_ready")
        error: str = health.json["error"]
        assert error in refused.json["error"]["message"]
        return error


def page_of_a_proxy(file: File, trace: Path) -> None:
    file.content = b"<html>Please log in</html>" * 100


def half_a_download(file: File, trace: Path) -> None:
    file.breaks_after = [len(file.content) // 2, 0]


def full_disk(file: File, trace: Path) -> None:
    file.claims_bytes = 10**18


def malicious_pickle(file: File, trace: Path) -> None:
    file.content = checkpoint({"model": Malicious(trace)})


def wrong_keys(file: File, trace: Path) -> None:
    held = weights()
    del held[LACKED]
    file.content = checkpoint({"model": held})


def another_model(file: File, trace: Path) -> None:
    file.content = checkpoint({"model": {"weight": torch.zeros(1000)}})


FAULTS: list[tuple[Callable[[File, Path], None], str]] = [
    (page_of_a_proxy, "is no checkpoint, perhaps a proxy's page"),
    (half_a_download, "could not be downloaded from"),
    (full_disk, "The disk is full: make room"),
    (malicious_pickle, "loading it could run code, so it is not loaded"),
    (wrong_keys, "lacks text.layers.1.image_attention.key.weight"),
    (another_model, "does not fit the model"),
]


@pytest.mark.parametrize(("happens", "told"), FAULTS, ids=[happens.__name__ for happens, _ in FAULTS])
def test_a_file_that_cannot_be_used_is_explained(
    file: File, tmp_path: Path, happens: Callable[[File, Path], None], told: str
) -> None:
    trace = tmp_path / "it ran"
    happens(file, trace)
    assert told in error_of_a_start()
    assert not trace.exists()


def test_half_a_download_goes_on_at_the_next_start(file: File) -> None:
    half_a_download(file, Path())
    error_of_a_start()
    file.breaks_after.clear()
    file.asked.clear()
    assert_serves()
    [asked] = file.asked
    half = len(file.content) // 2
    assert half - CHUNK_BYTES < int(asked.removeprefix("bytes=").removesuffix("-")) <= half


def test_a_corrupt_download_is_made_anew(file: File) -> None:
    assert_serves()
    path = cached_path("http://127.0.0.1/model.pth")
    path.write_bytes(bytes(path.stat().st_size))
    assert_serves()
    assert len(file.asked) == 2


def test_another_hash_is_refused(file: File) -> None:
    assert_serves()
    path = cached_path("http://127.0.0.1/model.pth")
    held = weights()
    held[LACKED] = held[LACKED] + 1
    path.write_bytes(checkpoint({"model": held}))
    assert "is not the file that was used before" in error_of_a_start()
