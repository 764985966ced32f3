"""Time of one training step of named models against timm's implementation of the same model, in one run.

    python benchmarks/training_step.py [--models NAME ...] [--resolution 64] [--batch 8] [--threads 1] [--rounds 9]

Both carry the same weights (timm's state dict loads into ours; the outputs are compared), channels_last, float32. One
step is forward, backward and fused AdamW. Rounds alternate between the two; the ratio is timm's median over ours, so
that above 1 ours is faster. With one thread CPU time is taken, which other processes do not disturb, else wall time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import nn

from space import build, load_published, named

MODELS = ("convnext_atto", "convnextv2_atto", "inceptionnext_atto", "caformer_s18_timm", "focalnet_tiny_srf")


def timm_name(name: str) -> str:
    """Return timm's name of a named model."""
    return name.removesuffix("_timm").replace("inceptionnext", "inception_next")


def stepper(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Return a call that trains the model by one step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()

    return step


def pair(name: str, batch: int, resolution: int) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """Return ours and timm's network with the same weights, and images; raise where their outputs differ."""
    torch.manual_seed(0)
    theirs = timm.create_model(timm_name(name), pretrained=False)
    ours = build(named(name).arch)
    load_published(ours, name, theirs.state_dict())
    images = torch.randn(batch, 3, resolution, resolution).to(memory_format=torch.channels_last)
    ours, theirs = (m.to(memory_format=torch.channels_last).eval() for m in (ours, theirs))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-3, atol=1e-4)
    return ours.train(), theirs.train(), images


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    args: Any = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    kind = "CPU" if args.threads == 1 else "wall"
    print(f"{kind} ms a step, {args.batch} images of {args.resolution} px, {args.threads} threads")
    print(f"{'model':24} {'ours':>9} {'spread':>7} {'timm':>9} {'spread':>7} {'ratio':>6}")
    for name in args.models:
        ours, theirs, images = pair(name, args.batch, args.resolution)
        labels = torch.zeros(args.batch, dtype=torch.int64)
        times: list[list[float]] = [[], []]
        steps = [stepper(model, images, labels) for model in (ours, theirs)]
        for index in range(args.rounds + 1):
            for step, taken in zip(steps, times, strict=True):
                begin = clock()
                step()
                if index:  # the first round warms up
                    taken.append(1e3 * (clock() - begin))
        median = [statistics.median(taken) for taken in times]
        quarter = [statistics.quantiles(taken, n=4, method="inclusive") for taken in times]
        spread = [q[2] - q[0] for q in quarter]
        figures = f"{median[0]:9.1f} {spread[0]:7.1f} {median[1]:9.1f} {spread[1]:7.1f} {median[1] / median[0]:6.2f}"
        print(f"{name:24} {figures}", flush=True)


if __name__ == "__main__":
    main()
