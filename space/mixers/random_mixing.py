"""A fixed random matrix as token mixer (RandFormer)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from space.cost import Cost, Size, matrix_product
from space.errors import SpaceError
from space.families import TokenMixer

MOST_TOKENS = 16384


class RandomMatrix(nn.Module):
    """Mix positions by one fixed matrix whose rows sum to 1. [N, C, H, W] -> the same, H * W = tokens."""

    random_matrix: Tensor

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.register_buffer("random_matrix", torch.rand(tokens, tokens).softmax(dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        """Replace each position by its weighted mean of all positions. Raises SpaceError on a map of another size."""
        _need(self.tokens, (x.shape[2], x.shape[3]))
        mixed: Tensor = torch.matmul(self.random_matrix, x.flatten(2).transpose(1, 2))
        return mixed.transpose(1, 2).view(*x.shape)


def _need(tokens: int, size: Size) -> None:
    if size[0] * size[1] != tokens:
        here = f"{size[0]} x {size[1]} = {size[0] * size[1]}"
        raise SpaceError(f"token_mixer.tokens: {tokens}, the map has {here} positions and only equal numbers run")


class RandomMixing(TokenMixer):
    """A fixed matrix drawn at random, row-wise softmax of uniform numbers (RandFormer, arXiv:2210.13452, eq. 4).

    The matrix is kept with the weights but never learned, and fits maps of exactly `tokens` positions.
    """

    kind: Literal["random_mixing"] = "random_mixing"
    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 196
    """Positions of the map (height times width)."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W] for H * W = tokens."""
        return RandomMatrix(self.tokens)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`. Raises SpaceError where it has not `tokens` positions."""
        _need(self.tokens, size)
        return matrix_product(self.tokens, self.tokens, width)

    def at_size(self, size: Size) -> RandomMixing:
        """Return the same mixer for maps of `size`. Raises SpaceError above 16384 positions."""
        tokens = size[0] * size[1]
        if tokens > MOST_TOKENS:
            raise SpaceError(
                f"token_mixer.tokens: {tokens} for a map of {size[0]} x {size[1]}, at most {MOST_TOKENS} are allowed"
            )
        return RandomMixing(tokens=tokens)
