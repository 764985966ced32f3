"""Our Triton kernels on a GPU against PyTorch's functions and cuDNN, in one run, and beside published figures.

All ways of a case take turns; each run of forward and backward pass begins with empty caches and is timed by the
device. The error is ours, against float64 for a batch of one: of output and gradients, the largest difference over the
largest number. Peak is the bandwidth of a copy, measured here; a way's share of it counts what both passes must move
at least, each map once for each time that it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from nas.operator_bench import Case, Way, depthwise, focal, gradients, sampling, scan
from nas.published_kernels import DCN_V4, REPLKNET
from nas.turns import quartiles_of
from ops import gated_product, global_response_norm, layer_norm2d
from ops.dispatch import DEVICES, Impl
from ops.gated_product.reference import Activation
from space.errors import NasError

Timer = Callable[[Callable[[], object]], float]
"""Runs what it is given once and returns the seconds it took."""
MOST = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
"""Largest errors: sums over large maps differ more by their order than those of the small tensors that tests take."""
FLUSHED = 1 << 28
"""Bytes that are written before each run, more than the caches of a GPU hold."""


class KernelRow(NamedTuple):
    """Our way against one peer; times are ms of forward and backward, `spread` is their quartiles' range.

    `published_ms` is the time of the published kernel, on its authors' GPU and with their batch, `published_speedup`
    how many times as fast it was there as such a peer.
    """

    op: str
    shape: str
    kernel: str
    dtype: str
    impl: str
    ms: float
    spread: float
    baseline: str
    baseline_ms: float
    speedup: float
    error: float
    percent_of_peak: float
    published_ms: float | None
    published_speedup: float | None

    @property
    def right(self) -> bool:
        """Whether the error is within what the dtype allows."""
        return self.error <= MOST[getattr(torch, self.dtype)]


@dataclass(frozen=True)
class KernelCase:
    """A case for a GPU; `passes` counts the maps of the case's shape that both passes must move at least."""

    case: Case
    passes: int
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
    published_ms: float | None = None
    published_speedup: tuple[str, float] | None = None
    """A peer, and how many times as fast as it the published kernel is."""


