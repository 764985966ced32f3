"""Watch a network's activations and normalisations as it runs, whether they are modules or plain function calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

ACTIVATIONS: frozenset[Callable[..., Any]] = frozenset({F.relu, torch.relu, F.gelu, F.silu})
"""Functions that are about 0 to the left of 0 and about linear to its right; squares of ReLU contain one."""
NORMS: frozenset[Callable[..., Any]] = frozenset({F.layer_norm, F.rms_norm, F.group_norm, F.batch_norm})


class Watch(TorchFunctionMode):
    """Call `on_activation(x)` and `on_norm(function, x)` with the input of each; what is computed stays the same.

    What a fused kernel computes inside is not seen.
    """

    def __init__(
        self,
        on_activation: Callable[[Tensor], None] | None = None,
        on_norm: Callable[[Callable[..., Any], Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self._on_activation, self._on_norm = on_activation, on_norm

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Tell of the call, then make it."""
        if self._on_activation is not None and func in ACTIVATIONS:
            self._on_activation(args[0])
        elif self._on_norm is not None and func in NORMS:
            self._on_norm(func, args[0])
        return func(*args, **(kwargs or {}))


class Linearised(TorchFunctionMode):
    """Pass the input of every activation and normalisation on as it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make the call, unless it is one of those."""
        if func in ACTIVATIONS or func in NORMS:
            return args[0]
        return func(*args, **(kwargs or {}))
