"""PoolFormer (CVPR 2022, arXiv:2111.11418): average pooling as token mixer."""

from __future__ import annotations

from space.arch import Architecture, Block
from space.downsamples import StridedConv
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.pool import Pool
from space.named import NamedModel, figures, pyramid
from space.norms import GroupNorm, NoNorm
from space.stems import OverlappingPatch

SOURCE = "sail-sg/poolformer@0c2a8f5 models/poolformer.py"
TIMM = "timm 1.0.31 models/metaformer.py"


def _authors_stage(stage: int) -> dict[str, str]:
    """Stages and what leads into them share one list there: stage i is network.2i, its downsampling network.2i-1."""
    blocks, ours = f"network.{2 * stage}.{{j}}", f"stages.{stage}.blocks.{{j}}"
    return {
        f"network.{2 * stage - 1}.proj.{{leaf}}": f"stages.{stage}.downsample.conv.{{leaf}}",
        f"{blocks}.layer_scale_1": f"{ours}.layer_scale1.scale",
        f"{blocks}.layer_scale_2": f"{ours}.layer_scale2.scale",
        f"{blocks}.mlp.{{name}}.{{leaf}}": f"{ours}.channel_mixer.{{name}}.{{leaf}}",
        f"{blocks}.{{name}}.{{leaf}}": f"{ours}.{{name}}.{{leaf}}",
    }


AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "patch_embed.proj.{leaf}": "stem.conv.{leaf}",
        **_authors_stage(0),
        **_authors_stage(1),
        **_authors_stage(2),
        **_authors_stage(3),
        "norm.{leaf}": "head.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
)
TIMM_KEYS = KeyFormat(
    "timm",
    {
        "stem.conv.{leaf}": "stem.conv.{leaf}",
        "stages.{i}.downsample.conv.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "stages.{i}.blocks.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
        "stages.{i}.blocks.{j}.{name}.{leaf}": "stages.{i}.blocks.{j}.{name}.{leaf}",
        "head.norm.{leaf}": "head.norm.{leaf}",
        "head.fc.{leaf}": "head.fc.{leaf}",
    },
)

PUBLISHED = figures(
    "sail-sg/poolformer@aa44f87 README.md",
    {
        "poolformer_s12": [(12, 1.8, 77.2, 224, "IN-1K")],
        "poolformer_s24": [(21, 3.4, 80.3, 224, "IN-1K")],
        "poolformer_s36": [(31, 5.0, 81.4, 224, "IN-1K")],
        "poolformer_m36": [(56, 8.8, 82.1, 224, "IN-1K")],
        "poolformer_m48": [(73, 11.6, 82.5, 224, "IN-1K")],
    },
)

SIZES = {  # depths, widths, layer scale, drop path
    "s12": ((2, 2, 6, 2), (64, 128, 320, 512), 1e-5, 0.1),
    "s24": ((4, 4, 12, 4), (64, 128, 320, 512), 1e-5, 0.1),
    "s36": ((6, 6, 18, 6), (64, 128, 320, 512), 1e-6, 0.2),
    "m36": ((6, 6, 18, 6), (96, 192, 384, 768), 1e-6, 0.3),
    "m48": ((8, 8, 24, 8), (96, 192, 384, 768), 1e-6, 0.4),
}
HEADS = {  # timm's function is another: it averages first and normalises the channels of the average
    "": (LinearHead(norm=GroupNorm(), norm_at="before_pool"), SOURCE),
    "_timm": (LinearHead(), TIMM),
}


def _poolformer(size: str, suffix: str) -> NamedModel:
    depths, widths, layer_scale, drop_path = SIZES[size]
    head, source = HEADS[suffix]
    block = Block(norm=GroupNorm(), token_mixer=Pool(), layer_scale=layer_scale)
    downsample = StridedConv(kernel_size=3, norm=NoNorm(), init="fan_in")
    arch = Architecture(
        stem=OverlappingPatch(norm=NoNorm(), init="fan_in"),
        stages=pyramid(widths, depths, [block] * 4, downsample),
        head=head,
    )
    name = f"poolformer_{size}{suffix}"
    keys, published = (AUTHORS_KEYS, TIMM_KEYS), PUBLISHED.get(name, ())
    return NamedModel(name, "PoolFormer", arch, source, keys, drop_path=drop_path, published=published)


MODELS = tuple(_poolformer(size, suffix) for suffix in HEADS for size in SIZES)
