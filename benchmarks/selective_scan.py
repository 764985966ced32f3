"""Selective scan, forward and backward: ours over the published loop in plain PyTorch, in one process.

    python benchmarks/selective_scan.py [--shapes 16,192,196,16,1 ...] [--threads 1] [--rounds 5]

A shape is batch, channels, positions, states, groups. The peer is `ops.selective_scan.reference`: all decays at once,
then one position after another, which is the loop that Mamba and VMamba publish beside their kernels. Its backward pass
is quadratic in the positions, so it is timed once and ours several times. Both take the same tensors; times are CPU ms
of the process, the least of all rounds. Errors are the largest difference from float64 over the largest number, of the
output and of the worst of the five gradients.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ops.selective_scan import selective_scan
from ops.selective_scan.reference import reference

SHAPES = ("16,192,196,16,1", "16,768,49,16,4", "16,768,196,1,4")


def inputs(batch: int, width: int, length: int, states: int, groups: int) -> list[Tensor]:
    """Return u, delta, A, B, C as at the start of a training: steps about softplus(-4.6) = 0.01, A = -1, -2, ..."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    rates = -torch.arange(1.0, states + 1).repeat(width, 1)
    tensors = [
        normal(batch, width, length), normal(batch, width, length) - 4.6, rates,
        normal(batch, groups, states, length), normal(batch, groups, states, length),
    ]  # fmt: skip
    return [tensor.requires_grad_() for tensor in tensors]


def ours(*tensors: Tensor) -> Tensor:
    """Our scan."""
    return selective_scan(*tensors, delta_softplus=True)


def published(*tensors: Tensor) -> Tensor:
    """The plain loop."""
    return reference(*tensors, delta_softplus=True)[0]


def gradients(function: Callable[..., Tensor], tensors: list[Tensor], direction: Tensor) -> list[Tensor]:
    """Run forward and backward; returns output and gradients."""
    out = function(*tensors)
    return [out.detach(), *torch.autograd.grad(out, tensors, direction)]


def least_ms(function: Callable[[], object], rounds: int) -> float:
    """Return the least CPU ms of some rounds."""
    spent: list[float] = []
    for _ in range(rounds):
        begin = time.process_time()
        function()
        spent.append(time.process_time() - begin)
    return 1e3 * min(spent)


def error(found: list[Tensor], exact: list[Tensor]) -> tuple[float, float]:
    """Return the errors of the output and of the worst gradient."""
    each = [float((f.double() - e).abs().max() / e.abs().max()) for f, e in zip(found, exact, strict=True)]
    return each[0], max(each[1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} thread(s), float32")
    print("| B, D, L, N, G | forward ms | reference | ratio | forward + backward ms | reference | ratio "
          "| error ours: out, worst gradient | error reference |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for shape in options.shapes:
        tensors = inputs(*map(int, shape.split(",")))
        direction = torch.randn(tensors[0].shape, generator=torch.Generator().manual_seed(1))
        exact = gradients(ours, [t.detach().double().requires_grad_() for t in tensors], direction.double())
        errors = [error(gradients(each, tensors, direction), exact) for each in (ours, published)]

        def trained(function: Callable[..., Tensor], tensors=tensors, direction=direction) -> Callable[[], object]:
            return lambda: gradients(function, tensors, direction)

        whole = least_ms(trained(ours), options.rounds), least_ms(trained(published), 1)
        with torch.no_grad():
            forward = (
                least_ms(lambda tensors=tensors: ours(*tensors), options.rounds),
                least_ms(lambda tensors=tensors: published(*tensors), 1),
            )
        times = " | ".join(f"{mine:.1f} | {law:.0f} | {law / mine:.1f}" for mine, law in (forward, whole))
        shown = " | ".join(f"{out:.1e}, {worst:.1e}" for out, worst in errors)
        print(f"| {shape.replace(',', ', ')} | {times} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
