"""fp32 on the CPU: linear layers whose weights lie in the order that MKL's product reads them in.

A plain product of some hundred rows puts the whole weight into that order at each call; here that is done once,
while loading. The values are those of a plain product, but for the order in which sums are rounded.
"""

import torch
from torch import Tensor, nn

from services.captioning.blip.vision import VisionEncoder
from services.captioning.memory import drop_pages


class PackedLinear(nn.Module):
    """Does the work of `linear` for inputs of exactly `rows` rows."""

    packed: Tensor  # as large as the weight
    shape: Tensor  # (out, in), without memory: MKL's product asks the weight for nothing else
    bias: Tensor

    def __init__(self, linear: nn.Linear, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.packed = torch.ops.mkl._mkl_reorder_linear_weight(linear.weight, rows)
        self.shape = linear.weight.new_empty(1).expand_as(linear.weight)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) of `rows` rows, float32 -> (…, out)."""
        if x.shape[:-1].numel() != self.rows:
            raise ValueError(f"packed for {self.rows} rows, got {tuple(x.shape)}")
        out: Tensor = torch.ops.mkl._mkl_linear(x, self.packed, self.shape, self.bias, self.rows)
        return out


def pack(vision: VisionEncoder) -> None:
    """The linear layers of `vision` (fp32, on the CPU) by PackedLinear, in place, for one image at a time.

    Where torch came without MKL nothing is changed.
    """
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return
    rows = vision.positions.shape[1]
    for module in list(vision.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child, rows))
                drop_pages(child.weight.data_ptr(), child.weight.nbytes)  # nobody will read them again

