"""Accuracy of crossings of published token mixers against their parents, under one recipe in one skeleton.

    python benchmarks/crossings.py [--data fashion-mnist] [--images 20000] [--seeds 3] [--threads 1]

Every network has the same stem, widths, depths, norms, channel mixers and head, and only another token mixer. The mean
validation accuracy over the seeds and its range are printed beside parameters, MACs and CPU seconds of a training; a
crossing's line names its parents and the difference to the better one. Trainings that diverge are counted, and left
out of the mean.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import time
from typing import Any

import torch
from pydantic import TypeAdapter

from space import Architecture, Block, Stage, build, cost
from space.channel_mixers.mlp import Mlp
from space.downsamples import NoDownsample, StridedConv
from space.families import TokenMixer
from space.norms import BatchNorm
from space.stems import Convolutional
from trials.data import load_data
from trials.training import PROXY_RECIPE, TrainingFailed, fit

_VAN = {"kind": "gated", "gate": {"kind": "identity"}, "mix_context": True, "act": "gelu", "shortcut": True}
_MOGA = _VAN | {"gate": {"kind": "silu"}, "act": "silu", "decompose": True}
_FOCAL = {"kind": "gated", "gate": {"kind": "linear"}, "mix_context": True}
_HORNET = {"kind": "gated", "gate": {"kind": "recursive"}}
FOCAL, MULTI = {"kind": "focal"}, {"kind": "multi_order"}
DILATED, INCEPTION, BANDS = {"kind": "dilated_reparam"}, {"kind": "inception_depthwise"}, {"kind": "band_kernels"}

PARENTS: dict[str, dict[str, Any]] = {
    "VAN": _VAN | {"context": {"kind": "large_kernel_attention"}},
    "MogaNet": _MOGA | {"context": MULTI},
    "FocalNet": _FOCAL | {"context": FOCAL},
    "HorNet": _HORNET | {"context": {"kind": "depthwise_conv"}},
    "UniRepLKNet": DILATED,
    "InceptionNeXt": INCEPTION,
    "SLaK": BANDS,
}
CROSSINGS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "focal context, MogaNet's gate": (_MOGA | {"context": FOCAL}, ("FocalNet", "MogaNet")),
    "multi-order context, FocalNet's gate": (_FOCAL | {"context": MULTI}, ("MogaNet", "FocalNet")),
    "dilated kernel, VAN's gate": (_VAN | {"context": DILATED}, ("UniRepLKNet", "VAN")),
    "bands, VAN's gate": (_VAN | {"context": BANDS}, ("SLaK", "VAN")),
    "inception kernels, HorNet's gate": (_HORNET | {"context": INCEPTION}, ("InceptionNeXt", "HorNet")),
    "focal context, HorNet's gate": (_HORNET | {"context": FOCAL}, ("FocalNet", "HorNet")),
}


def network(mixer: dict[str, Any], channels: int, classes: int) -> Architecture:
    """Return the skeleton with that token mixer."""
    block = Block(
        norm=BatchNorm(), token_mixer=TypeAdapter[Any](TokenMixer).validate_python(mixer), channel_mixer=Mlp(ratio=3)
    )
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            pattern=(block,),
            downsample=StridedConv(norm=BatchNorm()) if index else NoDownsample(),
        )
        for index, (width, depth) in enumerate(((32, 1), (64, 2), (128, 2)))
    )
    stem = Convolutional(norm=BatchNorm())
    return Architecture(stem=stem, stages=stages, in_channels=channels, classes=classes)


def main() -> None:
    """Print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args: Any = parser.parse_args()
    data = load_data(args.data, resolution=32)
    recipe = PROXY_RECIPE.model_copy(update={"images": args.images, "augment": "light"})
    print(f"{data.name}, {args.images} training images seen, {args.seeds} seeds, 32 px")
    print(f"{'token mixer':38} {'accuracy':>8} {'range':>6} {'params':>8} {'MACs':>7} {'CPU s':>6}")
    means: dict[str, float] = {}
    for name, mixer in [*PARENTS.items(), *((name, mixer) for name, (mixer, _) in CROSSINGS.items())]:
        arch = network(mixer, data.channels, len(data.classes))
        found: list[float] = []
        begin = time.process_time()
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            with contextlib.suppress(TrainingFailed):
                found.append(100 * fit(build(arch), data, recipe, seed=seed, threads=args.threads)["accuracy"])
        seconds = (time.process_time() - begin) / args.seeds
        found = found or [math.nan]
        means[name], counts = statistics.mean(found), cost(arch, 32)
        figures = f"{means[name]:7.2f}% {max(found) - min(found):6.2f} {counts.params / 1e3:7.0f}k"
        failed = args.seeds - sum(map(math.isfinite, found))
        parents = CROSSINGS[name][1] if name in CROSSINGS else ()
        against = f"  {means[name] - max(means[p] for p in parents):+.2f} to {' and '.join(parents)}" if parents else ""
        lost = f"  {failed} diverged" if failed else ""
        print(f"{name:38} {figures} {counts.macs / 1e6:6.2f}M {seconds:6.1f}{against}{lost}", flush=True)


if __name__ == "__main__":
    main()
