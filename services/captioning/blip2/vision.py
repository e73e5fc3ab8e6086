"""BLIP-2's usual vision tower: EVA's ViT (Fang et al. 2022) as LAVIS cuts it, without a norm at its end.

Its weights have LAVIS's names, but for the biases of queries and values, which become one with zeros for the keys.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.captioning.blip2.model import PATCH_PX, VisionSize

NORM_EPS = 1e-6


class Attention(nn.Module):
    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.proj = nn.Linear(size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        """(images, positions, width) -> the same."""
        packed = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        # each (images, heads, positions, head width), and in one piece: the CPU's attention reads that faster
        query, key, value = packed.permute(2, 0, 3, 1, 4).contiguous()
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size.width, size.mlp_width)
        self.fc2 = nn.Linear(size.mlp_width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Normalises before each part (pre-norm)."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, NORM_EPS)
        self.attn = Attention(size)
        self.norm2 = nn.LayerNorm(size.width, NORM_EPS)
        self.mlp = Mlp(size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class EvaVision(nn.Module):
    def __init__(self, size: VisionSize, image_px: int) -> None:
        super().__init__()
        positions = 1 + (image_px // PATCH_PX) ** 2
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, size.width, PATCH_PX, stride=PATCH_PX)})
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.empty(1, positions, size.width))
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, 3, side, side), normalised -> (images, positions, width)."""
        patches = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x


def attention_bias(query_bias: Tensor, value_bias: Tensor) -> Tensor:
    """LAVIS's two biases (width,) -> ours (3 · width,)."""
    return torch.cat([query_bias, torch.zeros_like(query_bias), value_bias])


def resized_positions(positions: Tensor, wanted: int) -> Tensor:
    """Position embeddings (1, positions, width) for another size of picture: bicubic, as LAVIS does it."""
    class_token, patches = positions[:, :1], positions[:, 1:]
    before, after = round(patches.shape[1] ** 0.5), round((wanted - 1) ** 0.5)
    grid = patches.float().view(1, before, before, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
    return torch.cat([class_token.float(), resized.flatten(2).transpose(1, 2)], dim=1)
