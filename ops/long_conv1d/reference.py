"""The law: a causal convolution by PyTorch's own operator."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def reference(u: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel with its own causal kernel. See the public function."""
    taps = kernel.shape[1]
    return F.conv1d(F.pad(u, (taps - 1, 0)), kernel.flip(1)[:, None], groups=u.shape[1])
