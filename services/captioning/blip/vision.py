"""The vision encoder of BLIP: a ViT (Dosovitskiy et al. 2021) without a classifier, in plain PyTorch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPS = 1e-6  # of LAVIS's VisionTransformer


@dataclass(frozen=True)
class VisionDimensions:
    image_px: int
    patch_px: int
    width: int
    layers: int
    heads: int

    @property
    def positions(self) -> int:
        """The class token and the patches."""
        return 1 + (self.image_px // self.patch_px) ** 2


def attend(query_key_value: Tensor) -> Tensor:
    """(3, images, heads, positions, head width) -> (images, heads, positions, head width)."""
    query, key, value = query_key_value.contiguous()  # the CPU's attention reads that faster
    return functional.scaled_dot_product_attention(query, key, value)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attend = attend
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(images, positions, width) -> the same."""
        packed = self.query_key_value(x).unflatten(-1, (3, self.heads, -1))
        mixed = self.attend(packed.permute(2, 0, 3, 1, 4))
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Normalises before each part (pre-norm)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, NORM_EPS)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, NORM_EPS)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        wide = self.mlp_in(self.mlp_norm(x))
        out: Tensor = x + self.mlp_out(torch.ops.aten.gelu_(wide))  # in place: it is the largest tensor here
        return out


class VisionEncoder(nn.Module):
    def __init__(self, dims: VisionDimensions) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dims.width, kernel_size=dims.patch_px, stride=dims.patch_px)
        self.class_token = nn.Parameter(torch.empty(1, 1, dims.width))
        self.positions = nn.Parameter(torch.empty(1, dims.positions, dims.width))
        self.blocks = nn.ModuleList(Block(dims.width, dims.heads) for _ in range(dims.layers))
        self.norm = nn.LayerNorm(dims.width, NORM_EPS)

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, 3, side, side), normalised -> (images, positions, width)."""
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


def encode(vision: VisionEncoder, pixels: Tensor) -> Tensor:
    """Pixels (images, 3, side, side) -> features (images, positions, width).

    On a CPU one image at a time: what a layer makes of more does not stay in the processor's caches.
    """
    at_once = len(pixels) if pixels.is_cuda else 1
    return torch.cat([vision(some) for some in torch.split(pixels, at_once)])
