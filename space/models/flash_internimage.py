"""FlashInternImage (arXiv:2401.06197): InternImage with DCNv4 as token mixer."""

from __future__ import annotations

from typing import Literal

from space.arch import Architecture, Block
from space.channel_mixers.mlp import Mlp
from space.downsamples import StridedConv
from space.heads import ConvHead
from space.keys import KeyFormat
from space.mixers.deformable import Deformable
from space.named import NamedModel, figures, pyramid
from space.norms import LayerNorm, NoNorm
from space.stems import Convolutional

SOURCE = "OpenGVLab/DCNv4@4b848f7 classification/models/flash_intern_image.py"

_BLOCK, _OURS = "levels.{i}.blocks.{j}", "stages.{i}.blocks.{j}"
AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "patch_embed.conv1.{leaf}": "stem.convs.0.{leaf}",
        "patch_embed.norm1.1.{leaf}": "stem.norms.0.{leaf}",
        "patch_embed.conv2.{leaf}": "stem.convs.1.{leaf}",
        "patch_embed.norm2.1.{leaf}": "stem.norms.1.{leaf}",
        f"{_BLOCK}.gamma1": f"{_OURS}.layer_scale1.scale",
        f"{_BLOCK}.gamma2": f"{_OURS}.layer_scale2.scale",
        f"{_BLOCK}.norm1.0.{{leaf}}": f"{_OURS}.norm1.{{leaf}}",
        f"{_BLOCK}.norm2.0.{{leaf}}": f"{_OURS}.norm2.{{leaf}}",
        f"{_BLOCK}.mlp.{{name}}.{{leaf}}": f"{_OURS}.channel_mixer.{{name}}.{{leaf}}",
        f"{_BLOCK}.dcn.offset_mask_dw.{{leaf}}": f"{_OURS}.token_mixer.depthwise.{{leaf}}",
        f"{_BLOCK}.dcn.offset_mask.{{leaf}}": f"{_OURS}.token_mixer.offset_weight.{{leaf}}",
        f"{_BLOCK}.dcn.value_proj.{{leaf}}": f"{_OURS}.token_mixer.project_in.{{leaf}}",
        f"{_BLOCK}.dcn.output_proj.{{leaf}}": f"{_OURS}.token_mixer.project_out.{{leaf}}",
        "levels.{i}.norm.0.{leaf}": "stages.{i}.norm.{leaf}",
        **{f"levels.{i}.downsample.conv.{{leaf}}": f"stages.{i + 1}.downsample.conv.{{leaf}}" for i in range(3)},
        **{f"levels.{i}.downsample.norm.1.{{leaf}}": f"stages.{i + 1}.downsample.norm.{{leaf}}" for i in range(3)},
        "conv_head.0.{leaf}": "head.conv.{leaf}",
        "conv_head.1.0.{leaf}": "head.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
)

_1K, _22K = "IN-1K", "IN-22K"
PUBLISHED = figures(
    "OpenGVLab/DCNv4@4b848f7 README.md",
    {
        "flash_internimage_tiny": [(30, None, 83.6, 224, _1K)],
        "flash_internimage_small": [(50, None, 84.4, 224, _1K)],
        "flash_internimage_base": [(97, None, 84.9, 224, _1K)],
        "flash_internimage_large": [(223, None, 88.1, 384, _22K)],
    },
)

Four = tuple[int, int, int, int]


def _flash(
    size: Literal["tiny", "small", "base", "large"],
    width: int,
    depths: Four,
    offset_scale: float,
    drop_path: float,
    resolution: int = 224,
) -> NamedModel:
    tiny, large = size == "tiny", size == "large"
    mixer = Deformable(
        version=4, offset_scale=offset_scale, softmax=False, offset_kernel=0 if tiny else 3, output_bias=large
    )
    block = Block(
        norm_at="before" if tiny else "after",
        token_mixer=mixer,
        channel_mixer=Mlp(output_bias=large),
        layer_scale=0.0 if tiny else 1e-5,
    )
    downsample = StridedConv(kernel_size=3, norm_at="after", bias=False)
    stages = pyramid([width << stage for stage in range(4)], depths, [block] * 4, downsample)
    norm = LayerNorm() if tiny else NoNorm()
    arch = Architecture(
        stem=Convolutional(),
        stages=tuple(stage.model_copy(update={"norm": norm}) for stage in stages),
        head=ConvHead(),
        init="fan_in_convs",
    )
    name = f"flash_internimage_{size}"
    keys, published = (AUTHORS_KEYS,), PUBLISHED[name]
    return NamedModel(name, "FlashInternImage", arch, SOURCE, keys, resolution, drop_path, published=published)


MODELS = (
    _flash("tiny", 64, (4, 4, 18, 4), 1.0, 0.1),
    _flash("small", 80, (4, 4, 21, 4), 1.0, 0.4),
    _flash("base", 112, (4, 4, 21, 4), 0.5, 0.5),
    _flash("large", 160, (5, 5, 22, 5), 2.0, 0.1, 384),
)
