"""Layer normalisation over the channels of each position of a map."""

from __future__ import annotations

from torch import Tensor

from ops.dispatch import Impl, implementation
from ops.layer_norm2d.reference import reference
from ops.layer_norm2d.registered import kernel_layer_norm2d, takes
from ops.shapes import expect

__all__ = ["layer_norm2d"]


def layer_norm2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, eps: float, impl: Impl | None = None
) -> Tensor:
    """Normalise the channels of each position to mean 0 and variance 1, then scale and shift them.

    Shapes:  x [N, C, H, W], weight and bias [C] -> [N, C, H, W]; any strides.
    Dtypes:  those of PyTorch's layer_norm. The kernel computes in float32 and returns the dtype of x, under autocast
             too; its weight and bias may be float32 beside x in bfloat16 or float16.
    Impl:    see `ops.dispatch`.
    Raises:  ValueError if C differs or `impl` cannot be had.
    Source:  arXiv:1607.06450; over channels as in ConvNeXt, arXiv:2201.03545; implementation our own.
    """
    if x.ndim != 4 or x.shape[1] != len(weight):
        expect("layer_norm2d", "x", x, ("N", len(weight), "H", "W"))
    chosen = implementation("layer_norm2d", impl, x, weight, bias, kernel=lambda: takes(x))
    if chosen == "triton":
        return kernel_layer_norm2d(x, weight, bias, eps)
    return reference(x, weight, bias, eps)
