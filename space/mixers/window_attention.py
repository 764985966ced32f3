"""Self-attention within windows, shifted or not, with learnable biases by relative position (Swin)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from space.cost import Cost, Size, linear, matrix_product
from space.families import TokenMixer
from space.layers import INITIAL_DEVIATION, Linear

MASKED = -100.0
"""Added to the score of positions that may not meet (microsoft/Swin-Transformer@005e8ef models/swin_transformer.py)."""


class Axis(NamedTuple):
    """How one axis of a map is cut into windows."""

    window: int
    """Positions of a window."""
    windows: int
    """Number of windows; the last one may reach beyond the map."""
    shift: int
    """Positions that the map is rolled by before it is cut."""

    @property
    def length(self) -> int:
        """Positions of all windows together."""
        return self.window * self.windows


def cut(side: int, window: int, *, shifted: bool) -> Axis:
    """Return how `side` positions are cut into windows of `window`; a map that fits into one is not shifted."""
    if side <= window:
        return Axis(side, 1, 0)
    return Axis(window, -(-side // window), window // 2 if shifted else 0)


class WindowedAttention(nn.Module):
    """Attention between the positions of each window. [N, C, H, W] -> the same.

    `qkv` writes queries, keys and values in this order, each as [heads, head_width]. `bias` has a row for each relative
    position: rows of the map outer, from the lowest to the highest. Maps that windows do not fill are filled up below
    and right with positions that nothing attends to.
    """

    def __init__(self, spec: WindowAttention, width: int) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = spec.heads(width), spec.window, spec.shifted
        inner = self.heads * spec.head_width
        self.qkv = Linear(width, 3 * inner, bias=spec.bias)
        self.bias = nn.Parameter(torch.empty((2 * self.window - 1) ** 2, self.heads))
        nn.init.trunc_normal_(self.bias, std=INITIAL_DEVIATION)
        self.proj = Linear(inner, width, bias=spec.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position attend to its window."""
        height, width = x.shape[2:]
        rows, columns = (cut(side, self.window, shifted=self.shifted) for side in (height, width))
        x = x.permute(0, 2, 3, 1)
        if (rows.length, columns.length) != (height, width):  # PyTorch copies even where there is nothing to fill up
            x = F.pad(x, (0, 0, 0, columns.length - width, 0, rows.length - height))
        x = torch.roll(x, (-rows.shift, -columns.shift), (1, 2)) if rows.shift or columns.shift else x
        x = self.proj(self._attend(_windows(x, rows, columns), self._scores(rows, columns, (height, width))))
        x = _joined(x, rows, columns)
        x = torch.roll(x, (rows.shift, columns.shift), (1, 2)) if rows.shift or columns.shift else x
        return x[:, :height, :width].contiguous().permute(0, 3, 1, 2)

    def _attend(self, x: Tensor, scores: Tensor) -> Tensor:
        """Attend within windows [N, windows, L, C], `scores` [windows or 1, heads, L, L] added."""
        query, key, value = self.qkv(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)
        if scores.requires_grad and scores.device.type == "cpu":  # no fused way there has a gradient of what is added
            weights = (query * query.shape[-1] ** -0.5) @ key.mT + scores
            return (weights.softmax(-1) @ value).transpose(2, 3).flatten(3)
        # scores of each window go along as heads of their own, those of all windows along the batch
        first = 1 if scores.shape[0] > 1 else 0
        query, key, value = (each.flatten(first, first + 1) for each in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=scores.flatten(0, 1)[None])
        return mixed.reshape(*x.shape[:2], self.heads, *mixed.shape[2:]).transpose(2, 3).flatten(3)

    def _scores(self, rows: Axis, columns: Axis, size: Size) -> Tensor:
        """Return what is added to the scores of each window [windows, heads, L, L], one for all where they agree."""
        device, span = self.bias.device, 2 * self.window - 1
        row, column = (torch.arange(axis.window, device=device) for axis in (rows, columns))
        down = (row[:, None] - row + self.window - 1)[:, None, :, None]
        right = (column[:, None] - column + self.window - 1)[None, :, None, :]
        scores = self.bias[(down * span + right).flatten(0, 1).flatten(1)].permute(2, 0, 1)[None]
        if rows.shift or columns.shift or (rows.length, columns.length) != size:
            of_row, of_column = (_regions(axis, side, device) for axis, side in ((rows, size[0]), (columns, size[1])))
            region = _windows((of_row[:, None] * 3 + of_column)[None, :, :, None], rows, columns)[0, :, :, 0]
            scores = scores + MASKED * (region[:, None, :, None] != region[:, None, None, :]).to(scores.dtype)
        return scores


def _regions(axis: Axis, side: int, device: torch.device) -> Tensor:
    """Number the parts of a rolled axis whose positions are neighbours: the map, what was rolled round, filling."""
    position = (torch.arange(axis.length, device=device) + axis.shift) % axis.length
    start = torch.arange(axis.length, device=device)
    return torch.where(position >= side, 2, (start >= axis.length - axis.shift).long())


def _windows(x: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """[N, H, W, C] -> [N, windows, L, C]."""
    x = x.reshape(x.shape[0], rows.windows, rows.window, columns.windows, columns.window, x.shape[3])
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _joined(x: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """[N, windows, L, C] -> [N, H, W, C]."""
    x = x.reshape(x.shape[0], rows.windows, columns.windows, rows.window, columns.window, x.shape[3])
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class WindowAttention(TokenMixer):
    """Multi-head self-attention within windows, in every second block shifted by half of one (Swin, arXiv:2103.14030).

    There are width // head_width heads, at least one, whatever the width.
    """

    kind: Literal["window_attention"] = "window_attention"
    window: Annotated[int, Field(ge=1, le=64)] = 7
    """Side of a window in positions; a smaller map is one window."""
    shifted: bool = False
    """Cut the windows half a window further down and right, where the map is larger than one."""
    head_width: Annotated[int, Field(ge=1, le=1024)] = 32
    """Channels of a head."""
    bias: bool = True
    """Biases of the projections to queries, keys and values and back."""

    def heads(self, width: int) -> int:
        """Return the number of heads at `width`."""
        return max(1, width // self.head_width)

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return WindowedAttention(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`, filled up to whole windows."""
        heads, (rows, columns) = self.heads(width), (cut(side, self.window, shifted=False) for side in size)
        inner, positions, windows = (
            heads * self.head_width,
            rows.window * columns.window,
            rows.windows * columns.windows,
        )
        total = Cost((2 * self.window - 1) ** 2 * heads)
        total += linear(width, 3 * inner, positions * windows, bias=self.bias)
        total += linear(inner, width, positions * windows, bias=self.bias)
        total += matrix_product(positions, self.head_width, positions, heads * windows)
        return total + matrix_product(positions, positions, self.head_width, heads * windows)
