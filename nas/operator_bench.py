"""Our operators against PyTorch's and torchvision's on a CPU, in one run: time, error and share of the peak.

A case is one operator at one shape with every way to compute it: ours, and peers that compute the same function. All of
a case's ways take turns, so that what else the machine does meets them alike; times are medians of forward and backward
pass together. The error is ours, against float64: of output and gradients, the largest difference over the largest
number. Peak is what one core does from registers, measured here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.turns import by_turns, clock_of
from ops import deformable_sampling, depthwise_conv2d, focal_context, selective_scan
from ops.deformable_sampling.grids import grids
from ops.deformable_sampling.reference import reference as sampled
from ops.deformable_sampling.window import Window
from ops.depthwise_conv2d.reference import reference as convolved
from ops.dispatch import Impl
from ops.focal_context.reference import reference as gathered
from ops.native import call, library, missing
from ops.selective_scan.associative import associative
from ops.selective_scan.reference import reference as published
from trials.threads import torch_threads

if TYPE_CHECKING:
    from nas.kernel_bench import KernelRow

Way = Callable[..., Tensor]


class Row(NamedTuple):
    """One of our ways against one peer; times are ms of forward and backward, `spread` is their quartiles' range."""

    op: str
    shape: str
    kernel: str
    impl: str
    ms: float
    spread: float
    baseline: str
    baseline_ms: float
    speedup: float
    error: float
    percent_of_peak: float | None


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


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def depthwise(shape: tuple[int, int, int, int], kernel: tuple[int, int], *, dilation: int = 1, stride: int = 1) -> Case:
    """A depthwise convolution of maps [N, C, H, W] in channels_last, as our networks hold them."""

    def inputs(batch: int) -> list[Tensor]:
        return [_last(_normal(batch, *shape[1:])), _normal(shape[1], 1, *kernel)]

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
        u, delta = _normal(count, width, length), _normal(count, width, length) - 4.6
        return [u, delta, rates, _normal(*told), _normal(*told).flip(-1)]

    def ours(impl: Impl | None) -> Way:
        return lambda *tensors: selective_scan(*tensors, delta_softplus=True, impl=impl)

    def law(u: Tensor, delta: Tensor, *others: Tensor) -> Tensor:
        return associative(u, F.softplus(delta), *others)[0]

    peers: dict[str, Way] = {"published loop": lambda *tensors: published(*tensors, delta_softplus=True)[0]}
    return Case("selective_scan", (batch, width, length), f"N {states}, G {groups}", inputs, ours, peers, law)


def sampling(batch: int, height: int, width: int, groups: int, depth: int) -> Case:
    """The sampling of DCNv3 and DCNv4, 3 x 3 taps, about their regular places."""
    window, places = Window.of(3, 1, 1, 1, False), height * width

    def inputs(count: int) -> list[Tensor]:
        offset, size = _normal(count, height, width, groups, 9, 2), (count, places, groups, 9)
        return [_normal(count, height, width, groups, depth), *window.places(offset, 1.0), _normal(*size).sigmoid()]

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
        weights = [_normal(width, 1, side, side) / side for side in sides]
        return [_last(_normal(batch, *shape[1:])), _last(_normal(batch, len(sides) + 1, *shape[2:])), *weights]

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
    focal((32, 96, 16, 16), (3, 5)),
    focal((64, 192, 8, 8), (3, 5, 7)),
)
"""What `nas bench ops` runs."""


def rows(cases: Iterable[Case] = CASES, *, threads: int = 1, rounds: int = 5) -> Iterator[Row]:
    """Run the cases one by one and yield a row for each of our ways and each peer.

    With one thread times are CPU times of the process, otherwise times on the wall.
    """
    clock = clock_of(threads)
    with torch_threads(threads):
        peak = peak_macs(clock) * threads
        for case in cases:
            yield from _rows(case, peak, clock, rounds)


def _rows(case: Case, peak: float, clock: Callable[[], float], rounds: int) -> Iterator[Row]:
    ours = {"default": case.ours(None), "pytorch": case.ours("pytorch")}
    inputs = [tensor.requires_grad_() for tensor in case.inputs(case.shape[0])]
    ways = {**ours, **case.peers}
    times = by_turns({name: partial(gradients, way, inputs) for name, way in ways.items()}, clock, rounds)
    for impl, way in ours.items():
        error = _error(case, way)
        low, middle, high = times[impl]
        share = None if case.macs is None else 100 * case.macs / middle / peak
        for name in case.peers:
            theirs = times[name].median
            yield Row(
                case.op, "x".join(map(str, case.shape)), case.kernel, impl, 1e3 * middle, 1e3 * (high - low), name,
                1e3 * theirs, theirs / middle, error, share,
            )  # fmt: skip


def gradients(way: Way, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Run forward and backward; return output and gradients."""
    out = way(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, torch.ones_like(out))]


def _error(case: Case, way: Way) -> float:
    """Return the error for a batch of one."""
    inputs = [tensor.requires_grad_() for tensor in case.inputs(1)]
    exact = gradients(case.law, [tensor.detach().double().requires_grad_() for tensor in inputs])
    found = gradients(way, inputs)
    return max(float((f - e).abs().max() / e.abs().max()) for f, e in zip(found, exact, strict=True))


def peak_macs(clock: Callable[[], float] = time.process_time, seconds: float = 0.05) -> float:
    """Measure the most multiply-accumulates of one core in a second; without the native library, those of a product."""
    if missing():
        left, right = _normal(512, 512), _normal(512, 512)
        return 512**3 / min(_took(lambda: torch.mm(left, right), clock) for _ in range(10))
    room, count = torch.full((64,), 0.5), 1 << 16
    while _took(partial(call, "peak_run", [count], room), clock) < seconds / 10:
        count *= 2
    best = min(_took(partial(call, "peak_run", [count], room), clock) for _ in range(10))
    return count * library().peak_macs_per_round() / best


def _took(run: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    run()
    return clock() - begin


def summary(found: Iterable[Row | KernelRow]) -> list[tuple[str, str, str, float, float]]:
    """Return operator, way, peer, geometric mean and least of the speed-ups; `best` is each case's fastest peer."""
    speedups: dict[tuple[str, str, str], list[float]] = {}
    best: dict[tuple[str, str, str, str, str], float] = {}
    for row in found:
        speedups.setdefault((row.op, row.impl, row.baseline), []).append(row.speedup)
        case = row.op, row.shape, getattr(row, "dtype", row.kernel), row.kernel, row.impl
        best[case] = min(best.get(case, row.speedup), row.speedup)
    for (op, *_, impl), speedup in best.items():
        speedups.setdefault((op, impl, "best"), []).append(speedup)
    return [(*key, exp(sum(map(log, each)) / len(each)), min(each)) for key, each in speedups.items()]
