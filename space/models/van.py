"""VAN (arXiv:2202.09741): a large kernel, decomposed, whose output gates the map it was taken from."""

from __future__ import annotations

from space.arch import Architecture, Block, Stage
from space.channel_mixers.depthwise_mlp import DepthwiseMlp
from space.downsamples import StridedConv
from space.gates.identity import IdentityGate
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.gated import Gated
from space.mixers.large_kernel_attention import LargeKernelAttention
from space.named import NamedModel, figures, pyramid
from space.norms import BatchNorm, LayerNorm, NoNorm
from space.stems import OverlappingPatch

SOURCE = "Visual-Attention-Network/VAN-Classification@e19779b models/van.py"


_ATTENTION, _MIXER = "block{i+1}.{j}.attn", "stages.{i}.blocks.{j}.token_mixer"
AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "patch_embed1.proj.{leaf}": "stem.conv.{leaf}",
        "patch_embed1.norm.{leaf}": "stem.norm.{leaf}",
        "patch_embed{i+1}.proj.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "patch_embed{i+1}.norm.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "block{i+1}.{j}.layer_scale_{k}": "stages.{i}.blocks.{j}.layer_scale{k}.scale",
        f"{_ATTENTION}.proj_1.{{leaf}}": f"{_MIXER}.project_in.{{leaf}}",
        f"{_ATTENTION}.proj_2.{{leaf}}": f"{_MIXER}.project_out.{{leaf}}",
        f"{_ATTENTION}.spatial_gating_unit.conv0.{{leaf}}": f"{_MIXER}.context.local.{{leaf}}",
        f"{_ATTENTION}.spatial_gating_unit.conv_spatial.{{leaf}}": f"{_MIXER}.context.dilated.{{leaf}}",
        f"{_ATTENTION}.spatial_gating_unit.conv1.{{leaf}}": f"{_MIXER}.mix.{{leaf}}",
        "block{i+1}.{j}.mlp.dwconv.dwconv.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.depthwise.{leaf}",
        "block{i+1}.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
        "block{i+1}.{j}.{name}.{leaf}": "stages.{i}.blocks.{j}.{name}.{leaf}",
        "norm{i+1}.{leaf}": "stages.{i}.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
)

PUBLISHED = figures(
    "Visual-Attention-Network/VAN-Classification@e19779b README.md",
    {
        "van_b0": [(4.1, 0.9, 75.4, 224, "IN-1K")],
        "van_b1": [(13.9, 2.5, 81.1, 224, "IN-1K")],
        "van_b2": [(26.6, 5.0, 82.8, 224, "IN-1K")],
        "van_b3": [(44.8, 9.0, 83.9, 224, "IN-1K")],
    },
)

Four = tuple[int, int, int, int]

SIZES: dict[str, tuple[Four, Four, float]] = {  # depths, widths, drop path
    "b0": ((3, 3, 5, 2), (32, 64, 160, 256), 0.1),
    "b1": ((2, 2, 4, 2), (64, 128, 320, 512), 0.1),
    "b2": ((3, 3, 12, 3), (64, 128, 320, 512), 0.1),
    "b3": ((3, 5, 27, 3), (64, 128, 320, 512), 0.2),
    "b4": ((3, 6, 40, 3), (64, 128, 320, 512), 0.0),
    "b5": ((3, 3, 24, 3), (96, 192, 480, 768), 0.0),
    "b6": ((6, 6, 90, 6), (96, 192, 384, 768), 0.0),
}
RATIOS = (8.0, 8.0, 4.0, 4.0)


def _stages(depths: Four, widths: Four) -> tuple[Stage, ...]:
    mixer = Gated(context=LargeKernelAttention(), gate=IdentityGate(), mix_context=True, act="gelu", shortcut=True)
    blocks = [
        Block(norm=BatchNorm(), token_mixer=mixer, channel_mixer=DepthwiseMlp(ratio=ratio), layer_scale=1e-2)
        for ratio in RATIOS
    ]
    downsample = StridedConv(kernel_size=3, norm=BatchNorm(), norm_at="after")
    return pyramid(widths, depths, blocks, downsample, norm=LayerNorm())


def _van(size: str) -> NamedModel:
    depths, widths, drop_path = SIZES[size]
    arch = Architecture(
        stem=OverlappingPatch(padding=3, norm=BatchNorm()),
        stages=_stages(depths, widths),
        head=LinearHead(norm=NoNorm()),
        init="fan_out",
    )
    name, keys = f"van_{size}", (AUTHORS_KEYS,)
    published = PUBLISHED.get(name, ())
    return NamedModel(name, "VAN", arch, SOURCE, keys, drop_path=drop_path, published=published)


MODELS = tuple(_van(size) for size in SIZES)
