"""Linear layers that keep their weights small: near to what nn.Linear gives, for few inputs and for many."""

import pytest
import torch
from torch.nn import functional

from services.captioning.blip2.stored import FEW_ROWS, Int4, StoredEmbedding, StoredLinear, has_int4_kernel, store

NEAR = {"bf16": 0.003, "int8": 0.012, "int4": 0.12}  # the error's share of the output


def error(near: torch.Tensor, exact: torch.Tensor) -> float:
    return float((near - exact).norm() / exact.norm())


@pytest.mark.parametrize("inputs", [1, FEW_ROWS, FEW_ROWS + 1, 100])
@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize(("columns", "rows"), [(64, 64), (1408, 192), (2560, 320), (96, 100)])
def test_it_does_the_work_of_a_linear_layer(precision: str, inputs: int, columns: int, rows: int) -> None:
    torch.manual_seed(inputs)
    weight, bias, x = torch.randn(rows, columns), torch.randn(rows), torch.randn(1, inputs, columns)
    with torch.inference_mode():
        near = StoredLinear(store(weight, precision), bias)(x)
    assert near.shape == (1, inputs, rows)
    assert near.dtype == torch.float32
    assert error(near - bias, functional.linear(x, weight)) < NEAR[precision]


@pytest.mark.parametrize(("precision", "n_bytes"), [("bf16", 2.0), ("int8", 1.02), ("int4", 0.54)])
def test_it_is_as_small_as_it_says(precision: str, n_bytes: float) -> None:
    kept = store(torch.randn(256, 1280), precision)
    assert sum(buffer.nbytes for buffer in kept.buffers()) <= n_bytes * 256 * 1280


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_embeddings_are_the_rows(precision: str) -> None:
    table, tokens = torch.randn(100, 64), torch.tensor([[3, 99], [0, 3]])
    picked = StoredEmbedding(store(table, precision))(tokens)
    assert picked.shape == (2, 2, 64)
    assert error(picked, table[tokens]) < NEAR[precision]


@pytest.mark.parametrize("precision", NEAR)
def test_rows_of_zeros_and_of_one_value_stay(precision: str) -> None:
    weight = torch.zeros(64, 64)
    weight[5] = 0.5
    near = StoredLinear(store(weight, precision), None)(torch.ones(20, 64))
    torch.testing.assert_close(near[:, 5], torch.full((20,), 32.0), rtol=0.01, atol=0)
    assert near[:, :5].abs().max() < 1e-30


def test_both_ways_of_int4_read_the_same() -> None:
    if not has_int4_kernel():
        pytest.skip("this CPU's kernel has another order")
    kept, x = Int4(torch.randn(192, 256), 128), torch.randn(4, 256)
    by_blocks = torch.cat([functional.linear(x, kept.read(first, first + 64)) for first in (0, 64, 128)], dim=1)
    assert error(kept.multiply_few(x), by_blocks) < 0.01
