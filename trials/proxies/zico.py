"""ZiCo: gradients that are large and alike from batch to batch let a network learn fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from trials.training.densities import maskable
from trials.zero_cost import Probe, ProxyError, ZeroCost, cross_entropy


class Zico(ZeroCost):
    """Sum over layers of log of the sum over weights of mean / deviation of |gradient| over batches.

    arXiv:2301.11300, sec. 3. Layers are convolutions and linear layers; weights whose gradient is the same on every
    batch, and layers of such weights alone, do not count. Batch norms see the batch. Larger is better.
    """

    kind: Literal["zico"] = "zico"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("zico",)
    paper: ClassVar[str] = (
        "Li et al., ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients, arXiv:2301.11300"
    )
    batches: Annotated[int, Field(ge=2, le=64)] = 2
    """Batches between which gradients are compared; the paper takes two."""

    def score(self, probe: Probe) -> tuple[float]:
        """Return the sum over layers."""
        network = probe.network()
        weights = list(maskable(network).values())
        found: list[Sequence[Tensor]] = []
        for images, labels in probe.batches(self.batches):
            loss = cross_entropy(network, images, labels)
            found.append(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))
        layers = [torch.stack(each).double() for each in zip(*found, strict=True)]
        if not all(bool(each.isfinite().all()) for each in layers):
            raise ProxyError("zico: the gradients are not finite")
        return (math.fsum(layer_score(each) for each in layers),)


def layer_score(gradients: Tensor) -> float:
    """Return log of the sum over weights of mean / deviation of |gradient| [batches, ...]; 0 where none deviates."""
    sizes = gradients.abs()
    deviation, mean = sizes.std(0, correction=0), sizes.mean(0)
    total = float((mean / deviation)[deviation > 0].sum())
    return math.log(total) if total > 0 else 0.0
