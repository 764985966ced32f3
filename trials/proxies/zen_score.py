"""Zen-score: how expressive a network of Gaussian weights is, seen by its answer to small changes of noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.build import MetaFormerBlock, MetaNeXtBlock, Network
from trials.watching import Watch
from trials.zero_cost import TINY, Probe, ZeroCost

STEP = 0.01
"""Deviation of the change (arXiv:2102.01063, algorithm 1)."""
EPS = 1e-6
"""Added to variances, as norms do: without residual links a signal may end, as where a map of one pixel is pooled."""


class ZenScore(ZeroCost):
    """log of the mean norm of f(x) - f(x + 0.01 e), plus the log of what each normalisation divided by.

    arXiv:2102.01063, algorithm 1: x and e standard normal, f the last feature map, all convolutions and linear layers
    standard normal without biases; residual links, squeeze-and-excitation and layer scales are left out, as there.
    A batch norm contributes the log of the root of its mean batch variance over channels, in train mode. So do other
    norms: layer norms with the variance over the channels of a position, norms of a whole map with that of an image,
    RMS norms with their mean square. In double precision, since unnormalised gates make large numbers. Larger is
    better.
    """

    kind: Literal["zen_score"] = "zen_score"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("zen_score",)
    paper: ClassVar[str] = (
        "Lin et al., Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition, arXiv:2102.01063"
    )

    def score(self, probe: Probe) -> tuple[float]:
        """Return the score of one batch of noise."""
        network = bare(cast("Network", probe.network())).double()
        gaussian(network)
        noise = probe.noise(2 * self.batch_size).double()
        x, e = noise[: self.batch_size], noise[self.batch_size :]
        divided: list[float] = []
        with torch.no_grad():
            with Watch(on_norm=lambda function, given: divided.append(log_deviation(function, given))):
                features = network.forward_features(x)
            moved = network.forward_features(x + STEP * e)
        change = float((features - moved).double().flatten(1).norm(dim=1).mean())
        return (math.log(change + TINY) + math.fsum(divided),)


class Nothing(nn.Module):
    """In the place of a residual link: zeros of the shape of x."""

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(x)


def bare(network: Network) -> Network:
    """Take residual links, squeeze-and-excitation and layer scales out of the blocks, in place; return the network."""
    for block in network.modules():
        if isinstance(block, MetaFormerBlock):
            block.res_scale1, block.res_scale2 = Nothing(), Nothing()
            block.layer_scale1, block.layer_scale2 = nn.Identity(), nn.Identity()
        elif isinstance(block, MetaNeXtBlock):
            block.res_scale, block.layer_scale = Nothing(), nn.Identity()
        else:
            continue
        block.squeeze_excite = nn.Identity()
    return network


@torch.no_grad()
def gaussian(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers standard normal, and set their biases to 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            module.weight.normal_()
            if module.bias is not None:
                module.bias.zero_()


def log_deviation(function: Callable[..., Any], x: Tensor) -> float:
    """Return the log of the root of the mean variance that a normalisation of x divides by."""
    x = x.double()
    if function is F.batch_norm:
        variance = x.transpose(0, 1).flatten(1).var(1, correction=0)
    elif function is F.group_norm:
        variance = x.flatten(1).var(1, correction=0)
    elif function is F.layer_norm:
        variance = x.var(-1, correction=0)
    else:
        variance = x.square().mean(-1)
    return math.log(float(variance.mean()) + EPS) / 2
