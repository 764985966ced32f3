"""The law: what a gated product is, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["identity", "silu", "gelu", "relu", "sigmoid"]
"""What a factor passes through; GELU is the exact one."""
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
"""In the order of the numbers by which a kernel knows them."""
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "silu": F.silu,
    "gelu": F.gelu,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
}


def reference(gate: Tensor, value: Tensor, act: Activation, value_act: Activation, scale: float) -> Tensor:
    """Multiply two maps, each activated. See the public function."""
    value = FUNCTIONS[value_act](value)
    return FUNCTIONS[act](gate) * (value if scale == 1 else value * scale)
