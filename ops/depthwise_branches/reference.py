"""The law: what several depthwise convolutions of one map are, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ops.depthwise_conv2d.reference import reference as convolved


def reference(x: Tensor, weights: Sequence[Tensor], dilations: Sequence[int]) -> list[Tensor]:
    """Convolve x by each kernel. See the public function."""
    return [convolved(x, weight, None, dilation) for weight, dilation in zip(weights, dilations, strict=True)]
