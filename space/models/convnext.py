"""ConvNeXt (CVPR 2022, arXiv:2201.03545), its isotropic form, and small-kernel forms published with InceptionNeXt."""

from __future__ import annotations

from space.arch import Architecture, Block, Stage
from space.downsamples import StridedConv
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.depthwise_conv import DepthwiseConv
from space.named import NamedModel, figures, pyramid
from space.norms import NoNorm
from space.stems import Patchify

CONVNEXT = "facebookresearch/ConvNeXt@048efce models/convnext.py"
ISOTROPIC = "facebookresearch/ConvNeXt@048efce models/convnext_isotropic.py"
INCEPTION = "sail-sg/inceptionnext@3f9769c models/convnext.py"
TIMM = "timm 1.0.31 models/convnext.py"

AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "downsample_layers.0.0.{leaf}": "stem.conv.{leaf}",
        "downsample_layers.0.1.{leaf}": "stem.norm.{leaf}",
        "downsample_layers.{i}.0.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "downsample_layers.{i}.1.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "stages.{i}.{j}.gamma": "stages.{i}.blocks.{j}.layer_scale.scale",
        "stages.{i}.{j}.dwconv.{leaf}": "stages.{i}.blocks.{j}.token_mixer.conv.{leaf}",
        "stages.{i}.{j}.dwconv.conv.{leaf}": "stages.{i}.blocks.{j}.token_mixer.conv.{leaf}",
        "stages.{i}.{j}.norm.{leaf}": "stages.{i}.blocks.{j}.norm.{leaf}",
        "stages.{i}.{j}.pwconv1.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.fc1.{leaf}",
        "stages.{i}.{j}.pwconv2.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.fc2.{leaf}",
        "norm.{leaf}": "head.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
)
ISOTROPIC_KEYS = KeyFormat(
    "authors",
    {
        "stem.{leaf}": "stem.conv.{leaf}",
        "blocks.{j}.gamma": "stages.0.blocks.{j}.layer_scale.scale",
        "blocks.{j}.dwconv.{leaf}": "stages.0.blocks.{j}.token_mixer.conv.{leaf}",
        "blocks.{j}.norm.{leaf}": "stages.0.blocks.{j}.norm.{leaf}",
        "blocks.{j}.pwconv1.{leaf}": "stages.0.blocks.{j}.channel_mixer.fc1.{leaf}",
        "blocks.{j}.pwconv2.{leaf}": "stages.0.blocks.{j}.channel_mixer.fc2.{leaf}",
        "norm.{leaf}": "head.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
)
TIMM_KEYS = KeyFormat(
    "timm",
    {
        "stem.0.{leaf}": "stem.conv.{leaf}",
        "stem.1.{leaf}": "stem.norm.{leaf}",
        "stages.{i}.downsample.0.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "stages.{i}.downsample.1.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "stages.{i}.blocks.{j}.gamma": "stages.{i}.blocks.{j}.layer_scale.scale",
        "stages.{i}.blocks.{j}.conv_dw.{leaf}": "stages.{i}.blocks.{j}.token_mixer.conv.{leaf}",
        "stages.{i}.blocks.{j}.norm.{leaf}": "stages.{i}.blocks.{j}.norm.{leaf}",
        "stages.{i}.blocks.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
        "head.norm.{leaf}": "head.norm.{leaf}",
        "head.fc.{leaf}": "head.fc.{leaf}",
    },
)

_1K, _22K = "IN-1K", "IN-22K"
PUBLISHED = {
    **figures(
        "facebookresearch/ConvNeXt@048efce README.md",
        {
            "convnext_tiny": [(28, 4.5, 82.1, 224, _1K), (29, 4.5, 82.9, 224, _22K), (29, 13.1, 84.1, 384, _22K)],
            "convnext_small": [(50, 8.7, 83.1, 224, _1K), (50, 8.7, 84.6, 224, _22K), (50, 25.5, 85.8, 384, _22K)],
            "convnext_base": [
                (89, 15.4, 83.8, 224, _1K),
                (89, 45.0, 85.1, 384, _1K),
                (89, 15.4, 85.8, 224, _22K),
                (89, 47.0, 86.8, 384, _22K),
            ],
            "convnext_large": [
                (198, 34.4, 84.3, 224, _1K),
                (198, 101.0, 85.5, 384, _1K),
                (198, 34.4, 86.6, 224, _22K),
                (198, 101.0, 87.5, 384, _22K),
            ],
            "convnext_xlarge": [(350, 60.9, 87.0, 224, _22K), (350, 179.0, 87.8, 384, _22K)],
            "convnext_isotropic_small": [(22, 4.3, 78.7, 224, _1K)],
            "convnext_isotropic_base": [(87, 16.9, 82.0, 224, _1K)],
            "convnext_isotropic_large": [(306, 59.7, 82.6, 224, _1K)],
        },
    ),
    **figures(
        "sail-sg/inceptionnext@3f9769c README.md",
        {
            "convnext_atto": [(3.7, 0.55, 75.7, 224, _1K)],
            "convnext_tiny_k5": [(29, 4.4, 82.0, 224, _1K)],
            "convnext_tiny_k3": [(28, 4.4, 81.5, 224, _1K)],
            "convnext_tiny_k3_par1_2": [(28, 4.4, 81.4, 224, _1K)],
            "convnext_tiny_k3_par3_8": [(28, 4.4, 81.4, 224, _1K)],
            "convnext_tiny_k3_par1_4": [(28, 4.4, 81.3, 224, _1K)],
            "convnext_tiny_k3_par1_8": [(28, 4.4, 80.8, 224, _1K)],
            "convnext_tiny_k3_par1_16": [(28, 4.4, 80.1, 224, _1K)],
        },
    ),
}

Four = tuple[int, int, int, int]


def _convnext(
    name: str, depths: Four, widths: Four, drop_path: float, source: str = CONVNEXT, mixer: DepthwiseConv | None = None
) -> NamedModel:
    block = Block(wiring="metanext", token_mixer=mixer or DepthwiseConv(), layer_scale=1e-6)
    arch = Architecture(stem=Patchify(), stages=pyramid(widths, depths, [block] * 4, StridedConv()), head=LinearHead())
    keys = (AUTHORS_KEYS, TIMM_KEYS)
    return NamedModel(name, "ConvNeXt", arch, source, keys, drop_path=drop_path, published=PUBLISHED.get(name, ()))


def _isotropic(name: str, depth: int, width: int, drop_path: float, layer_scale: float) -> NamedModel:
    block = Block(wiring="metanext", token_mixer=DepthwiseConv(), layer_scale=layer_scale)
    stage = Stage(width=width, depth=depth, pattern=(block,))
    arch = Architecture(stem=Patchify(patch=16, norm=NoNorm()), stages=(stage,), head=LinearHead())
    keys = (ISOTROPIC_KEYS,)
    return NamedModel(name, "ConvNeXt", arch, ISOTROPIC, keys, drop_path=drop_path, published=PUBLISHED[name])


def _tiny(suffix: str, mixer: DepthwiseConv) -> NamedModel:
    return _convnext(f"convnext_tiny_{suffix}", (3, 3, 9, 3), (96, 192, 384, 768), 0.1, INCEPTION, mixer)


MODELS = (
    _convnext("convnext_atto", (2, 2, 6, 2), (40, 80, 160, 320), 0.0, TIMM),
    _convnext("convnext_femto", (2, 2, 6, 2), (48, 96, 192, 384), 0.0, TIMM),
    _convnext("convnext_pico", (2, 2, 6, 2), (64, 128, 256, 512), 0.0, TIMM),
    _convnext("convnext_nano", (2, 2, 8, 2), (80, 160, 320, 640), 0.0, TIMM),
    _convnext("convnext_tiny", (3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    _convnext("convnext_small", (3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    _convnext("convnext_base", (3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
    _convnext("convnext_large", (3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
    _convnext("convnext_xlarge", (3, 3, 27, 3), (256, 512, 1024, 2048), 0.0),
    # the published training passes no layer scale for small and base, and leaves the default of 1e-6 for large
    _isotropic("convnext_isotropic_small", 18, 384, 0.1, 0.0),
    _isotropic("convnext_isotropic_base", 18, 768, 0.2, 0.0),
    _isotropic("convnext_isotropic_large", 36, 1024, 0.5, 1e-6),
    _tiny("k5", DepthwiseConv(kernel_size=5)),
    _tiny("k3", DepthwiseConv(kernel_size=3)),
    _tiny("k3_par1_2", DepthwiseConv(kernel_size=3, ratio=1 / 2)),
    _tiny("k3_par3_8", DepthwiseConv(kernel_size=3, ratio=3 / 8)),
    _tiny("k3_par1_4", DepthwiseConv(kernel_size=3, ratio=1 / 4)),
    _tiny("k3_par1_8", DepthwiseConv(kernel_size=3, ratio=1 / 8)),
    _tiny("k3_par1_16", DepthwiseConv(kernel_size=3, ratio=1 / 16)),
)
