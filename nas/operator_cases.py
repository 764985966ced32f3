"""What operators are timed on: one at one shape, with every way to compute it, ours and peers of the same law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ops import (
    cross_merge,
    cross_scan,
    deformable_sampling,
    depthwise_branches,
    depthwise_conv2d,
    focal_context,
    inception_depthwise,
    selective_scan,
    selective_scan_2d,
)
from ops.deformable_sampling.grids import grids
from ops.deformable_sampling.reference import reference as sampled
from ops.deformable_sampling.window import Window
from ops.depthwise_branches.reference import reference as branched
from ops.depthwise_conv2d.reference import reference as convolved
from ops.dispatch import Impl
from ops.focal_context.reference import reference as gathered
from ops.inception_depthwise.reference import reference as mixed
from ops.selective_scan.associative import associative
from ops.selective_scan.reference import reference as published
from ops.selective_scan_2d.reference import reference as scanned_2d

Way = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """One operator at one shape. `inputs(batch)` returns what its ways take; `macs` counts all passes of the batch."""

    op: str
    shape: tuple[int, ...]
    kernel: str
    inputs: Callable[[int], list[Tensor]]
    ours: Callable[[Impl | None], Way]
    peers: dict[str, Way]
    law: Way
    macs: int | None = None


def normal(*shape: int) -> Tensor:
    """Return normal numbers, the same for the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def depthwise(shape: tuple[int, int, int, int], kernel: tuple[int, int], *, dilation: int = 1, stride: int = 1) -> Case:
    """A depthwise convolution of maps [N, C, H, W] in channels_last, as our networks hold them."""

    def inputs(batch: int) -> list[Tensor]:
        return [_last(normal(batch, *shape[1:])), normal(shape[1], 1, *kernel)]

    def law(x: Tensor, weight: Tensor) -> Tensor:
        return convolved(x, weight, None, dilation, stride)

    def ours(impl: Impl | None) -> Way:
        return lambda x, weight: depthwise_conv2d(x, weight, dilation=dilation, stride=stride, impl=impl)

    met = [_met(side, taps, dilation, stride) for side, taps in zip(shape[2:], kernel, strict=True)]
    marks = [f"dilation {dilation}"] * (dilation > 1) + [f"stride {stride}"] * (stride > 1)
    return Case(
        "depthwise_conv2d", shape, ", ".join([f"{kernel[0]}x{kernel[1]}", *marks]), inputs, ours,
        {"aten contiguous": lambda x, weight: law(x.contiguous(), weight), "aten channels_last": law}, law,
        macs=3 * shape[0] * shape[1] * met[0] * met[1],
    )  # fmt: skip


