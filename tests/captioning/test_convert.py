"""Only a person who names the hash gets an untrusted checkpoint loaded, and then only its tensors stay."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from config.values import CHECKOUT
from services.captioning.hashes import check_unchanged, sha256_of


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services.captioning.convert", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    torch.save({"model": {"weight": torch.arange(4.0)}, "config": Fraction(1, 2)}, path)
    return path


def test_without_a_hash_it_only_shows_what_there_is(checkpoint: Path) -> None:
    before = sha256_of(checkpoint)
    shown = run(str(checkpoint))
    assert shown.returncode == 1
    assert before in shown.stdout
    assert "fractions.Fraction" in shown.stdout
    assert sha256_of(checkpoint) == before


def test_another_hash_is_refused(checkpoint: Path) -> None:
    refused = run(str(checkpoint), "--sha256", "0" * 64)
    assert refused.returncode == 1
    assert "not the file that you trust" in refused.stderr
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_with_its_hash_the_tensors_are_kept(checkpoint: Path) -> None:
    before = check_unchanged(checkpoint)
    assert run(str(checkpoint), "--sha256", before).returncode == 0
    held = torch.load(checkpoint, weights_only=True)
    assert list(held) == ["model"]
    assert torch.equal(held["model"]["weight"], torch.arange(4.0))
    assert sha256_of(checkpoint.with_name("model.pth.original")) == before
    assert check_unchanged(checkpoint) != before
    assert "nothing to convert" in run(str(checkpoint)).stderr
