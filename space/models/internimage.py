"""InternImage (CVPR 2023, arXiv:2211.05778): DCNv3 as token mixer, from 30 M to 3 B parameters."""

from __future__ import annotations

from dataclasses import dataclass

from space.arch import Architecture, Block
from space.downsamples import StridedConv
from space.families import Head, Norm
from space.heads import AttentionPoolHead, ConvHead
from space.keys import KeyFormat
from space.mixers.deformable import Deformable
from space.named import NamedModel, figures, pyramid
from space.norms import LayerNorm, NoNorm
from space.stems import Convolutional

SOURCE = "OpenGVLab/InternImage@31c962d classification/models/intern_image.py"
SHRUNKEN = f"{SOURCE}, shrunken; not a published network"

_BLOCK, _OURS = "levels.{i}.blocks.{j}", "stages.{i}.blocks.{j}"
RENAMES = {
    "patch_embed.conv1.{leaf}": "stem.convs.0.{leaf}",
    "patch_embed.norm1.1.{leaf}": "stem.norms.0.{leaf}",
    "patch_embed.conv2.{leaf}": "stem.convs.1.{leaf}",
    "patch_embed.norm2.1.{leaf}": "stem.norms.1.{leaf}",
    f"{_BLOCK}.gamma1": f"{_OURS}.layer_scale1.scale",
    f"{_BLOCK}.gamma2": f"{_OURS}.layer_scale2.scale",
    f"{_BLOCK}.norm1.0.{{leaf}}": f"{_OURS}.norm1.{{leaf}}",
    f"{_BLOCK}.norm2.0.{{leaf}}": f"{_OURS}.norm2.{{leaf}}",
    f"{_BLOCK}.res_post_norm1.0.{{leaf}}": f"{_OURS}.post_norm1.{{leaf}}",
    f"{_BLOCK}.res_post_norm2.0.{{leaf}}": f"{_OURS}.post_norm2.{{leaf}}",
    f"{_BLOCK}.mlp.{{name}}.{{leaf}}": f"{_OURS}.channel_mixer.{{name}}.{{leaf}}",
    f"{_BLOCK}.dcn.dw_conv.0.{{leaf}}": f"{_OURS}.token_mixer.depthwise.{{leaf}}",
    f"{_BLOCK}.dcn.dw_conv.1.1.{{leaf}}": f"{_OURS}.token_mixer.norm.{{leaf}}",
    f"{_BLOCK}.dcn.offset.{{leaf}}": f"{_OURS}.token_mixer.offset.{{leaf}}",
    f"{_BLOCK}.dcn.mask.{{leaf}}": f"{_OURS}.token_mixer.weight.{{leaf}}",
    f"{_BLOCK}.dcn.input_proj.{{leaf}}": f"{_OURS}.token_mixer.project_in.{{leaf}}",
    f"{_BLOCK}.dcn.output_proj.{{leaf}}": f"{_OURS}.token_mixer.project_out.{{leaf}}",
    f"{_BLOCK}.dcn.center_feature_scale_proj_weight": f"{_OURS}.token_mixer.keep.weight",
    f"{_BLOCK}.dcn.center_feature_scale_proj_bias": f"{_OURS}.token_mixer.keep.bias",
    "levels.{i}.norm.0.{leaf}": "stages.{i}.norm.{leaf}",
    **{f"levels.{i}.downsample.conv.{{leaf}}": f"stages.{i + 1}.downsample.conv.{{leaf}}" for i in range(3)},
    **{f"levels.{i}.downsample.norm.1.{{leaf}}": f"stages.{i + 1}.downsample.norm.{{leaf}}" for i in range(3)},
    "conv_head.0.{leaf}": "head.conv.{leaf}",
    "conv_head.1.0.{leaf}": "head.norm.{leaf}",
    "dcnv3_head_x4.0.{leaf}": "head.above.{leaf}",
    "dcnv3_head_x3.{leaf}": "head.below.{leaf}",
    **{
        theirs: f"head.{ours}"
        for short, name in (("q", "query"), ("k", "key"), ("v", "value"))
        for theirs, ours in (
            (f"clip_projector.norm1_{short}.0.{{leaf}}", f"{name}_norm.{{leaf}}"),
            (f"clip_projector.cross_dcn.{short}.{{leaf}}", f"{name}.{{leaf}}"),
            (f"clip_projector.cross_dcn.{short}_bias", f"{name}.bias"),
        )
    },
    "clip_projector.cross_dcn.proj.{leaf}": "head.proj.{leaf}",
    "fc_norm.0.{leaf}": "head.fc_norm.{leaf}",
    "head.{leaf}": "head.fc.{leaf}",
}

