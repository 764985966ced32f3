"""Multi-head self-attention over all positions (CAFormer)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from space.cost import Cost, Size, linear, matrix_product
from space.families import TokenMixer
from space.layers import Linear


class SelfAttention(nn.Module):
    """Scaled dot-product attention between all positions of an image. [N, C, H, W] -> the same.

    `qkv` writes queries, keys and values in this order, each as [heads, head_width].
    """

    def __init__(self, width: int, heads: int, head_width: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * heads * head_width, bias=bias)
        self.proj = Linear(heads * head_width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position attend to all."""
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out = self.proj(mixed.transpose(1, 2).flatten(2))
        return out.transpose(1, 2).unflatten(2, (height, width))


class Attention(TokenMixer):
    """Multi-head self-attention (arXiv:1706.03762, sec. 3.2; CAFormer, arXiv:2210.13452).

    There are width // head_width heads, at least one, whatever the width.
    """

    kind: Literal["attention"] = "attention"
    head_width: Annotated[int, Field(ge=1, le=1024)] = 32
    """Channels of a head."""
    bias: bool = False
    """Biases of the projections to queries, keys and values and back."""

    def heads(self, width: int) -> int:
        """Return the number of heads at `width`."""
        return max(1, width // self.head_width)

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return SelfAttention(width, self.heads(width), self.head_width, bias=self.bias)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`; attention is quadratic in its positions."""
        heads, positions = self.heads(width), size[0] * size[1]
        inner = heads * self.head_width
        projections = linear(width, 3 * inner, positions, bias=self.bias)
        projections += linear(inner, width, positions, bias=self.bias)
        scores = matrix_product(positions, self.head_width, positions, heads)
        return projections + scores + matrix_product(positions, positions, self.head_width, heads)
