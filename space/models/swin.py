"""Swin Transformer (ICCV 2021, arXiv:2103.14030): attention within windows, shifted in every second block."""

from __future__ import annotations

from torch import Tensor

from space.arch import Architecture, Block, Stage
from space.downsamples import NoDownsample, PatchMerging
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.window_attention import WindowAttention
from space.named import NamedModel, figures
from space.norms import LayerNorm
from space.stems import Patchify

SOURCE = "microsoft/Swin-Transformer@005e8ef models/swin_transformer.py"
NORM = LayerNorm(eps=1e-5)

_BLOCK, _OURS = "layers.{i}.blocks.{j}", "stages.{i}.blocks.{j}"
_TO_STAGES = {
    "patch_embed.proj.{leaf}": "stem.conv.{leaf}",
    "patch_embed.norm.{leaf}": "stem.norm.{leaf}",
    f"{_BLOCK}.attn.relative_position_bias_table": f"{_OURS}.token_mixer.bias",
    f"{_BLOCK}.attn.{{name}}.{{leaf}}": f"{_OURS}.token_mixer.{{name}}.{{leaf}}",
    f"{_BLOCK}.mlp.{{name}}.{{leaf}}": f"{_OURS}.channel_mixer.{{name}}.{{leaf}}",
    f"{_BLOCK}.{{name}}.{{leaf}}": f"{_OURS}.{{name}}.{{leaf}}",
    "norm.{leaf}": "head.norm.{leaf}",
}


def _learned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what older checkpoints hold beside the weights and follows from the sizes of windows and maps."""
    return {key: t for key, t in state.items() if not key.endswith(("relative_position_index", "attn_mask"))}


AUTHORS_KEYS = KeyFormat(  # their downsampler closes a stage, ours opens the next
    "authors",
    _TO_STAGES
    | {
        "layers.{i}.downsample.{name}.{leaf}": "stages.{i+1}.downsample.{name}.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
    _learned,
)
TIMM_KEYS = KeyFormat(
    "timm",
    _TO_STAGES
    | {
        "layers.{i}.downsample.{name}.{leaf}": "stages.{i}.downsample.{name}.{leaf}",
        "head.fc.{leaf}": "head.fc.{leaf}",
    },
    _learned,
)

_1K, _22K = "IN-1K", "IN-22K"
PUBLISHED = figures(
    "microsoft/Swin-Transformer@005e8ef README.md",
    {
        "swin_tiny_patch4_window7_224": [(28, 4.5, 81.2, 224, _1K)],
        "swin_small_patch4_window7_224": [(50, 8.7, 83.2, 224, _1K)],
        "swin_base_patch4_window7_224": [(88, 15.4, 83.5, 224, _1K), (88, 15.4, 85.2, 224, _22K)],
        "swin_base_patch4_window12_384": [(88, 47.1, 84.5, 384, _1K), (88, 47.1, 86.4, 384, _22K)],
        "swin_large_patch4_window7_224": [(197, 34.5, 86.3, 224, _22K)],
        "swin_large_patch4_window12_384": [(197, 103.9, 87.3, 384, _22K)],
    },
)

SIZES = {  # width of the first stage, blocks of the third, drop path
    "tiny": (96, 6, 0.2),
    "small": (96, 18, 0.3),
    "base": (128, 18, 0.5),
    "large": (192, 18, 0.2),
}
INPUTS = {"tiny": (224,), "small": (224,), "base": (224, 384), "large": (224, 384)}
WINDOWS = {224: 7, 384: 12}


def _swin(size: str, resolution: int) -> NamedModel:
    width, third, drop_path = SIZES[size]
    window = WINDOWS[resolution]
    pattern = tuple(
        Block(norm=NORM, token_mixer=WindowAttention(window=window, shifted=shifted)) for shifted in (False, True)
    )
    stages = tuple(
        Stage(
            width=width << index,
            depth=depth,
            pattern=pattern,
            downsample=PatchMerging(norm=NORM) if index else NoDownsample(),
        )
        for index, depth in enumerate((2, 2, third, 2))
    )
    arch = Architecture(
        stem=Patchify(norm=NORM),
        stages=stages,
        head=LinearHead(norm=NORM, norm_at="before_pool"),
        init="fan_in_convs",  # the authors leave the convolution as PyTorch starts it
    )
    name = f"swin_{size}_patch4_window{window}_{resolution}"
    keys = (AUTHORS_KEYS, TIMM_KEYS)
    return NamedModel(name, "Swin", arch, SOURCE, keys, resolution, drop_path, published=PUBLISHED[name])


MODELS = tuple(_swin(size, resolution) for size, inputs in INPUTS.items() for resolution in inputs)
