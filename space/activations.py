"""Activation functions by name. GELU is the exact one, with erf."""

from __future__ import annotations

from typing import Literal

from torch import nn

from space.layers import SquaredReLU, StarReLU

Activation = Literal["gelu", "relu", "silu", "squared_relu", "star_relu"]
"""What stands between two linear layers or convolutions."""

GateActivation = Literal["gelu", "identity", "relu", "sigmoid", "silu"]
"""What the gate of a gated linear unit passes through."""

_MODULES: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "squared_relu": SquaredReLU,
    "star_relu": StarReLU,
}


def activation(name: Activation | GateActivation) -> nn.Module:
    """Return a fresh module for the activation of that name, any shape -> the same."""
    return _MODULES[name]()


def activation_params(name: Activation | GateActivation) -> int:
    """Return the learnable scalars of the activation of that name."""
    return 2 if name == "star_relu" else 0
