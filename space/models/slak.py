"""SLaK (ICLR 2023, arXiv:2207.03620): bands of up to 51 x 5 that cross, in a ConvNeXt; and ConvNeXts from its code.

SLaKs are published at 40 % sparsity: of the weights of two and more dimensions 40 % are 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from space.arch import Architecture, Block
from space.downsamples import StridedConv
from space.families import TokenMixer
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.band_kernels import Bands
from space.mixers.reparam_large_kernel import ReparamLargeKernel
from space.named import NamedModel, figures, pyramid
from space.stems import Patchify

SOURCE = "VITA-Group/SLaK@44b4aab models/SLaK.py"
DISTILLED = "VITA-Group/SLaK@44b4aab main_KD.py"

_SHARED = {
    "downsample_layers.0.0.{leaf}": "stem.conv.{leaf}",
    "downsample_layers.0.1.{leaf}": "stem.norm.{leaf}",
    "downsample_layers.{i}.0.{leaf}": "stages.{i}.downsample.norm.{leaf}",
    "downsample_layers.{i}.1.{leaf}": "stages.{i}.downsample.conv.{leaf}",
    "stages.{i}.{j}.gamma": "stages.{i}.blocks.{j}.layer_scale.scale",
    "stages.{i}.{j}.norm.{leaf}": "stages.{i}.blocks.{j}.norm.{leaf}",
    "stages.{i}.{j}.pwconv1.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.fc1.{leaf}",
    "stages.{i}.{j}.pwconv2.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.fc2.{leaf}",
    "norm.{leaf}": "head.norm.{leaf}",
    "head.{leaf}": "head.fc.{leaf}",
}


def _branches(**names: str) -> dict[str, str]:
    rows: dict[str, str] = {}
    for theirs, ours in names.items():
        there, here = f"stages.{{i}}.{{j}}.large_kernel.{theirs}", f"stages.{{i}}.blocks.{{j}}.token_mixer.{ours}"
        rows |= {f"{there}.conv.weight": f"{here}.conv.weight", f"{there}.bn.{{leaf}}": f"{here}.norm.{{leaf}}"}
    return rows


BAND_KEYS = KeyFormat("authors", _SHARED | _branches(LoRA1="upright", LoRA2="lying", small_conv="square"))
SQUARE_KEYS = KeyFormat("authors", _SHARED | _branches(lkb_origin="large", small_conv="small"))
MERGED_KEYS = KeyFormat(
    "authors-merged",
    _SHARED | {"stages.{i}.{j}.large_kernel.lkb_reparam.{leaf}": "stages.{i}.blocks.{j}.token_mixer.conv.{leaf}"},
)

_1K = "IN-1K"
_README = "VITA-Group/SLaK@44b4aab README.md"
PUBLISHED = {
    **figures(
        _README,
        {
            "slak_tiny": [(30, 5.0, 82.5, 224, _1K)],
            "slak_small": [(55, 9.8, 83.8, 224, _1K)],
            "slak_base": [(95, 17.1, 84.0, 224, _1K)],
        },
        sparsity=0.4,
    ),
    **figures(
        _README,
        {
            "convnext_tiny_l2s": [(29, 4.5, 83.1, 224, "IN-1K, distilled from SLaK-T")],
            "convnext_small_l2s": [(50, 8.7, 84.3, 224, "IN-1K, distilled from SLaK-S")],
        },
    ),
}

Four = tuple[int, int, int, int]
SIZES: dict[str, tuple[Four, Four, float]] = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
}
"""Depths, widths before the factor, and drop path of the published trainings."""
WIDER = 1.3
"""What SLaK multiplies widths by, so that 60 % of its weights are as many as a ConvNeXt's."""


def _network(size: str, mixers: Sequence[TokenMixer], factor: float = 1.0) -> Architecture:
    depths, widths, _ = SIZES[size]
    blocks = [Block(wiring="metanext", token_mixer=mixer, layer_scale=1e-6) for mixer in mixers]
    stages = pyramid([int(width * factor) for width in widths], depths, blocks, StridedConv())
    return Architecture(stem=Patchify(), stages=stages, head=LinearHead())


def _slak(size: str) -> NamedModel:
    name, mixers = f"slak_{size}", [Bands(kernel_size=kernel) for kernel in (51, 49, 47, 13)]
    arch, drop_path = _network(size, mixers, WIDER), SIZES[size][2]
    return NamedModel(name, "SLaK", arch, SOURCE, (BAND_KEYS,), drop_path=drop_path, published=PUBLISHED[name])


def _with_replknet_kernels(size: str) -> NamedModel:
    """Return what SLaK is compared with: the kernels of RepLKNet-31 in a ConvNeXt, whole and dense."""
    arch = _network(size, [ReparamLargeKernel(kernel_size=kernel) for kernel in (31, 29, 27, 13)])
    keys, drop_path = (SQUARE_KEYS, MERGED_KEYS), SIZES[size][2]
    return NamedModel(f"convnext_{size}_31_29_27_13", "SLaK", arch, SOURCE, keys, drop_path=drop_path)


def _distilled(size: str) -> NamedModel:
    """Return a student of large-to-small distillation (arXiv:2305.19412): ConvNeXt with a norm after each kernel."""
    name, mixers = f"convnext_{size}_l2s", [ReparamLargeKernel(kernel_size=7, small_kernel=0)] * 4
    arch, keys = _network(size, mixers), (SQUARE_KEYS, MERGED_KEYS)
    return NamedModel(name, "SLaK", arch, DISTILLED, keys, drop_path=0.1, published=PUBLISHED[name])


MODELS = (
    *(_slak(size) for size in SIZES),
    *(_with_replknet_kernels(size) for size in SIZES),
    *(_distilled(size) for size in ("tiny", "small")),
)
