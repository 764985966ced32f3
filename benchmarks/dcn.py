"""Deformable convolutions on a CPU: ours over other ways in PyTorch, in one process.

    python benchmarks/dcn.py [--shapes 32,14,14,8,16 ...] [--convolutions 8,28,28,64 ...] [--threads 1] [--rounds 5]

The first table is the sampling of DCNv3 and DCNv4. A shape is batch, height, width, groups, channels of a group; the
kernel is 3 x 3. The peers compute the same function:
`torch.nn.functional.grid_sample` and a weighted sum, as the published DCNv3 in plain PyTorch does;
`torchvision.ops.deform_conv2d` with a kernel of ones and one group a channel; and the law by indexing. Times are CPU ms
of the process, forward and backward, the least of all rounds, the ways in turn. The error is ours, ||ours - exact|| /
||exact|| with exact in float64, of the output and the worst gradient. grid_sample's is the largest: it scales places to
[-1, 1], and those that fall onto the other side of a pixel then have another slope. The second table is version 2, a
convolution 3 x 3 with as many channels out as in, of shape batch, height, width, channels, against torchvision's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d as kernel

from ops.deform_conv2d import deform_conv2d
from ops.deform_conv2d.reference import reference as tap_by_tap
from ops.deformable_sampling import deformable_sampling
from ops.deformable_sampling.grids import grids
from ops.deformable_sampling.reference import reference
from ops.deformable_sampling.window import Window

SHAPES = ("32,14,14,8,16", "64,8,8,4,16", "128,4,4,8,16", "32,16,16,2,32", "8,32,32,4,16", "2,56,56,4,16")
WINDOW = Window.of(3, 1, 1, 1, False)
Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def by(core: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Way:
    """Sample value [N, H, W, G, D] at offset [N, H, W, G, 9, 2] with weights [N, H, W, G, 9] by `core`."""
    return lambda value, offset, mask: core(value, *WINDOW.places(offset, 1.0), mask.flatten(1, 2))


def torchvision(value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
    """The same by torchvision, whose taps go row by row, in pairs (y, x), channels first."""
    batch, height, width, groups, depth = value.shape
    x = value.permute(0, 3, 4, 1, 2).flatten(1, 2)
    shift = offset.unflatten(4, (3, 3)).transpose(4, 5).flip(-1).permute(0, 3, 4, 5, 6, 1, 2).flatten(1, 4)
    weights = mask.unflatten(4, (3, 3)).transpose(4, 5).permute(0, 3, 4, 5, 1, 2).flatten(1, 3)
    ones = torch.ones(groups * depth, 1, 3, 3, dtype=value.dtype)
    out = kernel(x, shift, ones, padding=1, mask=weights)
    return out.view(batch, groups, depth, height * width).permute(0, 3, 1, 2)


WAYS: dict[str, Callable[..., Tensor]] = {
    "ours": by(deformable_sampling), "grid_sample": by(grids), "torchvision": torchvision, "indexing": by(reference),
}  # fmt: skip


CONVOLUTIONS = ("8,28,28,64", "16,8,8,64", "8,14,14,128")


def sampling(shape: str) -> list[Tensor]:
    """Return random value, offset and mask."""
    batch, height, width, groups, depth = map(int, shape.split(","))
    generator = torch.Generator().manual_seed(0)
    sizes = ((batch, height, width, groups, depth), (batch, height, width, groups, 9, 2))
    value, offset = (torch.randn(*size, generator=generator) for size in sizes)
    return [value, offset, torch.rand(batch, height, width, groups, 9, generator=generator)]


def convolution(shape: str) -> list[Tensor]:
    """Return random input, offset, weight, bias and mask."""
    batch, height, width, channels = map(int, shape.split(","))
    generator = torch.Generator().manual_seed(0)
    sizes = ((batch, channels, height, width), (batch, 18, height, width), (channels, channels, 3, 3), (channels,))
    mask = torch.rand(batch, 9, height, width, generator=generator)
    return [*(torch.randn(*size, generator=generator) for size in sizes), mask]


def run(way: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Return output and gradients for the same direction in all ways."""
    out = way(*inputs)
    direction = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out.detach(), *torch.autograd.grad(out, inputs, direction)]


def table(ways: dict[str, Callable[..., Tensor]], cases: dict[str, list[Tensor]], rounds: int) -> None:
    """Print a row for each case; the first way is ours, the last one is exact in float64."""
    ours, *peers = ways
    print(f"| shape | {ours} ms | " + " | ".join(f"{name} ms | ratio" for name in peers) + " | error |")
    print("|---" * (3 + 2 * len(peers)) + "|")
    for shape, tensors in cases.items():
        inputs = [tensor.requires_grad_() for tensor in tensors]
        exact = run(ways[peers[-1]], [tensor.detach().double().requires_grad_() for tensor in inputs])
        errors = {
            name: max(float((f - e).norm() / e.norm()) for f, e in zip(run(way, inputs), exact, strict=True))
            for name, way in ways.items()
        }
        if max(errors.values()) > 1e-3:
            raise SystemExit(f"the ways disagree: {errors}")
        least = dict.fromkeys(ways, float("inf"))
        for _ in range(rounds):
            for name, way in ways.items():
                begin = time.process_time()
                run(way, inputs)
                least[name] = min(least[name], 1e3 * (time.process_time() - begin))
        shown = " | ".join(f"{least[name]:.1f} | {least[name] / least[ours]:.1f}" for name in peers)
        print(f"| {shape.replace(',', ', ')} | {least[ours]:.1f} | {shown} | {errors[ours]:.1e} |", flush=True)
    print()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=SHAPES)
    parser.add_argument("--convolutions", nargs="*", default=CONVOLUTIONS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} thread(s), float32")
    table(WAYS, {shape: sampling(shape) for shape in options.shapes}, options.rounds)
    window = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    ways: dict[str, Callable[..., Tensor]] = {
        "ours": lambda *tensors: deform_conv2d(*tensors, **window),
        "torchvision": lambda x, offset, weight, bias, mask: kernel(x, offset, weight, bias, mask=mask, **window),
        "tap by tap": lambda *tensors: tap_by_tap(*tensors, **window),
    }
    table(ways, {shape: convolution(shape) for shape in options.convolutions}, options.rounds)


if __name__ == "__main__":
    main()
