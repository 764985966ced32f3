"""How a whole network's weights start, beyond the default that the layers draw themselves."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from space.layers import Linear, OwnStart, Pointwise

Init = Literal["normal", "fan_in", "fan_in_convs", "fan_out"]
"""normal: convolutions and linear layers normal with deviation 0.02, biases 0 (ConvNeXt, MetaFormers, HorNet, SLaK).
fan_in: all as PyTorch's own layers start, uniform within the square root of 1 / fan-in, biases too (RepLKNet).
fan_in_convs: convolutions as in fan_in, linear layers as in normal (FocalNet).
fan_out: convolutions, pointwise ones too, normal with variance 2 / fan-out, other linear layers as in normal (VAN,
MogaNet)."""


def initialise(network: nn.Module, init: Init) -> None:
    """Draw the weights of all convolutions and linear layers anew, unless they start so anyway ("normal").

    Layers marked `OwnStart` keep what they drew themselves.
    """
    if init == "normal":
        return
    for module in network.modules():
        if isinstance(module, OwnStart):
            continue
        if isinstance(module, nn.Conv2d) or (isinstance(module, Linear) and init == "fan_in"):
            (_fan_out if init == "fan_out" else _fan_in)(module)
        elif isinstance(module, Pointwise):
            if init == "fan_out":
                _fan_out(module)
            elif module.convolution:
                _fan_in(module)


def _fan_in(layer: nn.Conv2d | nn.Linear) -> None:
    bound = layer.weight[0].numel() ** -0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound)


def _fan_out(layer: nn.Conv2d | nn.Linear) -> None:
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    fan_out = layer.weight[:, 0].numel() / groups
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_out))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
