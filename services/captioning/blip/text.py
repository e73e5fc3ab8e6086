"""The text decoder of BLIP: a BERT (Devlin et al. 2019) that reads from left to right and looks at the image.

What it has computed is kept in a `TextCache`: the keys and values of the image, once an image and shared by all
its beams; and those of the tokens so far, for each beam.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class TextDimensions:
    vocabulary: int  # tokens
    positions: int  # the longest text, in tokens
    width: int
    layers: int
    heads: int
    image_width: int  # of the vision encoder
    norm_eps: float = 1e-12

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass
class TextCache:
    image_keys: list[Tensor]  # a layer: (images, heads, image positions, head width)
    image_values: list[Tensor]
    keys: Tensor  # (layers, rows, heads, max_length, head width), rows = images · beams; 0 where no token is yet
    values: Tensor

    def widen(self, beams: int) -> None:
        """One row an image -> `beams` equal rows an image."""
        self.keys = self.keys.repeat_interleave(beams, dim=1)
        self.values = self.values.repeat_interleave(beams, dim=1)

    def follow(self, parents: Tensor) -> None:
        """Row i goes on from what was row parents[i]; (rows,) int64."""
        for kept in (self.keys, self.values):
            kept.copy_(kept.index_select(1, parents))

    def tensors(self) -> list[Tensor]:
        return [*self.image_keys, *self.image_values, self.keys, self.values]


class Attention(nn.Module):
    """Attention and what BERT puts behind it: a projection, the residual and its norm (post-norm)."""

    def __init__(self, dims: TextDimensions, looked_at_width: int) -> None:
        super().__init__()
        self.heads = dims.heads
        self.query = nn.Linear(dims.width, dims.width)
        self.key = nn.Linear(looked_at_width, dims.width)
        self.value = nn.Linear(looked_at_width, dims.width)
        self.out = nn.Linear(dims.width, dims.width)
        self.norm = nn.LayerNorm(dims.width, dims.norm_eps)

    def split(self, x: Tensor) -> Tensor:
        """(rows, length, width) -> (rows, heads, length, head width)."""
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)

    def finish(self, mixed: Tensor, x: Tensor) -> Tensor:
        """What attention gives for x, (…, heads, …, head width), and x (rows, length, width) -> like x."""
        out: Tensor = self.norm(self.out(mixed.transpose(1, 2).reshape_as(x)) + x)
        return out


class Layer(nn.Module):
    def __init__(self, dims: TextDimensions) -> None:
        super().__init__()
        self.attention = Attention(dims, dims.width)
        self.image_attention = Attention(dims, dims.image_width)
        self.mlp_in = nn.Linear(dims.width, 4 * dims.width)
        self.mlp_out = nn.Linear(4 * dims.width, dims.width)
        self.mlp_norm = nn.LayerNorm(dims.width, dims.norm_eps)

    def forward(self, x: Tensor, places: Tensor, sees: Tensor, cache: TextCache, index: int) -> Tensor:
        """(rows, length, width) -> the same; layer number `index` of the cache takes up the new tokens.

        places: of the new tokens, (length,) int64. sees: which places each sees, (length, max_length) bool.
        """
        x = self._look_at_text(x, places, sees, cache.keys[index], cache.values[index])
        x = self._look_at_image(x, cache.image_keys[index], cache.image_values[index])
        out: Tensor = self.mlp_norm(self.mlp_out(functional.gelu(self.mlp_in(x))) + x)
        return out

    def _look_at_text(self, x: Tensor, places: Tensor, sees: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        # no shape depends on how long the text is: on a GPU a step is recorded once, and played again
        attention = self.attention
        keys.index_copy_(2, places, attention.split(attention.key(x)))
        values.index_copy_(2, places, attention.split(attention.value(x)))
        query = attention.split(attention.query(x))
        mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=sees)
        return attention.finish(mixed, x)

    def _look_at_image(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        # an image's beams ask as if they were more tokens of one text: its keys and values are not repeated
        attention = self.image_attention
        images = len(keys)
        query = attention.query(x).reshape(images, -1, x.shape[-1])
        mixed = functional.scaled_dot_product_attention(attention.split(query), keys, values)
        return attention.finish(mixed, x)


class TextDecoder(nn.Module):
    def __init__(self, dims: TextDimensions) -> None:
        super().__init__()
        self.dims = dims
        self.tokens = _embedding(dims.vocabulary, dims.width)
        self.positions = _embedding(dims.positions, dims.width)
        self.norm = nn.LayerNorm(dims.width, dims.norm_eps)
        self.layers = nn.ModuleList(Layer(dims) for _ in range(dims.layers))
        self.out = nn.Linear(dims.width, dims.width)
        self.out_norm = nn.LayerNorm(dims.width, dims.norm_eps)
        self.logits = nn.Linear(dims.width, dims.vocabulary)  # its weight is the embedding's

    def look(self, features: Tensor, max_length: int) -> TextCache:
        """Features (images, image positions, image width) -> a cache for texts of up to `max_length` tokens."""
        seen: list[Attention] = [layer.image_attention for layer in self.layers]  # type: ignore[misc]
        shape = (len(self.layers), len(features), self.dims.heads, max_length, self.dims.head_width)
        return TextCache(
            # in one piece, since every step reads them
            image_keys=[attention.split(attention.key(features)).contiguous() for attention in seen],
            image_values=[attention.split(attention.value(features)).contiguous() for attention in seen],
            keys=features.new_zeros(shape),
            values=features.new_zeros(shape),
        )

    def forward(self, tokens: Tensor, places: Tensor, cache: TextCache) -> Tensor:
        """Tokens (rows, length) at `places` (length,), both int64 -> logits of what comes next.

        They are (rows, vocabulary) float32. The cache holds all that stands before them.
        """
        sees = torch.arange(cache.keys.shape[3], device=tokens.device) <= places[:, None]
        x = self.norm(self.tokens(tokens) + self.positions(places))
        for index, layer in enumerate(self.layers):
            x = layer(x, places, sees, cache, index)
        last = self.out_norm(functional.gelu(self.out(x[:, -1])))
        logits: Tensor = self.logits(last)
        return logits.float()

    def follow(self, tokens: Tensor, parents: Tensor, place: Tensor, cache: TextCache) -> Tensor:
        """Row i takes tokens[i] (rows,) at `place` (1,), behind what was row parents[i] -> logits as above."""
        cache.follow(parents)
        logits: Tensor = self(tokens[:, None], place, cache)
        return logits


def _embedding(rows: int, width: int) -> nn.Embedding:
    """Without first values: to draw them on `meta`, torch would import its compiler, 66 MB and some seconds."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))
