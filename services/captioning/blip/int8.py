"""int8 on the CPU, by the instructions for it (VNNI): the linear layers, four times smaller and some times faster.

A weight is rounded once, to 255 levels of its row's largest value; what comes in is rounded at every call, to 255
levels of each token's largest value (dynamic quantisation per token, as in Dettmers et al. 2022 without the part
for outliers). So nothing has to be calibrated. Norms, attention and the residual path stay fp32; but the encoder's
attention is bf16 where the processor multiplies that. Measured against static scales: benchmarks/RESULTS.md.

A step of the decoder has a few rows, the beams of a picture. For these oneDNN's kernel, and the rounding before,
cost far more than the product; FBGEMM's does all in one call, with one scale for all its rows. It has an order of
weights of its own, so those that the steps read are there twice: 122 MB of the large model's 446.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from services.captioning.blip.model import Blip
from services.captioning.blip.text import Attention
from services.captioning.kernels import pad_rows

LEVELS = 127  # on each side of zero
ZERO = 128  # as uint8: oneDNN's kernels multiply uint8 by int8
FEW_ROWS = 5  # more are of several pictures, which should not share a scale
HEADS_AT_ONCE = 4  # more do not stay in the processor's caches


class Int8Linear(nn.Module):
    """Does the work of `linear`, nearly.

    in_steps: whether it is to be fast for a few rows too, for twice the memory.
    """

    few: Any  # weight and bias in FBGEMM's order; None: not in steps, or this torch has no such kernel
    weight: Tensor  # (out, in) int8, in the order that oneDNN reads it in
    weight_scale: Tensor  # (out,) float32
    weight_zero: Tensor  # (out,) int64, all 0
    bias: Tensor

    def __init__(self, linear: nn.Linear, in_steps: bool) -> None:
        super().__init__()
        self.in_steps = in_steps
        scale = linear.weight.abs().amax(dim=1) / LEVELS
        scale.clamp_min_(torch.finfo(torch.float32).tiny)  # a row of zeros
        rounded = (linear.weight / scale[:, None]).round_().to(torch.int8)
        self.few = _pack_for_few(rounded, scale, linear.bias) if in_steps else None
        self.register_buffer("weight", torch.ops.onednn.qlinear_prepack(rounded, None))
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_zero", torch.zeros(len(scale), dtype=torch.long))
        self.register_buffer("bias", linear.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) float32 -> (…, out) float32."""
        if self.few is not None and x.shape[:-1].numel() <= FEW_ROWS:
            few: Tensor = torch.ops.quantized.linear_dynamic(x, self.few)
            return few
        flat = x.flatten(0, -2)
        given = pad_rows(flat) if self.in_steps else flat  # the encoder's are those of an image
        largest = torch.maximum(given.amax(dim=-1, keepdim=True), -given.amin(dim=-1, keepdim=True))
        largest.clamp_min_(torch.finfo(torch.float32).tiny)
        # by way of int8: torch makes that of floats nine times as fast as uint8
        levels = (given * (LEVELS / largest)).round_().to(torch.int8).view(torch.uint8).add_(ZERO)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(levels, 1 / LEVELS, ZERO),
            *(self.weight, self.weight_scale, self.weight_zero),
            None,  # the bias has to wait for the tokens' scales
            *(1.0, 0, torch.float32),  # of the output
            *("none", [], ""),  # nothing fused behind it
        )
        torch.addcmul(self.bias, out, largest, out=out)
        return out[: len(flat)].view(*x.shape[:-1], -1)


def _pack_for_few(rounded: Tensor, scale: Tensor, bias: Tensor) -> Any:
    quantized = torch.backends.quantized
    if "fbgemm" not in quantized.supported_engines:
        return None
    engine = quantized.engine
    quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            # torch means to drop tensors of this type; the kernel takes its weights in no other
            warnings.filterwarnings("ignore", message=".*quantized tensor creation", category=UserWarning)
            zero = torch.zeros(len(scale), dtype=torch.long)
            weight = torch._make_per_channel_quantized_tensor(rounded, scale, zero, 0)
        return torch.ops.quantized.linear_prepack(weight, bias)
    finally:
        quantized.engine = engine


def attend_bf16(query_key_value: Tensor) -> Tensor:
    """(3, images, heads, positions, head width) float32 -> (images, heads, positions, head width) float32.

    torch's own attention is no faster in bf16 than in fp32; its products alone are.
    """
    query, key, value = query_key_value.to(torch.bfloat16).contiguous()
    scaled = query * query.shape[-1] ** -0.5
    heads = zip(*(part.flatten(0, 1).split(HEADS_AT_ONCE) for part in (scaled, key, value)), strict=True)
    return torch.cat([torch.softmax(q @ k.mT, dim=-1) @ v for q, k, v in heads]).view_as(query).float()


def to_int8(blip: Blip) -> None:
    """Every linear layer of `blip` (fp32, on the CPU) by Int8Linear, and attention as above, in place."""
    if torch.cpu._is_avx512_bf16_supported():
        for block in blip.vision.blocks:
            block.attention.attend = attend_bf16  # type: ignore[union-attr]
    looks: list[Attention] = [layer.image_attention for layer in blip.text.layers]  # type: ignore[misc]
    only_before_steps = {*(look.key for look in looks), *(look.value for look in looks)}
    in_steps = set(blip.text.modules()) - only_before_steps
    for module in list(blip.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child, child in in_steps))
