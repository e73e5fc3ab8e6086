"""Linear layers and embeddings that keep their weights small, and compute in fp32.

Only the weights are rounded, so nothing has to be calibrated, and the outliers that OPT's activations are known
for (Dettmers et al. 2022) stay whole. A few rows of weights at a time become fp32, in a scratch that stays in the
processor's caches, and are multiplied from there: on a CPU without bf16 units that is faster than bf16's own
products. Sizes, in bytes a weight: bf16 2; int8 1, and 4 a row; int4 0.5, and 4 for each group of a row.
"""

from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK_WEIGHTS = 1 << 18  # at once in fp32: 1 MiB
FEW_ROWS = 16  # of the input: as many as the beams of some pictures
GROUPS = (128, 64, 32)  # weights with a scale of their own, the first that divides the row's length
INT8_LEVELS = 127  # on each side of zero
INT4_LEVELS = 15
INT4_ROWS = 64  # that lie together


class Stored(Protocol):
    """A matrix (rows, columns) in a precision of its own."""

    shape: tuple[int, int]
    block_rows: int  # how many of its rows are read at once

    def read(self, first: int, last: int) -> Tensor:
        """fp32 (last - first, columns)."""
        ...


class StoredLinear(nn.Module):
    """What nn.Linear does, with the weights of `stored`."""

    bias: Tensor | None

    def __init__(self, stored: nn.Module, bias: Tensor | None) -> None:
        super().__init__()
        self.stored = stored
        self.register_buffer("bias", None if bias is None else bias.float())

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) fp32 -> (…, out) fp32."""
        out = _multiply(x.flatten(0, -2), self.stored)  # type: ignore[arg-type]
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], -1)


class StoredEmbedding(nn.Module):
    """What nn.Embedding does; may share its `stored` with the linear layer that gives the logits."""

    def __init__(self, stored: nn.Module) -> None:
        super().__init__()
        self.stored = stored

    def forward(self, tokens: Tensor) -> Tensor:
        """(…) int64 -> (…, width) fp32."""
        rows: Tensor = self.stored.pick(tokens)  # type: ignore[operator]
        return rows


class Bf16(nn.Module):
    weight: Tensor  # (rows, columns) bf16

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.shape = tuple(weight.shape)
        self.block_rows = _block_rows(weight.shape[1])
        self.register_buffer("weight", weight.to(torch.bfloat16, copy=True))

    def read(self, first: int, last: int) -> Tensor:
        return self.weight[first:last].float()

    def pick(self, rows: Tensor) -> Tensor:
        return self.weight[rows].float()


class Int8(nn.Module):
    """255 levels of each row's largest weight."""

    weight: Tensor  # (rows, columns) int8
    scale: Tensor  # (rows, 1) fp32

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.shape = tuple(weight.shape)
        self.block_rows = _block_rows(weight.shape[1])
        weight = weight.float()
        scale = (weight.abs().amax(dim=1, keepdim=True) / INT8_LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        self.register_buffer("weight", (weight / scale).round_().to(torch.int8))
        self.register_buffer("scale", scale)

    def read(self, first: int, last: int) -> Tensor:
        return self.weight[first:last].float().mul_(self.scale[first:last])

    def pick(self, rows: Tensor) -> Tensor:
        return self.weight[rows].float() * self.scale[rows]

    def multiply_few(self, x: Tensor) -> Tensor:
        """x (few, columns) fp32 -> (few, rows) fp32, by torch's own kernel; it wants bf16 inputs."""
        no_scale = torch.ones(len(self.scale), dtype=torch.bfloat16)  # ours would be rounded
        levels = torch._weight_int8pack_mm(x.bfloat16(), self.weight, no_scale)
        return levels.float().mul_(self.scale.squeeze(1))


class Int4(nn.Module):
    """16 levels between the smallest and the largest weight of each group; in the order of torch's own kernel."""

    weight: Tensor  # (rows / 64, columns, 32) uint8: the first 32 rows in the low nibbles, the others in the high
    scale: Tensor  # (groups, rows, 2) bf16: of a level, and the weight that level 8 stands for

    def __init__(self, weight: Tensor, group: int) -> None:
        super().__init__()
        self.shape = tuple(weight.shape)
        self.block_rows = INT4_ROWS
        self.group = group
        grouped = weight.float().view(len(weight), -1, group)
        least, most = grouped.amin(dim=2, keepdim=True), grouped.amax(dim=2, keepdim=True)
        # rounded first, so that the levels are counted from what will be read back
        scale = ((most - least) / INT4_LEVELS).bfloat16().float().clamp_min(torch.finfo(torch.bfloat16).tiny)
        middle = (least + 8 * scale).bfloat16().float()
        levels = ((grouped - middle) / scale + 8).round_().clamp_(0, INT4_LEVELS).to(torch.uint8).flatten(1)
        low, high = levels.view(-1, 2, INT4_ROWS // 2, weight.shape[1]).unbind(1)
        self.register_buffer("weight", (low | high << 4).transpose(1, 2).contiguous())
        scales = torch.cat([scale, middle], dim=2).transpose(0, 1)
        self.register_buffer("scale", scales.to(torch.bfloat16, memory_format=torch.contiguous_format))

    def read(self, first: int, last: int) -> Tensor:
        packed = self.weight[first // INT4_ROWS]
        levels = torch.empty(len(packed), INT4_ROWS, device=packed.device)
        levels[:, : INT4_ROWS // 2] = packed & 15
        levels[:, INT4_ROWS // 2 :] = packed >> 4
        scale, middle = self.scale[:, None, first:last].float().unbind(-1)  # each (groups, 1, rows)
        grouped = levels.view(-1, self.group, INT4_ROWS)
        return torch.addcmul(middle - 8 * scale, grouped, scale).flatten(0, 1).t()

    def multiply_few(self, x: Tensor) -> Tensor:
        """x (few, columns) fp32 -> (few, rows) fp32, by torch's own kernel; it wants bf16 inputs."""
        out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.bfloat16(), self.weight.view(self.shape[0], -1), self.group, self.scale
        )
        return out.float()


@cache
def has_int4_kernel() -> bool:
    """Whether torch's kernel reads the order that Int4 writes: it has another one on CPUs without AVX-512."""
    weight = torch.linspace(-1, 1, INT4_ROWS * GROUPS[-1]).sin_().view(INT4_ROWS, GROUPS[-1])
    probe, x = Int4(weight, GROUPS[-1]), torch.eye(4, GROUPS[-1])
    try:
        few = probe.multiply_few(x)
    except (RuntimeError, AttributeError):  # a CPU, or a build of torch, without it
        return False
    return torch.allclose(few, x @ probe.read(0, INT4_ROWS).t(), atol=0.02)


def _multiply(x: Tensor, stored: Stored) -> Tensor:
    """x (inputs, columns) fp32 -> (inputs, rows) fp32."""
    if len(x) <= FEW_ROWS and (isinstance(stored, Int8) or (isinstance(stored, Int4) and has_int4_kernel())):
        return stored.multiply_few(x)
    rows, step = stored.shape[0], stored.block_rows
    out = x.new_empty(len(x), rows)
    for first in range(0, rows, step):
        last = min(rows, first + step)
        out[:, first:last] = functional.linear(x, stored.read(first, last))
    return out


def store(weight: Tensor, precision: str) -> nn.Module:
    """weight: (rows, columns), of any float type. precision: "bf16", "int8" or "int4".

    A matrix that cannot be cut into groups, or into blocks of rows, is kept in int8 where int4 is asked for.
    """
    rows, columns = weight.shape
    group = next((group for group in GROUPS if columns % group == 0), None)
    if precision == "int4" and group and rows % INT4_ROWS == 0:
        return Int4(weight, group)
    return Bf16(weight) if precision == "bf16" else Int8(weight)


def _block_rows(columns: int) -> int:
    return max(1, BLOCK_WEIGHTS // columns)
