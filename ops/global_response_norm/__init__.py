"""Global response normalisation: channels compete by their L2 norms over the map."""

from __future__ import annotations

from torch import Tensor

from ops.dispatch import Impl, implementation
from ops.global_response_norm.reference import reference
from ops.global_response_norm.registered import kernel_global_response_norm, takes
from ops.shapes import expect

__all__ = ["global_response_norm"]


def global_response_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, eps: float, impl: Impl | None = None
) -> Tensor:
    """Return x + weight * x * norm / (mean of the channels' norms + eps) + bias, a norm being that over a whole map.

    Shapes:  x [N, C, H, W], weight and bias [C] -> [N, C, H, W]; any strides.
    Dtypes:  those of PyTorch. The kernel computes in float32 and returns the dtype of x, under autocast too; its
             weight and bias may be float32 beside x in bfloat16 or float16.
    Impl:    see `ops.dispatch`.
    Raises:  ValueError if C differs or `impl` cannot be had.
    Source:  ConvNeXt V2, arXiv:2301.00808, sec. 3.2; implementation our own.
    """
    if x.ndim != 4 or x.shape[1] != len(weight):
        expect("global_response_norm", "x", x, ("N", len(weight), "H", "W"))
    if implementation("global_response_norm", impl, x, weight, bias, kernel=lambda: takes(x)) == "triton":
        return kernel_global_response_norm(x, weight, bias, eps)
    return reference(x, weight, bias, eps)
