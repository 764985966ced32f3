"""SNIP: how much the loss would feel the loss of each weight."""

from __future__ import annotations

from typing import ClassVar, Literal

from trials.training.densities import maskable, saliencies
from trials.zero_cost import Probe, ZeroCost, cross_entropy, log_sum


class Snip(ZeroCost):
    """log of the sum of |weight * gradient| over all weights, of the loss on one batch (arXiv:1810.02340, sec. 4.1).

    Summed over a network as in arXiv:2101.08134. Weights are those of convolutions and linear layers; batch
    norms see the batch, other norms are as ever. Larger is better.
    """

    kind: Literal["snip"] = "snip"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("snip",)
    paper: ClassVar[str] = (
        "Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity, arXiv:1810.02340"
    )

    def score(self, probe: Probe) -> tuple[float]:
        """Return the logarithm of the summed saliency."""
        ((images, labels),) = probe.batches(1)
        network = probe.network()
        found = saliencies(network, list(maskable(network)), lambda probed: cross_entropy(probed, images, labels))
        return (log_sum(found),)
