"""A state-space and a deformable network found by a search, against other token mixers of equal MACs.

    python benchmarks/kernel_types.py [--data fashion-mnist] [--budget 40] [--images 20000] [--seeds 3]

`nas search` looks for networks whose blocks are either state-space models or deformable kernels. The most accurate of
each kind is trained anew under a longer recipe, beside two networks that differ from it in the token mixer alone
(Inception kernels as in InceptionNeXt, and self-attention), their widths scaled to the same MACs. Printed are the mean
accuracy on validation images over the seeds and its range, MACs, and the latency of a forward pass of one image on one
thread, with its ratio to the network with Inception kernels.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from space import Architecture, build, cost, describe
from space.families import TokenMixer
from space.mixers.attention import Attention
from space.mixers.deformable import Deformable
from space.mixers.inception_depthwise import Inception
from trials.data import ImageData, load_data
from trials.latency import measure_latency
from trials.store import Store
from trials.training import PROXY_RECIPE, fit

SPACE = """
resolution: 32
let:
  mixer:
    one_of:
      state_space:
        one_of:
          - {kind: selective_scan, ratio: {one_of: [1.0, 2.0]}, states: {one_of: [1, 4, 16]}}
          - {kind: mamba, ratio: {one_of: [1.0, 2.0]}, route: {one_of: [rows, columns]}}
          - {kind: s4d, states: 16, route: {one_of: [rows, columns]}}
      deformable:
        one_of:
          - {kind: deformable, version: 3, group_width: 8, softmax: {one_of: [true, false]}}
          - {kind: deformable, version: 4, group_width: 8, softmax: false, offset_kernel: {one_of: [0, 3]}}
  channel_mixer: {kind: mlp, ratio: {one_of: [2.0, 3.0, 4.0]}}
stem: {kind: convolutional}
stages:
  - &stage
    width: {int_range: [16, 40], step: 8}
    depth: {int_range: [1, 2]}
    pattern: [{token_mixer: {use: mixer}, channel_mixer: {use: channel_mixer}}]
  - <<: *stage
    width: {int_range: [32, 80], step: 16}
    downsample: {kind: strided_conv}
  - <<: *stage
    width: {int_range: [64, 160], step: 32}
    downsample: {kind: strided_conv}
"""
SIDE = 32
PEERS: dict[str, TokenMixer] = {"Inception kernels": Inception(), "self-attention": Attention(head_width=16)}


def searched(data: str, budget: int, folder: Path) -> list[tuple[float, Architecture]]:
    """Return accuracy and point of the trials of a search."""
    (folder / "space.yaml").write_text(SPACE)
    store = f"sqlite:///{folder / 'nas.db'}"
    command = ["search", "--space", folder / "space.yaml", "--budget", budget, "--data", data, "--train-as", "full"]
    command += ["--store", store, "--study", "kernels"]
    subprocess.run([sys.executable, "-m", "nas", *map(str, command)], check=True, cwd=folder)
    opened = Store.open(store)
    rows = opened.trials(opened.study("kernels").id, state="complete")
    return [(row.values["accuracy"], Architecture.model_validate_json(row.arch_json)) for row in rows]


def with_mixer(arch: Architecture, mixer: TokenMixer, macs: int) -> Architecture:
    """Return the point with that token mixer everywhere, its widths scaled to come next to `macs`."""

    def scaled(factor: float) -> Architecture:
        stages = tuple(
            stage.model_copy(
                update={
                    "width": max(8, round(stage.width * factor / 8) * 8),
                    "pattern": tuple(b.model_copy(update={"token_mixer": mixer}) for b in stage.pattern),
                }
            )
            for stage in arch.stages
        )
        return arch.model_copy(update={"stages": stages})

    candidates = [scaled(percent / 100) for percent in range(40, 301)]
    return min(candidates, key=lambda found: abs(cost(found, SIDE).macs - macs))


def compared(best: Architecture, name: str) -> Iterator[tuple[str, Architecture]]:
    """Yield the network found and its peers of equal MACs."""
    yield name, best
    for peer, mixer in PEERS.items():
        yield peer, with_mixer(best, mixer, cost(best, SIDE).macs)


def trained(arch: Architecture, data: ImageData, images: int, seeds: int) -> list[float]:
    """Return the validation accuracy in percent for each seed."""
    recipe = PROXY_RECIPE.model_copy(update={"images": images, "augment": "light"})
    accuracies: list[float] = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        accuracies.append(100 * fit(build(arch), data, recipe, seed=seed, threads=1)["accuracy"])
    return accuracies


def main() -> None:
    """Search, then print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    args: Any = parser.parse_args()
    data = load_data(args.data, resolution=SIDE)
    with tempfile.TemporaryDirectory() as folder:
        found = searched(args.data, args.budget, Path(folder))
    print(f"{data.name}, {args.images} training images seen, {args.seeds} seeds, {SIDE} px; latency: 1 image, 1 thread")
    print("network              accuracy  range  params    MACs   latency  spread  ratio")
    for name, deformable in (("state space", False), ("deformable", True)):
        ours = [
            pair for pair in found if isinstance(pair[1].stages[0].pattern[0].token_mixer, Deformable) == deformable
        ]
        best = max(ours, key=lambda pair: pair[0])[1]
        print(f"  {name}, best of {len(ours)}: {describe(best)}")
        lines: list[tuple[str, str, float]] = []
        for label, arch in compared(best, name):
            accuracies, counts = trained(arch, data, args.images, args.seeds), cost(arch, SIDE)
            latency = measure_latency(build(arch), (1, arch.in_channels, SIDE, SIDE), repeats=100)
            spread = max(accuracies) - min(accuracies)
            figures = f"{statistics.mean(accuracies):7.2f}% {spread:6.2f} {counts.params / 1e3:6.0f}k"
            times = f"{latency.value:6.2f} ms {latency.spread or 0:4.2f} ms"
            lines.append((label, f"{figures} {counts.macs / 1e6:6.2f}M {times}", latency.value))
        for label, text, value in lines:
            print(f"{label:20} {text} {value / lines[1][2]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
