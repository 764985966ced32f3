"""Gates within gates over contexts of growing width (HorNet's recursive gated convolution)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ops import gated_product
from space.cost import Cost, Size, linear
from space.families import Gate
from space.layers import Pointwise


class RecursiveProduct(nn.Module):
    """Multiply by the first part of the context, widen, multiply by the next part, and so on."""

    def __init__(self, widths: list[int], scale: float) -> None:
        super().__init__()
        self.widths = widths
        self.scale = scale
        self.widen = nn.ModuleList(Pointwise(a, b, convolution=True) for a, b in pairwise(widths))

    def forward(self, gate: Tensor, source: Tensor, context: Tensor) -> Tensor:
        """Join gate [N, widths[0], H, W] and context [N, sum(widths), H, W] to [N, widths[-1], H, W]."""
        first, *others = torch.split(context, self.widths, dim=1)
        out = gated_product(gate, first, scale=self.scale)
        for widen, other in zip(self.widen, others, strict=True):
            out = gated_product(widen(out), other, scale=self.scale)
        return out


class RecursiveGate(Gate):
    """Recursive gated convolution, gnConv: `order` products at widths that double (arXiv:2207.14284, eq. 3-5)."""

    kind: Literal["recursive"] = "recursive"
    order: Annotated[int, Field(ge=1, le=6)] = 3
    """Number of products; the widths are width / 2^(order - 1), ..., width / 2, width, rounded down, at least 1."""
    scale: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """Factor on the context, which keeps products of many factors in range (raoyongming/HorNet@ac9e210)."""

    def _widths(self, width: int) -> list[int]:
        return [max(1, width >> (self.order - 1 - k)) for k in range(self.order)]

    def widths(self, width: int) -> tuple[int, int]:
        """Return the first of the growing widths for the gate and their sum for the context."""
        widths = self._widths(width)
        return widths[0], sum(widths)

    def build(self, width: int) -> nn.Module:
        """Return a module (gate, source, context) -> [N, width, H, W]."""
        return RecursiveProduct(self._widths(width), self.scale)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost of the widening layers on a map of `size`."""
        total = Cost()
        for narrow, wide in pairwise(self._widths(width)):
            total += linear(narrow, wide, size[0] * size[1])
        return total
