"""Which way a depthwise convolution takes: rules of thumb, set by `nas bench ops` on shapes of all sizes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ops.depthwise_conv2d.registered import takes
from ops.depthwise_conv2d.small_maps import reachable
from ops.dispatch import Impl, implementation

Way = Literal["reference", "channels_last", "native", "triton", "small_maps", "spectral", "spectral_gradient"]

SMALL_MAP = 64
"""Positions up to which a matrix of all pairs of positions is the best that PyTorch's own functions can do."""
LARGEST_DIRECT = 13
"""Side of a kernel beyond which PyTorch convolves contiguous maps by a slow plain loop."""
MANY_TAPS = {False: 25, True: 64}
"""Taps from which PyTorch's weight gradient is slower than transforms, of contiguous and of channels_last maps."""
FEW_TAPS = 49
"""Taps up to which PyTorch's forward pass alone is as fast as the native one; its gradients are not."""
FEWEST_TAPS = 9
"""Taps up to which PyTorch's gradients are good too."""
LARGE = 1 << 20
"""Numbers in all maps from which PyTorch's contiguous gradients are slow and its forward passes no longer faster."""
MEDIUM_MAP, NARROW, SOME_TAPS = 196, 5, 255
"""Positions up to which PyTorch's forward pass alone is the fastest for strips that narrow, and on a small map for
that many taps."""
HUGE = 27 * 27 * 24 * 24
"""Taps times positions from which transforms are faster in all passes, also for maps in channels_last."""


def way(x: Tensor, weight: Tensor, bias: Tensor | None, *, dilation: int, stride: int, asked: Impl | None) -> Way:
    """Return how to convolve these. Raises ValueError if what is asked for cannot be had."""
    if torch.compiler.is_exporting():
        return "reference"  # asking for sizes would fix them in the exported program
    if asked is None and x.device.type == "cpu" and not _native_pays(x, weight, dilation) and not _trains(x, weight):
        return "reference"  # by every rule below, which take longer to ask than a small map to convolve
    chosen = implementation(
        "depthwise_conv2d", asked, x, weight, bias, kernel=lambda: takes(x, weight, bias, dilation, stride)
    )
    if chosen == "triton":
        return "triton"
    plain = x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if chosen == "reference" or (plain and not asked):
        return "reference"
    if chosen == "native" and (stride == 1 or dilation == 1):
        if asked or _native_pays(x, weight, dilation):
            return "native"
        return _plain(x, weight)
    if plain or stride > 1 or torch.compiler.is_compiling() or x.dtype != weight.dtype or not x.is_floating_point():
        return "reference"
    return _by_pytorch(x, weight, dilation)


def _native_pays(x: Tensor, weight: Tensor, dilation: int) -> bool:
    """Whether the native way is the fastest, in channels_last above all.

    It nearly always is where something is trained, and always of a part of a map's channels, which PyTorch copies.
    """
    taps, last = weight.shape[2] * weight.shape[3], x.is_contiguous(memory_format=torch.channels_last)
    if not (last or x.is_contiguous()):
        return True
    large = x.numel() > LARGE
    if _trains(x, weight):
        return taps > FEWEST_TAPS or dilation > 1 or (large and not last)
    if dilation > 1 or not last:
        return large or taps > (FEWEST_TAPS if dilation > 1 else FEW_TAPS)
    positions, narrow = x.shape[2] * x.shape[3], min(weight.shape[2:]) <= NARROW
    few = SOME_TAPS if positions <= SMALL_MAP or (narrow and positions <= MEDIUM_MAP) else FEW_TAPS
    return taps > few


def _plain(x: Tensor, weight: Tensor) -> Way:
    """Return PyTorch's own convolution: its gradients for channels_last make up for turning a contiguous map."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return "reference" if last or not _trains(x, weight) else "channels_last"


def _trains(x: Tensor, weight: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)


def _by_pytorch(x: Tensor, weight: Tensor, dilation: int) -> Way:
    height, width = x.shape[2:]
    trains = torch.is_grad_enabled() and weight.requires_grad
    if dilation > 1 or (height * width <= SMALL_MAP and weight[0, 0].numel() > FEWEST_TAPS):
        return "small_maps" if trains else "reference"
    tall, wide = reachable(weight, height, width).shape[2:]
    last = not x.is_contiguous()
    if x.dtype not in (torch.float32, torch.float64):  # what transforms are made for
        return "reference"
    if (min(tall, wide) > LARGEST_DIRECT and not last) or (trains and tall * wide * height * width >= HUGE):
        return "spectral"
    return "spectral_gradient" if trains and tall * wide >= MANY_TAPS[last] else _plain(x, weight)
