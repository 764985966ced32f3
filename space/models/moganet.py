"""MogaNet (ICLR 2024, arXiv:2211.03295): contexts of several orders, gated, and channels re-weighed in the MLP.

With `attn_force_fp32`, as for the weights of OpenMixup, the authors' code applies both SiLUs of the gate twice. That is
another function, which is not here, and neither is the accuracy published for it.
"""

from __future__ import annotations

from space.arch import Architecture, Block, Stage
from space.channel_mixers.depthwise_mlp import DepthwiseMlp
from space.downsamples import StridedConv
from space.gates.silu import SiluGate
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.gated import Gated
from space.mixers.multi_order import MultiOrder
from space.named import NamedModel, figures, pyramid
from space.norms import BatchNorm, NoNorm
from space.stems import Convolutional

SOURCE = "Westlake-AI/MogaNet@386b548 models/moganet.py"


_ATTENTION, _MIXER = "blocks{i+1}.{j}.attn", "stages.{i}.blocks.{j}.token_mixer"
_MLP, _CHANNELS = "blocks{i+1}.{j}.mlp", "stages.{i}.blocks.{j}.channel_mixer"
AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "patch_embed1.projection.0.{leaf}": "stem.convs.0.{leaf}",
        "patch_embed1.projection.1.{leaf}": "stem.norms.0.{leaf}",
        "patch_embed1.projection.3.{leaf}": "stem.convs.1.{leaf}",
        "patch_embed1.projection.4.{leaf}": "stem.norms.1.{leaf}",
        "patch_embed{i+1}.projection.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "patch_embed{i+1}.norm.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "blocks{i+1}.{j}.layer_scale_{k}": "stages.{i}.blocks.{j}.layer_scale{k}.scale",
        f"{_ATTENTION}.proj_1.{{leaf}}": f"{_MIXER}.project_in.{{leaf}}",
        f"{_ATTENTION}.proj_2.{{leaf}}": f"{_MIXER}.project_out.{{leaf}}",
        f"{_ATTENTION}.gate.{{leaf}}": f"{_MIXER}.gate.project.{{leaf}}",
        f"{_ATTENTION}.value.DW_conv0.{{leaf}}": f"{_MIXER}.context.low.{{leaf}}",
        f"{_ATTENTION}.value.DW_conv1.{{leaf}}": f"{_MIXER}.context.middle.{{leaf}}",
        f"{_ATTENTION}.value.DW_conv2.{{leaf}}": f"{_MIXER}.context.high.{{leaf}}",
        f"{_ATTENTION}.value.PW_conv.{{leaf}}": f"{_MIXER}.mix.{{leaf}}",
        f"{_ATTENTION}.sigma.scale": f"{_MIXER}.decompose.scale",
        f"{_MLP}.dwconv.{{leaf}}": f"{_CHANNELS}.depthwise.{{leaf}}",
        f"{_MLP}.decompose.{{leaf}}": f"{_CHANNELS}.aggregation.gather.{{leaf}}",
        f"{_MLP}.sigma.scale": f"{_CHANNELS}.aggregation.scale",
        f"{_MLP}.{{name}}.{{leaf}}": f"{_CHANNELS}.{{name}}.{{leaf}}",
        "blocks{i+1}.{j}.{name}.{leaf}": "stages.{i}.blocks.{j}.{name}.{leaf}",
        "norm{i+1}.{leaf}": "stages.{i}.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
)

PUBLISHED = figures(
    "Westlake-AI/MogaNet@386b548 README.md",
    {
        "moganet_xtiny": [(2.97, 0.80, 76.5, 224, "IN-1K"), (2.97, 1.04, 77.2, 256, "IN-1K")],
        "moganet_tiny": [(5.20, 1.10, 79.0, 224, "IN-1K"), (5.20, 1.44, 79.6, 256, "IN-1K")],
        "moganet_small": [(25.3, 4.97, 83.4, 224, "IN-1K")],
        "moganet_base": [(43.9, 9.93, 84.3, 224, "IN-1K")],
        "moganet_large": [(82.5, 15.9, 84.7, 224, "IN-1K")],
        "moganet_xlarge": [(180.8, 34.5, 85.1, 224, "IN-1K")],
    },
)

Four = tuple[int, int, int, int]

SIZES: dict[str, tuple[Four, Four, float]] = {  # depths, widths, drop path
    "xtiny": ((3, 3, 10, 2), (32, 64, 96, 192), 0.05),
    "tiny": ((3, 3, 12, 2), (32, 64, 128, 256), 0.1),
    "small": ((2, 3, 12, 2), (64, 128, 320, 512), 0.1),
    "base": ((4, 6, 22, 3), (64, 160, 320, 512), 0.2),
    "large": ((4, 6, 44, 4), (64, 160, 320, 640), 0.3),
    "xlarge": ((6, 6, 44, 4), (96, 192, 480, 960), 0.4),
}
RATIOS = (8.0, 8.0, 4.0, 4.0)


def _stages(depths: Four, widths: Four) -> tuple[Stage, ...]:
    mixer = Gated(context=MultiOrder(), gate=SiluGate(), mix_context=True, act="silu", decompose=True, shortcut=True)
    blocks = [
        Block(
            norm=BatchNorm(),
            token_mixer=mixer,
            channel_mixer=DepthwiseMlp(ratio=ratio, aggregate=True),
            layer_scale=1e-5,
        )
        for ratio in RATIOS
    ]
    downsample = StridedConv(kernel_size=3, norm=BatchNorm(), norm_at="after")
    return pyramid(widths, depths, blocks, downsample, norm=BatchNorm())


def _moganet(size: str) -> NamedModel:
    depths, widths, drop_path = SIZES[size]
    arch = Architecture(
        stem=Convolutional(norm=BatchNorm()),
        stages=_stages(depths, widths),
        head=LinearHead(norm=NoNorm()),
        init="fan_out",
    )
    name, keys = f"moganet_{size}", (AUTHORS_KEYS,)
    return NamedModel(name, "MogaNet", arch, SOURCE, keys, drop_path=drop_path, published=PUBLISHED[name])


MODELS = tuple(_moganet(size) for size in SIZES)
