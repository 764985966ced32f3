"""GradNorm: how steep the loss is."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from trials.training.densities import maskable
from trials.zero_cost import Probe, ZeroCost, cross_entropy, log_sum


class GradNorm(ZeroCost):
    """log of the sum over layers of the Euclidean norm of the gradient of their weights (arXiv:2101.08134).

    Of the loss on one batch; layers are convolutions and linear layers. Batch norms see the batch. Larger is better.
    """

    kind: Literal["grad_norm"] = "grad_norm"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("grad_norm",)
    paper: ClassVar[str] = "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134"

    def score(self, probe: Probe) -> tuple[float]:
        """Return the logarithm of the summed norms."""
        ((images, labels),) = probe.batches(1)
        network = probe.network()
        weights = list(maskable(network).values())
        loss = cross_entropy(network, images, labels)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        return (log_sum([gradient.double().norm() for gradient in gradients]),)
