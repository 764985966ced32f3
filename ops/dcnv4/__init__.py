"""DCNv4: DCNv3's sampling with unbounded weights, offsets and weights in one tensor."""

from __future__ import annotations

from torch import Tensor

from ops.deformable_sampling.shifted import shifted_sampling
from ops.deformable_sampling.window import Pair, Window
from ops.dispatch import Impl
from ops.shapes import expect

__all__ = ["dcnv4"]


def dcnv4(
    value: Tensor,
    offset_mask: Tensor,
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
    """Sum, for each group of channels, samples at a kernel's shifted taps times an unbounded weight of each tap.

    As `dcnv3` but for the layout: a group owns one run of 3 P channels, P pairs (x shift, y shift) in pixels and then P
    weights; the last channels fill up to a multiple of 8 and mean nothing. Each image is sampled by itself (the
    published kernel can read beyond the image before it where its thread blocks straddle two images). With `softmax`
    the weights of a group's taps are logits.

    Shapes:  value [N, H, W, C], offset_mask [N, Ho, Wo, 8 * ceil(3 G P / 8)], P = taps of the kernel, one fewer without
             its centre -> [N, Ho, Wo, C]; any strides. Pairs are rows, columns.
    Dtypes:  output as value; computed in the widest of all dtypes, at least fp32.
    Impl:    see `ops.dispatch`.
    Cost:    as `deformable_sampling`.
    Raises:  ValueError if a shape differs or `impl` cannot be had.
    Source:  DCNv4, arXiv:2401.06197, sec. 3.1; conventions of OpenGVLab/DCNv4@4b848f7;
             implementation our own.
    """
    window = Window.of(kernel, stride, padding, dilation, remove_center)
    expect("dcnv4", "value", value, ("N", "H", "W", "C"))
    if value.shape[-1] % groups:
        raise ValueError(f"dcnv4: {value.shape[-1]} channels in {groups} groups, allowed: a multiple of the groups")
    size, taps = window.out_size("dcnv4", (value.shape[1], value.shape[2])), len(window.taps)
    expect("dcnv4", "offset_mask", offset_mask, (value.shape[0], *size, -(-3 * groups * taps // 8) * 8))
    return shifted_sampling(
        "dcnv4", value, offset_mask, None, window, groups=groups, scale=offset_scale, softmax=softmax, impl=impl
    )
