"""DCNv3: deformable convolution with modulated, grouped taps and no mixing of channels."""

from __future__ import annotations

from torch import Tensor

from ops.deformable_sampling.shifted import shifted_sampling
from ops.deformable_sampling.window import Pair, Window
from ops.dispatch import Impl
from ops.shapes import expect

__all__ = ["dcnv3"]


def dcnv3(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    *,
    kernel: int | Pair = 3,
    stride: int | Pair = 1,
    padding: int | Pair = 1,
    dilation: int | Pair = 1,
    groups: int = 1,
    offset_scale: float = 1.0,
    remove_center: bool = False,
    softmax: bool = False,
    impl: Impl | None = None,
) -> Tensor:
    """Sum, for each group of channels, samples at a kernel's shifted taps times a weight of each tap.

    The taps go column by column. A group owns one run of channels in each input: P pairs (x shift, y shift) in pixels,
    and P weights, which are taken as they are or, as in the published module, through a `softmax` over a group's taps.
    `offset_scale` scales the kernel's grid as well as the shifts. Zeros lie beyond the border.

    Shapes:  x [N, H, W, C], offset [N, Ho, Wo, G * P * 2], mask [N, Ho, Wo, G * P], P = taps of the kernel, one fewer
             without its centre -> [N, Ho, Wo, C]; any strides. Pairs are rows, columns.
    Dtypes:  output as x; computed in the widest of all dtypes, at least fp32.
    Impl:    see `ops.dispatch`.
    Cost:    as `deformable_sampling`.
    Raises:  ValueError if a shape differs or `impl` cannot be had.
    Source:  InternImage, arXiv:2211.05778, sec. 3.1; conventions of OpenGVLab/InternImage@31c962d;
             implementation our own.
    """
    window = Window.of(kernel, stride, padding, dilation, remove_center)
    expect("dcnv3", "x", x, ("N", "H", "W", "C"))
    if x.shape[-1] % groups:
        raise ValueError(f"dcnv3: {x.shape[-1]} channels in {groups} groups, allowed: a multiple of the groups")
    size, taps = window.out_size("dcnv3", (x.shape[1], x.shape[2])), len(window.taps)
    expect("dcnv3", "offset", offset, (x.shape[0], *size, groups * taps * 2))
    expect("dcnv3", "mask", mask, (x.shape[0], *size, groups * taps))
    return shifted_sampling(
        "dcnv3", x, offset, mask, window, groups=groups, scale=offset_scale, softmax=softmax, impl=impl
    )
