"""Packed weights: the same products, and the memory of what they were made of is given back."""


import pytest
import torch
from torch import nn

from services.captioning.blip.captioner import load_blip_captioner
from services.captioning.blip.model import BLIP_MODELS
from services.captioning.blip.packed import PackedLinear, pack
from services.captioning.blip.vision import VisionEncoder
from services.captioning.captioner import LoadProgress

HAS_MKL = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
with_mkl = pytest.mark.skipif(not HAS_MKL, reason="torch came without MKL")


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


def small_encoder() -> VisionEncoder:
    torch.manual_seed(5)
    encoder = VisionEncoder(BLIP_MODELS["demo"].vision).eval().requires_grad_(False)
    for weight in encoder.parameters():
        nn.init.normal_(weight, std=0.1)
    return encoder


@with_mkl
def test_the_encoder_gives_what_it_gave() -> None:
    side = BLIP_MODELS["demo"].vision.image_px
    encoder, pixels = small_encoder(), torch.randn(1, 3, side, side)
    with torch.inference_mode():
        before = encoder(pixels)
        pack(encoder)
        assert any(isinstance(module, PackedLinear) for module in encoder.modules())
        assert not any(isinstance(module, nn.Linear) for module in encoder.modules())
        torch.testing.assert_close(encoder(pixels), before, rtol=1e-4, atol=1e-4)


@with_mkl
def test_other_rows_than_it_was_packed_for_are_refused() -> None:
    layer = PackedLinear(nn.Linear(64, 32).requires_grad_(False), rows=5)
    assert layer(torch.randn(1, 5, 64)).shape == (1, 5, 32)
    with pytest.raises(ValueError, match="packed for 5 rows"):
        layer(torch.randn(2, 5, 64))


def test_without_mkl_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    encoder = small_encoder()
    pack(encoder)
    assert isinstance(encoder.blocks[0].mlp_in, nn.Linear)


@with_mkl
def test_only_fp32_on_the_cpu_is_packed() -> None:
    exact = load_blip_captioner("demo", "cpu", "fp32", ignore)
    assert isinstance(exact.blip.vision.blocks[0].mlp_in, PackedLinear)
    if torch.cpu._is_vnni_supported():
        rounded = load_blip_captioner("demo", "cpu", "int8", ignore)
        assert not any(isinstance(module, PackedLinear) for module in rounded.blip.modules())
