"""Focal context: a chain of depthwise convolutions and the mean of the map, summed by gates of each position."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ops.dispatch import Impl, implementation
from ops.focal_context.composed import composed, gated_levels
from ops.focal_context.reference import reference
from ops.focal_context.registered import kernel_focal_context, takes
from ops.shapes import expect

__all__ = ["focal_context", "gated_levels"]


def focal_context(
    x: Tensor, weights: Sequence[Tensor], gates: Tensor, *, scale: float = 1.0, impl: Impl | None = None
) -> Tensor:
    """Sum up contexts of growing reach, each weighed by a gate of its own at each position.

    The first level is GELU of the map convolved depthwise, each further one that of the level before; the last one is
    GELU of the mean of the map before it, the same at all positions. Zeros lie beyond the border.

    Shapes:  x [N, C, H, W], one or more weights [C, 1, K, L] with K and L odd, gates [N, len(weights) + 1, H, W] in the
             order of the levels, the mean last -> [N, C, H, W]; any strides.
    Units:   `scale` multiplies the sum.
    Dtypes:  those of PyTorch. The kernels compute in float32, hold levels in the dtype of x and return it, under
             autocast too; weights and gates may be of another dtype beside it.
    Impl:    see `ops.dispatch`. The Triton kernels take 1 to 4 levels of square kernels of 3 to 11 taps a side, and
             widths that are multiples of 8; contiguous maps are laid out in channels_last on the way.
    Raises:  ValueError if sizes do not fit, a kernel is even, or `impl` cannot be had.
    Source:  focal modulation, arXiv:2203.11926, sec. 3.2, eq. 5-7, without the projections; implementation our own.
    """
    if x.ndim != 4:
        expect("focal_context", "x", x, ("N", "C", "H", "W"))
    width = x.shape[1]
    if not weights:
        raise ValueError("focal_context: no weights, allowed: 1 or more")
    for weight in weights:
        if weight.ndim != 4 or weight.shape[:2] != (width, 1) or not weight.shape[2] % 2 or not weight.shape[3] % 2:
            raise ValueError(f"focal_context: weight {tuple(weight.shape)}, allowed: ({width}, 1, odd, odd)")
    allowed = (x.shape[0], len(weights) + 1, *x.shape[2:])
    if gates.shape != allowed:
        expect("focal_context", "gates", gates, allowed)
    chosen = implementation("focal_context", impl, x, gates, *weights, kernel=lambda: takes(x, weights, gates))
    if chosen == "triton":
        return kernel_focal_context(x, weights, gates, scale)
    if chosen == "reference":
        return reference(x, weights, gates, scale)
    return composed(x, weights, gates, scale, impl)
