"""Packed weights: the same products, by whichever kernel is fastest on the machine at hand."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from services.captioning.blip import packed
from services.captioning.blip.captioner import BlipCaptioner, load_blip_captioner
from services.captioning.blip.packed import (
    FOR_AN_IMAGE,
    FOR_ANY_ROWS,
    Kernel,
    MklLinear,
    OneDnnLinear,
    fastest,
    pad_rows,
    plain,
)
from services.captioning.captioner import DecodingOptions, LoadProgress
from training.scenes import draw_scene

HAS_MKL = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
HAS_ONE_DNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
with_mkl = pytest.mark.skipif(not HAS_MKL, reason="torch came without MKL")
with_one_dnn = pytest.mark.skipif(not HAS_ONE_DNN, reason="torch came without oneDNN")
MKL, ONE_DNN = pytest.param(MklLinear, marks=with_mkl), pytest.param(OneDnnLinear, marks=with_one_dnn)


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


def load(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> BlipCaptioner:
    """The demonstration model, as where `kernel` is the fastest one of those that will do."""

    def choose(offered: Sequence[Kernel], linear: nn.Linear, rows: int) -> Kernel:
        return kernel if kernel in offered else plain

    monkeypatch.setattr(packed, "fastest", choose)
    return load_blip_captioner("demo", "cpu", "fp32", ignore)


def linear(out: int = 32) -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(64, out).requires_grad_(False)


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


@with_mkl
def test_mkl_refuses_other_rows_than_it_was_packed_for() -> None:
    layer = MklLinear(linear(), rows=5)
    assert layer(torch.randn(1, 5, 64)).shape == (1, 5, 32)
    with pytest.raises(ValueError, match="packed for 5 rows"):
        layer(torch.randn(2, 5, 64))


@pytest.mark.parametrize("kernel", [plain, ONE_DNN])
def test_a_step_may_have_any_number_of_rows(kernel: Kernel) -> None:
    layer = kernel(linear(), 3)
    for shape in ((1, 1), (3, 1), (9, 1), (24, 1), (2, 577)):
        x = torch.randn(*shape, 64)
        assert layer(x).shape == (*shape, 32)
        torch.testing.assert_close(layer(x), linear()(x), rtol=1e-4, atol=1e-4)


@with_one_dnn
def test_one_dnn_meets_few_numbers_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    met: set[int] = set()

    def multiply(x: Tensor, weight: Tensor, bias: Tensor, *nothing: object) -> Tensor:
        met.add(len(x))
        return nn.functional.linear(x, torch.ones(32, 64))

    layer = OneDnnLinear(linear(), rows=577)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", multiply)
    for rows in range(1, 1001):
        assert layer(torch.ones(rows, 64)).shape == (rows, 32)
    assert {1, 2, 3, 4, 5, 6, 7, 8, 10, 24, 577} <= met  # an image's own number is not changed
    assert len(met) <= 4 * 10


@pytest.mark.parametrize(("rows", "rounded"), [(1, 1), (3, 3), (7, 7), (9, 10), (15, 16), (24, 24), (577, 640)])
def test_rows_are_rounded_up(rows: int, rounded: int) -> None:
    x = torch.ones(rows, 2)
    padded = pad_rows(x)
    assert padded.shape == (rounded, 2)
    assert torch.equal(padded[:rows], x)
    assert not padded[rows:].any()


def test_the_fastest_is_taken_by_its_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    class Takes(nn.Module):
        """Each call takes the next of `seconds`."""

        def __init__(self, *seconds: float) -> None:
            super().__init__()
            self.seconds = list(seconds)

        def forward(self, x: Tensor) -> Tensor:
            nonlocal now
            now += self.seconds.pop(0)
            return x

    def slow(layer: nn.Linear, rows: int) -> Any:
        return Takes(9, 2, 2, 2)

    def fast_but_disturbed(layer: nn.Linear, rows: int) -> Any:
        return Takes(9, 5, 1, 5)

    assert fastest([slow, fast_but_disturbed], linear(), 3) is fast_but_disturbed
    assert fastest([fast_but_disturbed, slow], linear(), 3) is fast_but_disturbed


def test_what_this_machine_lacks_is_not_taken() -> None:
    def of_another_build(layer: nn.Linear, rows: int) -> nn.Module:
        raise AttributeError("no such kernel in this build of torch")

    class OfAnotherProcessor(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("could not create a primitive")

    def of_another_processor(layer: nn.Linear, rows: int) -> nn.Module:
        return OfAnotherProcessor()

    assert fastest([of_another_build, plain, of_another_processor], linear(), 3) is plain
    assert plain in FOR_AN_IMAGE
    assert plain in FOR_ANY_ROWS


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
