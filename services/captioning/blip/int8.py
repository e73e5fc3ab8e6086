"""int8 on the CPU, by the instructions for it (VNNI): the linear layers, four times smaller and some times faster.

A weight is rounded once, to 255 levels of its row's largest value; what comes in is rounded at every call, to 255
levels of each token's largest value (dynamic quantisation per token, as in Dettmers et al. 2022 without the part
for outliers). So nothing has to be calibrated, and a picture's caption does not depend on those beside it. Norms,
attention and the residual path stay fp32. Measured against static scales: benchmarks/RESULTS.md.
"""

import torch
from torch import Tensor, nn

from services.captioning.blip.model import Blip

LEVELS = 127  # on each side of zero
ZERO = 128  # as uint8: oneDNN's kernels multiply uint8 by int8


class Int8Linear(nn.Module):
    """Does the work of `linear`, nearly."""

    weight: Tensor  # (out, in) int8, in the order that oneDNN reads it in
    weight_scale: Tensor  # (out,) float32
    weight_zero: Tensor  # (out,) int64, all 0
    bias: Tensor
    rounding: Tensor  # what is cut off after it is added was rounded

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.abs().amax(dim=1) / LEVELS
        scale.clamp_min_(torch.finfo(torch.float32).tiny)  # a row of zeros
        rounded = (linear.weight / scale[:, None]).round_().to(torch.int8)
        self.register_buffer("weight", torch.ops.onednn.qlinear_prepack(rounded, None))
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_zero", torch.zeros(len(scale), dtype=torch.long))
        self.register_buffer("bias", linear.bias.clone())
        self.register_buffer("rounding", torch.tensor(ZERO + 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) float32 -> (…, out) float32."""
        largest = x.abs().amax(dim=-1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny)
        levels = torch.addcmul(self.rounding, x, LEVELS / largest).to(torch.uint8)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(levels, 1 / LEVELS, ZERO),
            *(self.weight, self.weight_scale, self.weight_zero),
            None,  # the bias has to wait for the tokens' scales
            *(1.0, 0, torch.float32),  # of the output
            *("none", [], ""),  # nothing fused behind it
        )
        return out.mul_(largest).add_(self.bias)


def to_int8(blip: Blip) -> None:
    """Every linear layer of `blip` (fp32, on the CPU) by Int8Linear, in place."""
    for module in list(blip.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
