"""Sparse training as part of a recipe: how many weights stay, which, and how they are exchanged."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from space.errors import NasError, explain
from space.spec import Spec

LAST_PRUNE_RATE = 0.005
"""Where the prune rate ends, as in SLaK (VITA-Group/SLaK@44b4aab, sparse_core.py)."""


class Sparsity(Spec):
    """Train with most of some weights at zero, and exchange which ones those are (SLaK, arXiv:2207.03620, sec. 3.3).

    Masked are the weights of convolutions and linear layers: every learnable tensor with at least two dimensions
    longer than 1. Norms, biases, scales and fixed matrices are not.
    """

    sparsity: Annotated[float, Field(gt=0.01, lt=1)]
    """Share of the masked tensors' weights that is zero; at 0.01 and below every layer would count as dense."""
    ratios: Literal["snip", "erk", "uniform"] = "snip"
    """How the layers share the density: by saliency (arXiv:1810.02340), by their shape (arXiv:1911.11134, sec. 3),
    or equally."""
    growth: Literal["random", "gradient"] = "random"
    """Which weights return for the pruned ones: any (SET, arXiv:1707.04780), or those of the largest gradient (RigL,
    arXiv:1911.11134)."""
    prune_rate: Annotated[float, Field(ge=LAST_PRUNE_RATE, lt=1)] = 0.3
    """Share of a layer's weights that is exchanged at first; falls to 0.005 by half a cosine over all steps."""
    update_every: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps between two exchanges."""
    only: Annotated[str, Field(min_length=1)] | None = None
    """Mask only parameters whose name contains this text; `sparsity` is then that of those parameters."""

    @classmethod
    def make(cls, **values: Any) -> Sparsity:
        """Return the value. Raises NasError naming the field, what stands there and what is allowed."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise NasError("; ".join(explain(error, values))) from None

    def __str__(self) -> str:
        """Return all of it in one line."""
        where = "" if self.only is None else f" of weights named {self.only!r}"
        return (
            f"sparsity {self.sparsity:g}{where} ({self.ratios} ratios, {self.growth} growth, prune rate "
            f"{self.prune_rate:g}, an exchange every {self.update_every} steps)"
        )

    def due(self, step: int, steps: int) -> bool:
        """Whether weights are exchanged in `step` (from 1) of `steps`; never in the last, from which nothing learns."""
        return step % self.update_every == 0 and step < steps

    def exchanges(self, steps: int) -> int:
        """Return how often weights are exchanged in `steps`."""
        return (steps - 1) // self.update_every

    def rate(self, step: int, steps: int) -> float:
        """Return the prune rate in `step` of `steps`."""
        fallen = 0.5 * (1 + math.cos(math.pi * step / steps))
        return LAST_PRUNE_RATE + (self.prune_rate - LAST_PRUNE_RATE) * fallen
