"""Kernels: the same products, by whichever is fastest on the machine at hand."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from services.captioning.kernels import (
    FOR_AN_IMAGE,
    FOR_ANY_ROWS,
    Kernel,
    MklLinear,
    OneDnnLinear,
    fastest,
    pad_rows,
    plain,
)

HAS_MKL = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
HAS_ONE_DNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
with_mkl = pytest.mark.skipif(not HAS_MKL, reason="torch came without MKL")
with_one_dnn = pytest.mark.skipif(not HAS_ONE_DNN, reason="torch came without oneDNN")
MKL, ONE_DNN = pytest.param(MklLinear, marks=with_mkl), pytest.param(OneDnnLinear, marks=with_one_dnn)


def takes(kernel: Kernel) -> Callable[[Sequence[Kernel], nn.Linear, int], Kernel]:
    """In place of `fastest`: `kernel`, where it is among those that will do."""
    return lambda offered, linear, rows: kernel if kernel in offered else plain


def linear(bias: bool = True) -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(64, 32, bias).requires_grad_(False)


@with_mkl
def test_mkl_refuses_other_rows_than_it_was_packed_for() -> None:
    layer = MklLinear(linear(), rows=5)
    assert layer(torch.randn(1, 5, 64)).shape == (1, 5, 32)
    with pytest.raises(ValueError, match="packed for 5 rows"):
        layer(torch.randn(2, 5, 64))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [plain, ONE_DNN, MKL])
def test_it_does_the_work_of_the_layer(kernel: Kernel, bias: bool) -> None:
    layer, x = kernel(linear(bias), 10), torch.randn(2, 5, 64)
    torch.testing.assert_close(layer(x), linear(bias)(x), rtol=1e-4, atol=1e-4)
    # what it keeps is counted where a model's memory is; MKL adds some for itself
    assert sum(held.nbytes for held in (*layer.parameters(), *layer.buffers())) >= 4 * 32 * (64 + bias)


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
