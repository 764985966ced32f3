"""Our operators against PyTorch's and torchvision's on a CPU, in one run: time, error and share of the peak.

All of a case's ways take turns, so that what else the machine does meets them alike; times are medians of forward and
backward pass together. The error is ours, against float64: of output and gradients, the largest difference over the
largest number. Peak is what one core does from registers, measured here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import exp, log
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from nas.operator_cases import CASES, Case, Way, normal
from nas.turns import by_turns, clock_of
from ops.native import call, library, missing
from trials.threads import torch_threads

if TYPE_CHECKING:
    from nas.kernel_bench import KernelRow


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
        left, right = normal(512, 512), normal(512, 512)
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
