"""Deformable convolution, versions 1 and 2: a convolution whose taps are shifted, and in version 2 weighted."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ops.deform_conv2d.columns import columns
from ops.deformable_sampling.window import Pair, Window
from ops.shapes import expect

__all__ = ["deform_conv2d"]


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> Tensor:
    """Convolve with each tap shifted by an offset of its own at each position; zeros lie beyond the border.

    Without `mask` this is version 1; `mask` (version 2) multiplies each sample as it is given. Taps go row by row; an
    offset is a pair (y shift, x shift) in pixels. Groups follow from the shapes: those of the convolution from C over
    the second size of `weight`, those that share offsets from the channels of `offset`; each owns one run of channels.

    Shapes:  x [N, C, H, W], offset [N, O * K * L * 2, Ho, Wo], weight [D, C / groups, K, L], bias [D],
             mask [N, O * K * L, Ho, Wo] -> [N, D, Ho, Wo]; any strides. Pairs are rows, columns.
    Dtypes:  output as x; computed in the widest of all dtypes, at least fp32 (products under autocast as it says).
    Raises:  ValueError if a shape differs.
    Source:  Dai et al., arXiv:1703.06211, and Zhu et al., arXiv:1811.11168; conventions of torchvision's operator of
             this name, whose kernel a GPU takes; implementation for a CPU our own.
    """
    expect("deform_conv2d", "x", x, ("N", "C", "H", "W"))
    expect("deform_conv2d", "weight", weight, ("D", "C / groups", "K", "L"))
    window = Window.of((weight.shape[2], weight.shape[3]), stride, padding, dilation, without_center=False)
    _expect(x, offset, weight, bias, mask, window)
    given = (x, offset, weight, bias, mask)
    dtype = reduce(torch.promote_types, (t.dtype for t in given if t is not None), torch.float32)
    x, offset, weight = x.to(dtype), offset.to(dtype), weight.to(dtype)
    bias, mask = (None if t is None else t.to(dtype) for t in (bias, mask))
    options = {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
    if x.is_cuda and not torch.compiler.is_compiling():
        from torchvision.ops import deform_conv2d as kernel  # late: it takes long to import

        return kernel(x, offset, weight, bias, mask=mask, **options).to(given[0].dtype)
    return columns(x, offset, weight, bias, mask, **options).to(given[0].dtype)


def _expect(
    x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, window: Window
) -> None:
    (batch, width), out_width, taps = x.shape[:2], weight.shape[0], weight.shape[2] * weight.shape[3]
    if width % weight.shape[1] or out_width % (width // weight.shape[1]):
        found = f"{tuple(weight.shape[:2])} for {width} channels"
        raise ValueError(f"deform_conv2d: weight {found}, allowed: (D, {width} / groups), groups a divisor of both")
    size = window.out_size("deform_conv2d", (x.shape[2], x.shape[3]))
    expect("deform_conv2d", "offset", offset, (batch, f"O * {2 * taps}", *size))
    sharing, rest = divmod(offset.shape[1], 2 * taps)
    if rest or width % sharing:
        raise ValueError(
            f"deform_conv2d: offset has {offset.shape[1]} channels, allowed: {2 * taps} times a divisor of {width}"
        )
    if bias is not None:
        expect("deform_conv2d", "bias", bias, (out_width,))
    if mask is not None:
        expect("deform_conv2d", "mask", mask, (batch, sharing * taps, *size))
