"""A checkpoint that does not fit the model stops the load, and says where."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.captioning.blip.model import BLIP_MODELS, DEMO_MODEL
from services.captioning.blip.weights import load_blip
from services.captioning.checkpoints import ModelLoadError

DEMO = BLIP_MODELS["demo"]
MISSING = "text_decoder.bert.encoder.layer.1.crossattention.self.key.weight"


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    held: dict[str, torch.Tensor] = load_file(DEMO_MODEL / "model.safetensors")
    return held


def load(weights: dict[str, torch.Tensor], tmp_path: Path, suffix: str = "safetensors") -> torch.nn.Module:
    path = tmp_path / f"model.{suffix}"
    if suffix == "pth":
        torch.save({"model": weights}, path)
    else:
        save_file(weights, path)
    return load_blip(DEMO, path)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_every_weight_is_taken_as_it_is_stored(
    weights: dict[str, torch.Tensor], tmp_path: Path, suffix: str
) -> None:
    held = load(weights, tmp_path, suffix).state_dict()
    assert torch.equal(held["text.layers.1.image_attention.key.weight"], weights[MISSING])
    # the position ids are no weight, and the last layer's bias has two names
    bias, counted = 1, "text_decoder.bert.embeddings.position_ids" in weights
    assert len(held) == len(weights) - bias - counted


def test_a_missing_weight_is_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    del weights[MISSING]
    with pytest.raises(ModelLoadError, match=r"in 1 places: lacks text\.layers\.1\.image_attention\.key\.weight"):
        load(weights, tmp_path)


def test_an_unexpected_weight_is_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights["text_proj.weight"] = torch.zeros(3)
    with pytest.raises(ModelLoadError, match=r"has text_proj\.weight, which the model has not"):
        load(weights, tmp_path)


def test_another_shape_is_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights[MISSING] = torch.zeros(192, 100)
    with pytest.raises(ModelLoadError, match=r"key\.weight of shape \(192, 100\), the model \(192, 192\)"):
        load(weights, tmp_path)


def test_many_faults_are_counted_and_some_are_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"in \d\d\d places: has .*lacks .*; …\. Restore the file"):
        load({"text_proj.weight": weights[MISSING]}, tmp_path)


def test_the_tied_layer_is_the_second_of_its_names(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """LAVIS loads both into one tensor, and the last stays."""
    last = "text_decoder.cls.predictions.decoder.weight"
    weights[last] = weights[last] + 1
    held = load(weights, tmp_path).state_dict()
    assert torch.equal(held["text.tokens.weight"], weights[last])


def test_the_first_caption_needs_nothing_of_torchs_compiler() -> None:
    """Its import takes some seconds and 66 MB."""
    code = """
import sys
import torch
from PIL import Image
from services.captioning.engines import load_captioner
before = set(sys.modules)
captioner = load_captioner("demo", "auto", "cpu", "fp32", lambda progress: None)
captioner.caption([captioner.prepare(Image.new("RGB", (9, 9)))], None)
print(sorted((set(sys.modules) - before) & {"sympy", "torch._inductor", "torch._dynamo"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"
