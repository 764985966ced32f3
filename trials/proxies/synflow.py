"""SynFlow: how much signal flows through all weights together, without data."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import nn

from space.layers import SquaredReLU, StarReLU
from trials.training.densities import maskable
from trials.watching import Linearised
from trials.zero_cost import Probe, ProxyError, ZeroCost, log_sum


class Synflow(ZeroCost):
    """log of the sum over weights of |w dR/dw|, R the summed outputs of the network of all |w| on an image of ones.

    arXiv:2006.05467, eq. 4, summed over a network as in arXiv:2101.08134, sec. 3.2. R is the flow through the product
    of the weights' magnitudes, so normalisations are left out and activations, which let positive signals of ReLU
    networks pass, are the identity whatever their kind (squared ones too). Products of two signals, as in gates, stay:
    with many of them the flow can leave double precision, and there is no score. Weights are those of convolutions
    and linear layers. Larger is better.
    """

    kind: Literal["synflow"] = "synflow"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("synflow",)
    paper: ClassVar[str] = "Tanaka et al., Pruning neural networks without any data (SynFlow), arXiv:2006.05467"

    def score(self, probe: Probe) -> tuple[float]:
        """Return the logarithm of the summed flow."""
        network = without_squares(probe.network()).double()
        weights = list(maskable(network).values())
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        side = probe.data.resolution
        ones = torch.ones(1, probe.arch.in_channels, side, side, dtype=torch.float64, device=probe.device)
        with Linearised():
            flow = network(ones).sum()
        if not math.isfinite(flow.item()):
            raise ProxyError("synflow: the flow is too large for double precision")
        gradients = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
        return (log_sum([(w.detach() * g).abs() for w, g in zip(weights, gradients, strict=True)]),)


def without_squares(network: nn.Module) -> nn.Module:
    """Take activations that square their input out of a network, in place, and return it."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, (SquaredReLU, StarReLU)):
                setattr(module, name, nn.Identity())
    return network
