"""How often a depthwise convolution takes the fastest way, or one within 10 % of it: measured over a grid of shapes.

    python benchmarks/depthwise_choice.py [--rounds 5] [--impl default|pytorch] [--mode train|inference]

Every way of `ops.depthwise_conv2d` that takes a shape runs in turns, and PyTorch's own convolution in the map's layout
and in both layouts it has; CPU time of forward (and in training backward) pass, one thread, float32. Printed is each
case whose chosen way took more than 10 % longer than the fastest, then the share of cases within 10 %, and the worst
case against the best of PyTorch's layouts. `pytorch` is the choice on machines without a compiler.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.turns import by_turns
from ops.depthwise_conv2d.choice import Way, way
from ops.depthwise_conv2d.native import native
from ops.depthwise_conv2d.reference import reference
from ops.depthwise_conv2d.small_maps import small_maps
from ops.depthwise_conv2d.spectral import spectral
from trials.threads import torch_threads

MAPS = ((32, 64, 32, 32), (32, 128, 14, 14), (128, 40, 8, 8), (64, 160, 4, 4), (1, 96, 56, 56), (1, 384, 14, 14))
KERNELS = ((3, 3), (5, 5), (7, 7), (11, 11), (13, 13), (21, 21), (31, 31), (51, 5), (1, 11))
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
CLOSE = 1.1


class Case(NamedTuple):
    """One shape in one layout."""

    shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    dilation: int
    layout: str


CASES = [
    *(Case(shape, kernel, 1, layout) for shape in MAPS for kernel in KERNELS for layout in LAYOUTS),
    *(Case(shape, (side, side), 3, "channels_last") for shape in MAPS for side in (3, 7)),
]


def ways(case: Case, *, compiled: bool, trains: bool) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return what can be chosen for a case and, by the names of layouts, PyTorch's convolution in each of them."""
    apart = case.dilation
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "reference": lambda x, w: reference(x, w, None, apart),
        "spectral": lambda x, w: spectral(x, w, None, apart),
    }
    if trains:
        found["small_maps"] = lambda x, w: small_maps(x, w, None, apart)
        found["spectral_gradient"] = lambda x, w: spectral(x, w, None, apart, gradient_only=True)
    if compiled:
        found["native"] = lambda x, w: native(x, w, None, apart, 1)
    for name, layout in LAYOUTS.items():
        if name != case.layout:
            found[name] = lambda x, w, layout=layout: reference(x.contiguous(memory_format=layout), w, None, apart)
    return found


def timed(case: Case, *, compiled: bool, trains: bool, rounds: int) -> tuple[Way, dict[str, float]]:
    """Return the chosen way and the seconds of every way."""
    x = torch.randn(case.shape).contiguous(memory_format=LAYOUTS[case.layout]).requires_grad_(trains)
    weight = torch.randn(case.shape[1], 1, *case.kernel, requires_grad=trains)

    def run(one: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Any]:
        def once() -> Any:
            out = one(x, weight)
            return torch.autograd.grad(out, [x, weight], torch.ones_like(out)) if trains else out

        return once

    with torch.set_grad_enabled(trains):
        asked = None if compiled else "pytorch"
        chosen = way(x, weight, None, dilation=case.dilation, stride=1, asked=asked)
        named = ways(case, compiled=compiled, trains=trains)
        times = by_turns({name: run(one) for name, one in named.items()}, time.process_time, rounds, patience=0.3)
    return chosen, {name: quartiles.median for name, quartiles in times.items()}


def main() -> None:
    """Print the cases chosen wrongly and the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--impl", choices=("default", "pytorch"), default="default")
    parser.add_argument("--mode", choices=("train", "inference"), default="train")
    args: Any = parser.parse_args()
    close, worst = 0, (float("inf"), CASES[0])
    with torch_threads(1):
        for case in CASES:
            chosen, times = timed(
                case, compiled=args.impl == "default", trains=args.mode == "train", rounds=args.rounds
            )
            # turning a map's layout is not for the operator to choose
            best = min((name for name in times if name not in LAYOUTS), key=times.__getitem__)
            plain = min(times[name] for name in ("reference", *LAYOUTS) if name in times)
            close += times[chosen] <= CLOSE * times[best]
            worst = min(worst, (plain / times[chosen], case))
            if times[chosen] > CLOSE * min(times.values()):
                told = ", ".join(f"{name} {1e3 * t:.2f}" for name, t in sorted(times.items(), key=lambda i: i[1]))
                print(
                    f"{case.shape} {case.kernel} x{case.dilation} {case.layout}: took {chosen}; ms {told}", flush=True
                )
    print(f"{args.impl}, {args.mode}: {close} of {len(CASES)} within 10 % of the fastest way")
    print(f"least speed-up over the best of PyTorch's layouts: {worst[0]:.2f} for {worst[1]}")


if __name__ == "__main__":
    main()
