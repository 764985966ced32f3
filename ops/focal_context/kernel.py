"""Focal contexts in Triton: each level is one pass over its map, and so is the last sum, which adds the map's mean.

All passes take maps in channels_last; a contiguous one is laid out so first, and the last pass writes it contiguous
again. Levels are summed two by two: the second has the first at hand, as what it convolves. For the backward pass each
level is kept before its activation, and after it where another one follows.

Backward there is a pass over the output's gradient for the mean, and for each level one for its gradient before the
activation and one for its taps. A gate's gradient is summed over a block of channels there, and over blocks after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import triton
from torch import Tensor

from ops.focal_context.kernel_levels import CHANNELS, level, level_backward, turned
from ops.focal_context.kernel_mean import add_mean, mean_backward
from ops.focal_context.kernel_weight import weight_gradient
from ops.kernel import Movement, aligned
from ops.layout import is_last, like, room


def _laid(x: Tensor) -> Tensor:
    """Return a map in channels_last whose positions begin at multiples of 8 numbers."""
    fits = x.stride(1) == 1 and not any(n > 1 and s % 8 for n, s in zip(x.shape, x.stride(), strict=True) if s != 1)
    return aligned(x) if fits else _dense(x).permute(0, 3, 1, 2)


def _dense(x: Tensor) -> Tensor:
    """Return a map as [N, H, W, C] without gaps."""
    return aligned(x.permute(0, 2, 3, 1).contiguous())


def _starts(sides: Sequence[int]) -> list[int]:
    """Return where the taps of each level begin."""
    return [sum(side * side for side in sides[:number]) for number in range(len(sides))]


def forward(
    x: Tensor, taps: Tensor, gates: Tensor, sides: Sequence[int], scale: float, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the context, the mean of the last level [N, C] in float32, and what is kept of the levels."""
    out, x, taps, gates = room(x), _laid(x), aligned(taps.to(x.dtype).contiguous()), aligned(gates.to(x.dtype))
    images, channels, height, width = x.shape
    last, size = len(sides) - 1, (images, height, width, channels)
    kept = x.new_empty(2 * last + 1 if keep else 0, *size)
    total = out if is_last(out) else x.new_empty(size)
    source, sums = x, x
    for number, (start, side) in enumerate(zip(_starts(sides), sides, strict=True)):
        y = None if number == last else kept[number] if keep else x.new_empty(size)
        z = kept[last + number] if keep else None
        joins = number % 2 == 1 or number == last
        sums = level(source, taps, start, side, gates, number, scale, total=total if joins else None, y=y, z=z)
        source = source if y is None else y.permute(0, 3, 1, 2)
    mean = sums.sum(1) / (height * width)
    add_mean(total, gates, mean, out, scale)
    return out, mean, kept


def backward(
    grad: Tensor, x: Tensor, taps: Tensor, gates: Tensor, mean: Tensor, kept: Tensor, sides: Sequence[int], scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of map, taps in float32, and gates."""
    d_x, grad, source = room(x), _dense(grad.to(x.dtype)), _laid(x)
    taps, told = aligned(taps.to(x.dtype).contiguous()), aligned(gates.to(x.dtype))
    last, starts, d_taps = len(sides) - 1, _starts(sides), list[Tensor]()
    blocks, positions = triton.cdiv(grad.shape[3], CHANNELS), grad.shape[1:3]
    parts = torch.empty(blocks, len(x), last + 2, *positions, dtype=torch.float32, device=x.device)
    d_mean, d_z = mean_backward(grad, told, mean, parts, scale), None
    for number in range(last, -1, -1):
        following = min(number + 1, last)
        d_z = level_backward(
            d_z, taps, starts[following], sides[following], grad, told, number, kept[last + number], d_mean, parts,
            scale,
        )  # fmt: skip
        before = kept[number - 1].permute(0, 3, 1, 2) if number else source
        d_taps.insert(0, weight_gradient(before, d_z, sides[number]))
    assert d_z is not None
    if is_last(d_x):
        turned(d_z, taps, starts[0], sides[0], d_x)
    else:
        found = torch.empty_like(d_z)
        turned(d_z, taps, starts[0], sides[0], found)
        d_x.copy_(found.permute(0, 3, 1, 2))
    return d_x, torch.cat(d_taps), like(gates).copy_(parts.sum(0))


def _moved(dtype: torch.dtype, sides: Sequence[int], guarded: Callable[[Tensor], Tensor], *, back: bool) -> int:
    """Move a map of 32 channels; the least is what all passes read and write if each reads its maps once."""
    count, pairs, (height, width) = len(sides), (len(sides) + 1) // 2, (32, 24)
    size, area = (1, 32, height, width), height * width
    x, grad = (guarded(torch.randn(size).to(dtype, memory_format=torch.channels_last)) for _ in range(2))
    gates = guarded(torch.randn(1, count + 1, height, width).to(dtype, memory_format=torch.channels_last))
    taps = guarded(torch.randn(sum(side * side for side in sides), 32).to(dtype))
    if not back:
        forward(x, taps, gates, sides, 1.0, keep=False)
        # levels read and passed on; sums of them written, read by the next, and read and written with the mean
        maps = count + (count - 1) + pairs + (pairs - 1) + 2
        return (maps * x.numel() + gates.numel() + taps.numel()) * x.element_size()
    kept, mean = guarded(torch.randn(2 * count - 1, 1, height, width, 32).to(dtype)), guarded(torch.randn(1, 32))
    backward(grad, x, taps, gates, mean, kept, sides, 1.0)
    # the output's gradient for the mean; it, the level and the next gradient for each gradient; two maps for its taps
    maps = 1 + (4 * count - 1) + 2 * count + 2
    numbers = taps.numel() + (count + 1) * area
    return maps * x.numel() * x.element_size() + numbers * (4 + x.element_size())


MOVEMENTS = tuple(
    Movement(
        f"{name} {'-'.join(map(str, sides))} {str(dtype).removeprefix('torch.')}",
        partial(_moved, dtype, sides, back=back), most, "per_program",
    )
    for name, sides, back, most in (("forward", (3, 5, 7), False, 1.3), ("backward", (3, 5), True, 1.6))
    for dtype in (torch.float32, torch.bfloat16)
)  # fmt: skip
