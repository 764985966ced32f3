"""The law: what global response normalisation is, in plain PyTorch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Compare each channel's norm over the map with the others'. See the public function."""
    norm = cast("Any", torch.linalg.vector_norm)  # has no stub
    norms: Tensor = norm(x, dim=(2, 3), keepdim=True)
    response = norms / (norms.mean(dim=1, keepdim=True) + eps)
    factor = 1 + weight[:, None, None] * response  # one pass over the map instead of three
    return x * factor if bias is None else torch.addcmul(bias[:, None, None], x, factor)