def large_kernel(batch: int, width: int, side: int, kernel: tuple[int, int]) -> KernelCase:
    """A depthwise convolution with a large kernel, also by cuDNN's own, which PyTorch does not take for every shape."""

    def cudnn(x: Tensor, weight: Tensor) -> Tensor:
        padding = [side // 2 for side in kernel]
        return torch.cudnn_convolution(x, weight, padding, [1, 1], [1, 1], x.shape[1], False, False, True)

    case = depthwise((batch, width, side, side), kernel)
    case = replace(
        case, peers={**case.peers, "cudnn channels_last": cudnn} if torch.cuda.is_available() else case.peers
    )
    theirs = REPLKNET.get((side, kernel[0])) if kernel[0] == kernel[1] else None
    if theirs is None:
        return KernelCase(case, 5)
    return KernelCase(case, 5, published_ms=theirs[0], published_speedup=("aten contiguous", theirs[1] / theirs[0]))


def deformable(batch: int, side: int, width: int) -> KernelCase:
    """The sampling of DCNv3 and DCNv4; beside maps it must move two places and a weight for 9 taps of 16 channels."""
    case = sampling(batch, side, side, width // 16, 16)
    case = replace(case, peers={"grid_sample": case.peers["grid_sample"]})
    return KernelCase(case, 10, published_ms=DCN_V4.get((side, width)))


def scanning(batch: int, width: int, length: int, states: int) -> KernelCase:
    """A selective scan of four routes, also by PyTorch's own functions in chunks."""
    case = scan(batch, width, length, states, 4)
    return KernelCase(replace(case, peers={"chunks in PyTorch": case.ours("pytorch")}), 8, (torch.float32,))


def of_maps(
    op: str, shape: tuple[int, int, int, int], kernel: str, passes: int, way: Callable[..., Tensor], *,
    vectors: int = 0, maps: int = 1,
) -> KernelCase:  # fmt: skip
    """An operator on maps in channels_last and on vectors of their channels; `way` takes them and `impl`."""

    def inputs(batch: int) -> list[Tensor]:
        source = torch.Generator().manual_seed(sum(shape))
        found = [torch.randn((batch, *shape[1:]), generator=source) for _ in range(maps)]
        found = [each.contiguous(memory_format=torch.channels_last) for each in found]
        return found + [torch.randn(shape[1], generator=source) for _ in range(vectors)]

    def by(impl: Impl | None) -> Way:
        return lambda *tensors: way(*tensors, impl=impl)

    return KernelCase(Case(op, shape, kernel, inputs, by, {"aten": by("reference")}, by("reference")), passes)


def norm(shape: tuple[int, int, int, int]) -> KernelCase:
    """Layer normalisation over channels."""
    return of_maps(
        "layer_norm2d", shape, "", 5, lambda x, w, b, impl: layer_norm2d(x, w, b, eps=1e-6, impl=impl), vectors=2
    )


def response(shape: tuple[int, int, int, int]) -> KernelCase:
    """Global response normalisation."""
    return of_maps(
        "global_response_norm", shape, "", 8,
        lambda x, w, b, impl: global_response_norm(x, w, b, eps=1e-6, impl=impl), vectors=2,
    )  # fmt: skip


def gate(shape: tuple[int, int, int, int], act: Activation) -> KernelCase:
    """A product of two maps, one activated."""
    return of_maps("gated_product", shape, act, 8, lambda g, v, impl: gated_product(g, v, act=act, impl=impl), maps=2)


def context(shape: tuple[int, int, int, int], sides: tuple[int, ...]) -> KernelCase:
    """A focal context; levels go through several passes, each of which reads and writes its maps once."""
    levels = len(sides)
    forward, backward = 3 * levels + 2 * ((levels + 1) // 2), 6 * levels + 2
    return KernelCase(focal(shape, sides), forward + backward)


CASES = (
    *(large_kernel(32, 384, side, (kernel, kernel)) for side in (16, 32, 64) for kernel in (3, 7, 13, 21, 31)),
    large_kernel(32, 384, 32, (51, 5)),
    *(deformable(64, side, width) for side, width in DCN_V4),
    scanning(64, 384, 196, 16),
    scanning(32, 768, 784, 1),
    norm((64, 96, 56, 56)),
    norm((64, 768, 7, 7)),
    response((64, 384, 56, 56)),
    gate((64, 192, 28, 28), "silu"),
    gate((64, 192, 28, 28), "gelu"),
    context((64, 96, 56, 56), (3, 5)),
    context((64, 384, 14, 14), (3, 5, 7)),
)
"""What `nas bench ops --device cuda` runs."""


def device_timer(device: str) -> Timer:
    """Return a timer by the device's own clock. Raises NasError where PyTorch sees no such device."""
    if device not in DEVICES:
        raise NasError(f"bench: device {device!r}, allowed: {', '.join(map(repr, ('cpu', *DEVICES)))}")
    module = torch.get_device_module(device)
    if not module.is_available():
        raise NasError(f"bench: device {device!r}, of which PyTorch sees none here, allowed: 'cpu'")
    flushed = torch.empty(FLUSHED, dtype=torch.uint8, device=device)

    def timed(run: Callable[[], object]) -> float:
        flushed.zero_()
        begin, end = (module.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        module.synchronize()
        return 1e-3 * begin.elapsed_time(end)

    return timed


def copied_per_second(device: str, timer: Timer) -> float:
    """Measure the bytes that a copy reads and writes in a second."""
    source = torch.ones(FLUSHED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * FLUSHED / min(timer(lambda: target.copy_(source)) for _ in range(10))


def rows(cases: Iterable[KernelCase], device: str, timer: Timer, *, rounds: int = 20) -> Iterator[KernelRow]:
    """Check and time the cases one by one; yield a row for each dtype and peer."""
    peak = copied_per_second(device, timer)
    for case in cases:
        for dtype in case.dtypes:
            yield from _rows(case, dtype, device, timer, peak, rounds)


def _rows(
    told: KernelCase, dtype: torch.dtype, device: str, timer: Timer, peak: float, rounds: int
) -> Iterator[KernelRow]:
    case = told.case
    ours = case.ours(None)
    error = _error(case, ours, dtype, device)
    times = _times({"default": ours, **case.peers}, _inputs(case, case.shape[0], dtype, device), timer, rounds)
    low, middle, high = times["default"]
    share = 100 * told.passes * prod(case.shape) * dtype.itemsize / middle / peak
    for name in case.peers:
        there = told.published_speedup
        yield KernelRow(
            case.op, "x".join(map(str, case.shape)), case.kernel, str(dtype).removeprefix("torch."), "default",
            1e3 * middle, 1e3 * (high - low), name, 1e3 * times[name][1], times[name][1] / middle, error, share,
            told.published_ms, there[1] if there is not None and there[0] == name else None,
        )  # fmt: skip


def _inputs(case: Case, batch: int, dtype: torch.dtype, device: str) -> list[Tensor]:
    return [tensor.to(device, dtype).requires_grad_() for tensor in case.inputs(batch)]


def _times(
    ways: dict[str, Way], inputs: Sequence[Tensor], timer: Timer, rounds: int
) -> dict[str, tuple[float, float, float]]:
    """Return the quartiles of each way's seconds; two runs of each that compile and warm up are not counted."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds + 2):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            took = timer(lambda way=ways[name]: gradients(way, inputs))
            if turn > 1:
                spent[name].append(took)
    return {name: quartiles_of(each) for name, each in spent.items()}


def _error(case: Case, way: Way, dtype: torch.dtype, device: str) -> float:
    """Return the error for a batch of one."""
    inputs = _inputs(case, 1, dtype, device)
    exact = gradients(case.law, [tensor.detach().double().requires_grad_() for tensor in inputs])
    found = gradients(way, inputs)
    return max(float((f - e).abs().max() / e.abs().max()) for f, e in zip(found, exact, strict=True))
