"""Linear layers in fp32 on the CPU, by kernels that read the weights in an order of their own.

A plain product puts the weight into that order at each call, or reads it in one that suits it badly; here that is
done once, while loading. There are MKL's kernel and oneDNN's, and which is faster, for the hundreds of rows of an
image or the few of a step, differs by several times from one make of processor to another: the machine at hand is
asked. The values are those of a plain product, but for the order in which sums are rounded.
"""

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

TRIALS = 3

Kernel = Callable[[nn.Linear, int], nn.Module]  # (layer, rows that it will see) -> what does its work


class MklLinear(nn.Module):
    """Does the work of `linear` for inputs of exactly `rows` rows."""

    packed: Tensor  # as large as the weight
    shape: Tensor  # (out, in), without memory: MKL's product asks the weight for nothing else
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.register_buffer("packed", torch.ops.mkl._mkl_reorder_linear_weight(linear.weight, rows))
        self.shape = linear.weight.new_empty(1).expand_as(linear.weight)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) of `rows` rows, float32 -> (…, out)."""
        if x.shape[:-1].numel() != self.rows:
            raise ValueError(f"packed for {self.rows} rows, got {tuple(x.shape)}")
        out: Tensor = torch.ops.mkl._mkl_linear(x, self.packed, self.shape, self.bias, self.rows)
        return out


class OneDnnLinear(nn.Module):
    """Does the work of `linear`, fastest for inputs of some `rows` rows; 0: the weight stays as it is.

    Other numbers of rows are rounded up (pad_rows).
    """

    weight: Tensor  # (out, in), in the kernel's own order
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, rows: int) -> None:
        super().__init__()
        self.rows = rows
        if rows:
            self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(linear.weight, rows))
        else:
            self.weight = linear.weight
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) float32 -> (…, out)."""
        flat = x.flatten(0, -2)
        rows = len(flat)
        given = flat if rows == self.rows else pad_rows(flat)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(given, self.weight, self.bias, "none", [], "")
        return out[:rows].view(*x.shape[:-1], -1)


def pad_rows(x: Tensor) -> Tensor:
    """(rows, width) -> with rows of zeros behind, so that few numbers of rows come to be.

    oneDNN keeps what it prepares for each number of rows that it meets, 0.6 MB for each shape of a layer. So it is
    rounded up to three significant bits: at most a quarter more, four numbers from one power of two to the next.
    """
    rows = len(x)
    step = 1 << max(0, rows.bit_length() - 3)
    more = -rows % step
    return functional.pad(x, (0, 0, 0, more)) if more else x


def plain(linear: nn.Linear, rows: int) -> nn.Linear:
    """As torch does it: with MKL, where it has that."""
    return linear


FOR_ANY_ROWS: tuple[Kernel, ...] = (plain, OneDnnLinear)
FOR_AN_IMAGE: tuple[Kernel, ...] = (*FOR_ANY_ROWS, MklLinear)


def fastest(kernels: Sequence[Kernel], linear: nn.Linear, rows: int) -> Kernel:
    """The one of `kernels` that takes least time for `linear` and `rows` rows, on the machine at hand."""
    x = torch.ones(rows, linear.in_features)
    layers: dict[Kernel, nn.Module] = {}
    with torch.inference_mode():
        for kernel in kernels:
            try:
                layer = kernel(linear, rows)
                layer(x)  # warms up
            except (RuntimeError, AttributeError):  # a CPU, or a build of torch, without it
                continue
            layers[kernel] = layer
        least = dict.fromkeys(layers, math.inf)
        for _ in range(TRIALS):
            for kernel, layer in layers.items():
                started = time.perf_counter()
                layer(x)
                least[kernel] = min(least[kernel], time.perf_counter() - started)
    return min(least, key=least.__getitem__)
