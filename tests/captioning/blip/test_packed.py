"""BLIP with packed weights: the same captions, whichever kernel is the fastest."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from services.captioning.blip import packed
from services.captioning.blip.captioner import BlipCaptioner, load_blip_captioner
from services.captioning.captioner import DecodingOptions, LoadProgress
from services.captioning.kernels import Kernel, OneDnnLinear, plain
from tests.captioning.test_kernels import MKL, ONE_DNN, takes, with_one_dnn
from training.scenes import draw_scene


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


def load(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> BlipCaptioner:
    """The demonstration model, as where `kernel` is the fastest one of those that will do."""
    monkeypatch.setattr(packed, "fastest", takes(kernel))
    return load_blip_captioner("demo", "cpu", "fp32", ignore)


@pytest.mark.parametrize("kernel", [ONE_DNN, MKL])
def test_packed_or_not_the_captions_are_the_same(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, other = load(monkeypatch, plain), load(monkeypatch, kernel)
    pixels = usual.pixels([usual.prepare(draw_scene(31_071, index).picture) for index in range(3)])
    assert isinstance(usual.blip.vision.blocks[0].mlp_in, nn.Linear)
    assert not any(isinstance(module, nn.Linear) for module in other.blip.vision.modules())
    with torch.inference_mode():
        torch.testing.assert_close(other._look(pixels), usual._look(pixels), rtol=1e-4, atol=1e-4)
    for beams in (1, 3, 5):
        options = DecodingOptions(num_beams=beams)
        assert other.tokens(pixels, options) == usual.tokens(pixels, options)


@with_one_dnn
def test_the_steps_are_packed_too_but_for_what_the_embedding_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load(monkeypatch, OneDnnLinear).blip.text
    assert not any(isinstance(module, nn.Linear) for module in text.modules())
    layers = [module for module in text.modules() if isinstance(module, OneDnnLinear)]
    assert sum(layer.weight.is_mkldnn for layer in layers) == 3 * 10 + 1  # of each block, and before the logits
    assert text.logits.weight is text.tokens.weight  # one copy


def test_only_fp32_on_the_cpu_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def choose(offered: Sequence[Kernel], linear: nn.Linear, rows: int) -> Kernel:
        asked.append(rows)
        return plain

    monkeypatch.setattr(packed, "fastest", choose)
    load_blip_captioner("demo", "cpu", "fp32", ignore)
    assert asked == [197, 3]
    if torch.cpu._is_vnni_supported():
        load_blip_captioner("demo", "cpu", "int8", ignore)
    assert asked == [197, 3]