def branches(shape: tuple[int, int, int, int], sides: Sequence[int], *, last: bool = True) -> Case:
    """Square depthwise convolutions of one map, added up as where they are re-parameterised into one kernel."""

    def inputs(batch: int) -> list[Tensor]:
        x = normal(batch, *shape[1:])
        return [_last(x) if last else x, *(normal(shape[1], 1, side, side) for side in sides)]

    def law(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.stack(branched(x, weights, [1] * len(weights))).sum(0)

    def ours(impl: Impl | None) -> Way:
        return lambda x, *weights: torch.stack(depthwise_branches(x, weights, impl=impl)).sum(0)

    macs = 3 * shape[0] * shape[1] * sum(_met(shape[2], side, 1, 1) * _met(shape[3], side, 1, 1) for side in sides)
    kernel = " + ".join(f"{side}x{side}" for side in sides)
    return Case("depthwise_branches", shape, kernel, inputs, ours, _in_both_layouts(law), law, macs=macs)


def inception(shape: tuple[int, int, int, int], group: int, square: int, band: int, *, last: bool = True) -> Case:
    """InceptionNeXt's token mixer: a square and two bands over three groups of the channels, the others passed on."""
    sides = ((square, square), (1, band), (band, 1))

    def inputs(batch: int) -> list[Tensor]:
        x = normal(batch, *shape[1:])
        weights = [normal(group, 1, *side) for side in sides]
        return [_last(x) if last else x, *weights, *(normal(group + n)[n:] for n in range(3))]

    def law(x: Tensor, *others: Tensor) -> Tensor:
        return mixed(x, others[:3], others[3:])

    def ours(impl: Impl | None) -> Way:
        return lambda x, *others: inception_depthwise(x, others[:3], others[3:], impl=impl)

    met = sum(_met(shape[2], tall, 1, 1) * _met(shape[3], wide, 1, 1) for tall, wide in sides)
    return Case(
        "inception_depthwise", shape, f"{square}x{square}, {band}, {group} each", inputs, ours, _in_both_layouts(law),
        law, macs=3 * shape[0] * group * met,
    )  # fmt: skip


def _in_both_layouts(law: Way) -> dict[str, Way]:
    return {
        "aten contiguous": lambda x, *others: law(x.contiguous(), *others),
        "aten channels_last": lambda x, *others: law(_last(x), *others),
    }


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _met(side: int, taps: int, dilation: int, stride: int) -> int:
    """Count the pairs of places and taps along one axis that meet the map."""
    reach = range(-(taps // 2) * dilation, taps // 2 * dilation + 1, dilation)
    return sum(0 <= place + tap < side for place in range(0, side, stride) for tap in reach)


def scan(batch: int, width: int, length: int, states: int, groups: int) -> Case:
    """A selective scan as at the start of a training: steps about 0.01, A = -1, -2, ..."""

    def inputs(count: int) -> list[Tensor]:
        told = (count, groups, states, length)
        rates = -torch.arange(1.0, states + 1).repeat(width, 1)
        u, delta = normal(count, width, length), normal(count, width, length) - 4.6
        return [u, delta, rates, normal(*told), normal(*told).flip(-1)]

    def ours(impl: Impl | None) -> Way:
        return lambda *tensors: selective_scan(*tensors, delta_softplus=True, impl=impl)

    def law(u: Tensor, delta: Tensor, *others: Tensor) -> Tensor:
        return associative(u, F.softplus(delta), *others)[0]

    peers: dict[str, Way] = {"published loop": lambda *tensors: published(*tensors, delta_softplus=True)[0]}
    return Case("selective_scan", (batch, width, length), f"N {states}, G {groups}", inputs, ours, peers, law)


def scan_2d(batch: int, width: int, side: int, states: int, rank: int) -> Case:
    """A selective scan of a map along VMamba's four routes; its peer copies the map in their orders and loops."""

    def inputs(count: int) -> list[Tensor]:
        told, rates = normal(count, 4, rank + 2 * states, side, side), -torch.arange(1.0, states + 1)
        weight, bias = normal(4, width, rank) * rank**-0.5, torch.full((4 * width,), -4.6)
        return [_last(normal(count, width, side, side)), told, weight, rates.repeat(4 * width, 1), bias]

    def ours(impl: Impl | None) -> Way:
        return lambda x, told, weight, rates, bias: selective_scan_2d(
            x, told, weight, rates, delta_bias=bias, delta_softplus=True, impl=impl
        )

    def law(x: Tensor, told: Tensor, weight: Tensor, rates: Tensor, bias: Tensor) -> Tensor:
        return scanned_2d(x, told, weight, rates, None, bias, True, "cross")

    def loop(x: Tensor, told: Tensor, weight: Tensor, rates: Tensor, bias: Tensor) -> Tensor:
        steps, b, c = torch.split(cross_scan(told, routes="cross"), [rank, states, states], dim=2)
        u, delta = cross_scan(x, routes="cross"), torch.matmul(weight, steps).flatten(1, 2)
        y = published(u.flatten(1, 2), delta, rates, b, c, delta_bias=bias, delta_softplus=True)[0]
        return cross_merge(y.view(u.shape).unflatten(-1, x.shape[2:]), routes="cross").view(x.shape)

    shape = batch, width, side, side
    return Case("selective_scan_2d", shape, f"N {states}, R {rank}", inputs, ours, {"published loop": loop}, law)


def sampling(batch: int, height: int, width: int, groups: int, depth: int) -> Case:
    """The sampling of DCNv3 and DCNv4, 3 x 3 taps, about their regular places."""
    window, places = Window.of(3, 1, 1, 1, False), height * width

    def inputs(count: int) -> list[Tensor]:
        offset, size = normal(count, height, width, groups, 9, 2), (count, places, groups, 9)
        return [normal(count, height, width, groups, depth), *window.places(offset, 1.0), normal(*size).sigmoid()]

    def ours(impl: Impl | None) -> Way:
        return lambda *tensors: deformable_sampling(*tensors, impl=impl)

    return Case(
        "deformable_sampling", (batch, height, width, groups, depth), "3x3", inputs, ours,
        {"grid_sample": grids, "torchvision": _by_torchvision}, sampled, macs=12 * batch * places * groups * 9 * depth,
    )  # fmt: skip


def _by_torchvision(value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """The same by torchvision's deformable convolution with a kernel of ones: its offsets are from its own taps."""
    from torchvision.ops import deform_conv2d

    batch, height, width, groups, depth = value.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    taps = torch.arange(9)
    from_x = x - (columns.reshape(-1, 1) + taps % 3 - 1)[:, None]
    from_y = y - (rows.reshape(-1, 1) + taps // 3 - 1)[:, None]
    offset = torch.stack((from_y, from_x), -1).unflatten(1, (height, width)).permute(0, 3, 4, 5, 1, 2).flatten(1, 3)
    mask = weight.unflatten(1, (height, width)).permute(0, 3, 4, 1, 2).flatten(1, 2)
    ones = torch.ones(groups * depth, 1, 3, 3, dtype=value.dtype)
    out = deform_conv2d(value.permute(0, 3, 4, 1, 2).flatten(1, 2), offset, ones, padding=(1, 1), mask=mask)
    return out.view(batch, groups, depth, height * width).permute(0, 3, 1, 2)


def focal(shape: tuple[int, int, int, int], sides: tuple[int, ...]) -> Case:
    """A focal context of maps in channels_last, with a gate for each level and for the mean."""
    width = shape[1]

    def inputs(batch: int) -> list[Tensor]:
        # weights as large as training finds them, so that the last level is not all zeros
        weights = [normal(width, 1, side, side) / side for side in sides]
        return [_last(normal(batch, *shape[1:])), _last(normal(batch, len(sides) + 1, *shape[2:])), *weights]

    def law(x: Tensor, gates: Tensor, *weights: Tensor) -> Tensor:
        return gathered(x, weights, gates)

    def ours(impl: Impl | None) -> Way:
        return lambda x, gates, *weights: focal_context(x, weights, gates, impl=impl)

    pairs = sum(_met(shape[2], side, 1, 1) * _met(shape[3], side, 1, 1) for side in sides)
    kernels = ", ".join(f"{side}x{side}" for side in sides)
    return Case("focal_context", shape, kernels, inputs, ours, {"aten": law}, law, macs=3 * shape[0] * width * pairs)


KERNELS = ((3, 3), (5, 5), (7, 7), (11, 11), (13, 13), (21, 21), (31, 31), (51, 5), (1, 11))
CASES = (
    *(
        depthwise(shape, kernel)
        for shape in ((32, 64, 32, 32), (32, 128, 14, 14), (128, 40, 8, 8))
        for kernel in KERNELS
    ),
    depthwise((32, 64, 32, 32), (7, 7), dilation=3),
    depthwise((32, 64, 32, 32), (3, 3), stride=2),
    scan(16, 192, 196, 16, 1),
    scan(16, 768, 49, 16, 4),
    sampling(32, 14, 14, 8, 16),
    sampling(8, 32, 32, 4, 16),
    sampling(64, 8, 8, 4, 16),
    branches((32, 128, 14, 14), (31, 5)),
    branches((32, 64, 32, 32), (13, 5)),
    inception((32, 96, 32, 32), 12, 3, 11),
    inception((64, 384, 8, 8), 48, 3, 11),
    scan_2d(8, 192, 14, 1, 12),
    focal((32, 96, 16, 16), (3, 5)),
    focal((64, 192, 8, 8), (3, 5, 7)),
)
"""What `nas bench ops` runs."""
