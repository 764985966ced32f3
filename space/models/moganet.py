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


def _leads_in(stage: int) -> dict[str, str]:
    if stage:
        return {
            f"patch_embed{stage + 1}.projection.{{leaf}}": f"stages.{stage}.downsample.conv.{{leaf}}",
            f"patch_embed{stage + 1}.norm.{{leaf}}": f"stages.{stage}.downsample.norm.{{leaf}}",
        }
    layers = {0: "convs.0", 1: "norms.0", 3: "convs.1", 4: "norms.1"}
    return {f"patch_embed1.projection.{theirs}.{{leaf}}": f"stem.{ours}.{{leaf}}" for theirs, ours in layers.items()}


def _authors_stage(stage: int) -> dict[str, str]:
    """Each stage has three names of its own there, numbered from 1: patch_embed, blocks and norm."""
    blocks, ours = f"blocks{stage + 1}.{{j}}", f"stages.{stage}.blocks.{{j}}"
    mixer, mlp = f"{ours}.token_mixer", f"{ours}.channel_mixer"
    return {
        **_leads_in(stage),
        f"{blocks}.layer_scale_{{k}}": f"{ours}.layer_scale{{k}}.scale",
        f"{blocks}.attn.proj_1.{{leaf}}": f"{mixer}.project_in.{{leaf}}",
        f"{blocks}.attn.proj_2.{{leaf}}": f"{mixer}.project_out.{{leaf}}",
        f"{blocks}.attn.gate.{{leaf}}": f"{mixer}.gate.project.{{leaf}}",
        f"{blocks}.attn.value.DW_conv0.{{leaf}}": f"{mixer}.context.low.{{leaf}}",
        f"{blocks}.attn.value.DW_conv1.{{leaf}}": f"{mixer}.context.middle.{{leaf}}",
        f"{blocks}.attn.value.DW_conv2.{{leaf}}": f"{mixer}.context.high.{{leaf}}",
        f"{blocks}.attn.value.PW_conv.{{leaf}}": f"{mixer}.mix.{{leaf}}",
        f"{blocks}.attn.sigma.scale": f"{mixer}.decompose.scale",
        f"{blocks}.mlp.dwconv.{{leaf}}": f"{mlp}.depthwise.{{leaf}}",
        f"{blocks}.mlp.decompose.{{leaf}}": f"{mlp}.aggregation.gather.{{leaf}}",
        f"{blocks}.mlp.sigma.scale": f"{mlp}.aggregation.scale",
        f"{blocks}.mlp.{{name}}.{{leaf}}": f"{mlp}.{{name}}.{{leaf}}",
        f"{blocks}.{{name}}.{{leaf}}": f"{ours}.{{name}}.{{leaf}}",
        f"norm{stage + 1}.{{leaf}}": f"stages.{stage}.norm.{{leaf}}",
    }


AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        **_authors_stage(0),
        **_authors_stage(1),
        **_authors_stage(2),
        **_authors_stage(3),
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
