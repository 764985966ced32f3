"""HorNet (NeurIPS 2022, arXiv:2207.14284): gates within gates, over 7x7 kernels or over filters of whole maps."""

from __future__ import annotations

from space.arch import Architecture, Block
from space.downsamples import StridedConv
from space.families import TokenMixer
from space.gates.recursive import RecursiveGate
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.depthwise_conv import DepthwiseConv
from space.mixers.gated import Gated
from space.mixers.global_local_filter import GlobalLocal
from space.named import NamedModel, figures, pyramid
from space.stems import Patchify

SOURCE = "raoyongming/HorNet@ac9e210 hornet.py"
README = "raoyongming/HorNet@ac9e210 README.md"

AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "downsample_layers.0.0.{leaf}": "stem.conv.{leaf}",
        "downsample_layers.0.1.{leaf}": "stem.norm.{leaf}",
        "downsample_layers.{i}.0.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "downsample_layers.{i}.1.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "stages.{i}.{j}.gamma{k}": "stages.{i}.blocks.{j}.layer_scale{k}.scale",
        "stages.{i}.{j}.gnconv.proj_in.{leaf}": "stages.{i}.blocks.{j}.token_mixer.project_in.{leaf}",
        "stages.{i}.{j}.gnconv.proj_out.{leaf}": "stages.{i}.blocks.{j}.token_mixer.project_out.{leaf}",
        "stages.{i}.{j}.gnconv.pws.{k}.{leaf}": "stages.{i}.blocks.{j}.token_mixer.gate.widen.{k}.{leaf}",
        "stages.{i}.{j}.gnconv.dwconv.complex_weight": "stages.{i}.blocks.{j}.token_mixer.context.spectrum",
        "stages.{i}.{j}.gnconv.dwconv.dw.{leaf}": "stages.{i}.blocks.{j}.token_mixer.context.local.{leaf}",
        "stages.{i}.{j}.gnconv.dwconv.pre_norm.{leaf}": "stages.{i}.blocks.{j}.token_mixer.context.norm1.{leaf}",
        "stages.{i}.{j}.gnconv.dwconv.post_norm.{leaf}": "stages.{i}.blocks.{j}.token_mixer.context.norm2.{leaf}",
        "stages.{i}.{j}.gnconv.dwconv.{leaf}": "stages.{i}.blocks.{j}.token_mixer.context.conv.{leaf}",
        "stages.{i}.{j}.pwconv{k}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.fc{k}.{leaf}",
        "stages.{i}.{j}.{name}.{leaf}": "stages.{i}.blocks.{j}.{name}.{leaf}",
        "norm.{leaf}": "head.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
)

PUBLISHED = {
    **figures(
        README,
        {
            "hornet_tiny_7x7": [(22, 4.0, 82.8, 224, "IN-1K")],
            "hornet_tiny_gf": [(23, 3.9, 83.0, 224, "IN-1K")],
            "hornet_small_7x7": [(50, 8.8, 83.8, 224, "IN-1K")],
            "hornet_small_gf": [(50, 8.7, 84.0, 224, "IN-1K")],
            "hornet_base_7x7": [(87, 15.6, 84.2, 224, "IN-1K")],
            "hornet_base_gf": [(88, 15.5, 84.3, 224, "IN-1K")],
        },
    ),
    # weights and parameters are those with the head of the pre-training. Its classes are not told; all three agree with
    # 10450, which is what ImageNet-21K of winter 2021 has after processing (arXiv:2104.10972)
    **figures(
        README,
        {
            "hornet_large_7x7": [(209, 34.8, None, 224, "IN-22K")],
            "hornet_large_gf": [(211, 34.7, None, 224, "IN-22K")],
            "hornet_large_gf_img384": [(216, 101.8, None, 384, "IN-22K")],
        },
        classes=10450,
    ),
}

SIZES = {"tiny": (64, 0.2), "small": (96, 0.4), "base": (128, 0.5), "large": (192, 0.2)}
"""Width of the first stage and drop path; that of the large ones in training on ImageNet-22K."""
DEPTHS = (2, 3, 18, 2)


def _contexts(form: str, resolution: int) -> list[TokenMixer]:
    """What mixes positions in each stage; filters, in the last two, are as large as the spectra of their maps."""
    if form == "7x7":
        return [DepthwiseConv()] * 4
    sides = (resolution // 16, resolution // 32)
    filters = (GlobalLocal(height=side, width=side // 2 + 1) for side in sides)
    return [DepthwiseConv(), DepthwiseConv(), *filters]


def _hornet(size: str, form: str, resolution: int = 224) -> NamedModel:
    width, drop_path = SIZES[size]
    blocks = [
        Block(token_mixer=Gated(context=context, gate=RecursiveGate(order=order)), layer_scale=1e-6)
        for order, context in enumerate(_contexts(form, resolution), start=2)
    ]
    widths = [width << stage for stage in range(4)]
    stages = pyramid(widths, DEPTHS, blocks, StridedConv())
    arch = Architecture(stem=Patchify(), stages=stages, head=LinearHead())
    name = f"hornet_{size}_{form}" + (f"_img{resolution}" if resolution != 224 else "")
    keys, published = (AUTHORS_KEYS,), PUBLISHED.get(name, ())
    return NamedModel(name, "HorNet", arch, SOURCE, keys, resolution, drop_path, published=published)


MODELS = (
    *(_hornet(size, form) for size in SIZES for form in ("7x7", "gf")),
    # filters of another size are another function
    _hornet("base", "gf", 384),
    _hornet("large", "gf", 384),
)