_1K, _22K, _JOINT = "IN-1K", "IN-22K", "joint data of 427 M images, then IN-22K"
PUBLISHED = figures(
    "OpenGVLab/InternImage@31c962d README.md",
    {
        "internimage_tiny": [(30, 5, 83.5, 224, _1K)],
        "internimage_small": [(50, 8, 84.2, 224, _1K)],
        "internimage_base": [(97, 16, 84.9, 224, _1K)],
        "internimage_large": [(223, 108, 87.7, 384, _22K)],
        "internimage_xlarge": [(335, 163, 88.0, 384, _22K)],
        "internimage_huge": [(1080, 1478, 89.6, 640, _JOINT)],
        "internimage_giant": [(3000, 2700, 90.1, 512, _JOINT)],
    },
)

Four = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Size:
    """What one size has of its own; `deep` is the form of the two largest, `closed` their norm every so many blocks."""

    width: int
    depths: Four
    norm_at: str
    drop_path: float
    layer_scale: float = 0.0
    offset_scale: float = 1.0
    resolution: int = 224
    deep: bool = False
    group_width: int = 16
    closed: int = 0


SIZES = {
    "tiny": _Size(64, (4, 4, 18, 4), "before", 0.1),
    "small": _Size(80, (4, 4, 21, 4), "after", 0.4, 1e-5),
    "base": _Size(112, (4, 4, 21, 4), "after", 0.5, 1e-5),
    "large": _Size(160, (5, 5, 22, 5), "after", 0.1, 1e-5, 2.0, 384),
    "xlarge": _Size(192, (5, 5, 24, 5), "after", 0.2, 1e-5, 2.0, 384),
    "huge": _Size(320, (6, 6, 32, 6), "both", 0.2, resolution=640, deep=True, group_width=32, closed=6),
    "giant": _Size(512, (2, 2, 48, 4), "after", 0.4, resolution=512, deep=True, group_width=32, closed=6),
    # the mini sizes make the form of the largest two small enough to compare with the authors' code
    "huge_mini": _Size(32, (1, 2, 6, 2), "both", 0.2, deep=True, closed=2),
    "giant_mini": _Size(32, (1, 2, 6, 2), "after", 0.4, deep=True, closed=2),
}


def _blocks(size: _Size) -> list[tuple[Block, ...]]:
    """Return the pattern of each stage; the third's last block is closed by a norm where `closed` says so."""
    mixer = Deformable(
        group_width=size.group_width,
        offset_scale=size.offset_scale,
        offset_kernel=5 if size.deep else 3,
        center_scale=size.deep,
    )
    block = Block.model_validate({"norm_at": size.norm_at, "token_mixer": mixer, "layer_scale": size.layer_scale})
    third = (block,)
    if size.closed:
        third = (*[block] * (size.closed - 1), block.model_copy(update={"closing_norm": LayerNorm()}))
    return [(block,), (block,), third, (block,)]


def _layout(size: _Size) -> KeyFormat:
    closed = range(size.closed - 1, size.depths[2], size.closed) if size.closed else ()
    norms = {
        f"levels.2.post_norms.{n}.0.{{leaf}}": f"stages.2.blocks.{j}.closing_norm.{{leaf}}"
        for n, j in enumerate(closed)
    }
    return KeyFormat("authors", {**norms, **RENAMES})


def _internimage(name: str, size: _Size) -> NamedModel:
    widths = [size.width << stage for stage in range(4)]
    stage_norm: Norm = LayerNorm() if size.norm_at == "before" or size.deep else NoNorm()
    head: Head = AttentionPoolHead() if size.deep else ConvHead()
    downsample = StridedConv(kernel_size=3, norm_at="after", bias=False)
    patterns = _blocks(size)
    stages = pyramid(widths, size.depths, [pattern[0] for pattern in patterns], downsample)
    arch = Architecture(
        stem=Convolutional(),
        stages=tuple(
            stage.model_copy(update={"pattern": pattern, "norm": stage_norm})
            for stage, pattern in zip(stages, patterns, strict=True)
        ),
        head=head,
        init="fan_in_convs",
    )
    published = PUBLISHED.get(name, ())
    source = SOURCE if published else SHRUNKEN
    keys = (_layout(size),)
    return NamedModel(name, "InternImage", arch, source, keys, size.resolution, size.drop_path, published=published)


MODELS = tuple(_internimage(f"internimage_{name}", size) for name, size in SIZES.items())
