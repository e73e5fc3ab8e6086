"""`python -m services.captioning download MODEL`, and the service that starts without a network after it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from services.captioning.__main__ import files_of
from services.captioning.blip.model import BLIP_MODELS, DEMO_MODEL
from tests.captioning.file_server import File, file_server
from tests.captioning.test_checkpoints import checkpoint

ROOT = Path(__file__).parents[2]

# Starts the application as gunicorn does, and prints what its health says when loading has ended, and each look-up
# of a name and each connection before.
START = """
import sys, time
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("NETWORK", event, arguments)
sys.addaudithook(watch)
import REST
client = REST.create_app().test_client()
while (health := client.get("/health").get_json())["model_status"] == "loading":
    time.sleep(0.05)
print(health["model_status"], health["error"])
import huggingface_hub.constants, os
print(huggingface_hub.constants.HF_HUB_OFFLINE, os.environ["TRANSFORMERS_OFFLINE"])
os._exit(0)
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_files_of_the_demonstration_model_are_there() -> None:
    done = run("-m", "services.captioning", "download", "demo")
    assert done.stdout.splitlines() == [str(DEMO_MODEL / name) for name in ("model.safetensors", "vocab.txt")]
    assert done.returncode == 0


def test_a_model_is_fetched_to_where_the_service_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = File(checkpoint(1.0))
    with file_server(file) as url:
        monkeypatch.setitem(BLIP_MODELS, "far", replace(BLIP_MODELS["demo"], checkpoint=url))
        expected = [tmp_path / "hub" / "checkpoints" / "model.pth", DEMO_MODEL / "vocab.txt"]
        assert files_of("far") == expected
        assert files_of("far") == expected
    assert expected[0].read_bytes() == file.content
    assert file.asked == [""]


def test_what_cannot_be_fetched_ends_with_the_reason(tmp_path: Path) -> None:
    model = "blip_caption/large_coco"
    done = run("-m", "services.captioning", "download", model, TORCH_HOME=str(tmp_path), OFFLINE="true")
    assert done.returncode == 1
    assert done.stderr.startswith("OFFLINE=true, and")
    assert "Traceback" not in done.stderr


def test_the_service_starts_offline_and_says_what_is_missing(tmp_path: Path) -> None:
    done = run("-c", START, TORCH_HOME=str(tmp_path), OFFLINE="yes", MODEL="blip_caption/large_coco", DEVICE="cpu")
    assert "failed OFFLINE=true, and" in done.stdout, done.stderr
    assert "captioning download MODEL" in done.stdout
    assert "True 1" in done.stdout
    assert "NETWORK" not in done.stdout
