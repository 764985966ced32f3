"""SynFlow: how much signal flows through all weights together, without data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from space.build import Network, NetworkStage
from space.layers import SquaredReLU, StarReLU
from trials.training.densities import maskable
from trials.watching import Linearised
from trials.zero_cost import TINY, Probe, ProxyError, ZeroCost, log_sum


class Synflow(ZeroCost):
    """log of the sum over weights of |w dR/dw|, R the summed outputs of the network of all |w| on an image of ones.

    arXiv:2006.05467, summed over a network as in arXiv:2101.08134. R is the flow through the product of the weights'
    magnitudes, so normalisations are left out and activations, which let positive signals of ReLU networks pass, are
    the identity whatever their kind (squared ones too). In double precision; what stem and blocks
    write is brought to a mean of 1, and the logarithm of what it was divided by is added to the score. This changes
    nothing in a network of linear maps, and keeps the flow finite where blocks multiply signals, as gates do. Weights
    are those of convolutions and linear layers. Larger is better.
    """

    kind: Literal["synflow"] = "synflow"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("synflow",)
    paper: ClassVar[str] = (
        "Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, "
        "arXiv:2006.05467"
    )

    def score(self, probe: Probe) -> tuple[float]:
        """Return the logarithm of the summed flow."""
        network = without_squares(probe.network()).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        side = probe.data.resolution
        ones = torch.ones(1, probe.arch.in_channels, side, side, dtype=torch.float64, device=probe.device)
        return (log_flow(network, ones, parts(cast("Network", network))),)


def log_flow(network: nn.Module, ones: Tensor, parts: Sequence[nn.Module]) -> float:
    """Return log of the sum of |w dR/dw|, with what these parts of the network write brought to a mean of 1."""
    logs: list[float] = []

    def levelled(_: nn.Module, given: object, output: Tensor) -> Tensor:
        mean = output.detach().abs().mean().clamp_min(TINY)
        logs.append(math.log(mean.item()))
        return output / mean

    handles = [part.register_forward_hook(levelled) for part in parts]
    weights = list(maskable(network).values())
    with Linearised():
        flow = network(ones).sum()
    for handle in handles:
        handle.remove()
    if not math.isfinite(flow.item()):
        raise ProxyError("synflow: the flow is too large for double precision")
    gradients = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
    return log_sum([(w.detach() * g).abs() for w, g in zip(weights, gradients, strict=True)]) + math.fsum(logs)


def parts(network: Network) -> list[nn.Module]:
    """Return the stem and the blocks of a network."""
    return [network.stem, *(block for stage in network.stages for block in cast("NetworkStage", stage).blocks)]


def without_squares(network: nn.Module) -> nn.Module:
    """Take activations that square their input out of a network, in place, and return it."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, (SquaredReLU, StarReLU)):
                setattr(module, name, nn.Identity())
    return network
