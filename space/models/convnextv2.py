"""ConvNeXt V2 (CVPR 2023, arXiv:2301.00808): ConvNeXt with response normalisation instead of layer scale."""

from __future__ import annotations

from space.arch import Architecture, Block
from space.channel_mixers.grn_mlp import GrnMlp
from space.downsamples import StridedConv
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.depthwise_conv import DepthwiseConv
from space.named import NamedModel, figures, pyramid
from space.stems import Patchify

SOURCE = "facebookresearch/ConvNeXt-V2@2553895 models/convnextv2.py"
TIMM = "timm 1.0.31 models/convnext.py"

AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "downsample_layers.0.0.{leaf}": "stem.conv.{leaf}",
        "downsample_layers.0.1.{leaf}": "stem.norm.{leaf}",
        "downsample_layers.{i}.0.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "downsample_layers.{i}.1.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "stages.{i}.{j}.dwconv.{leaf}": "stages.{i}.blocks.{j}.token_mixer.conv.{leaf}",
        "stages.{i}.{j}.norm.{leaf}": "stages.{i}.blocks.{j}.norm.{leaf}",
        "stages.{i}.{j}.pwconv1.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.fc1.{leaf}",
        "stages.{i}.{j}.pwconv2.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.fc2.{leaf}",
        "stages.{i}.{j}.grn.gamma": "stages.{i}.blocks.{j}.channel_mixer.grn.weight",
        "stages.{i}.{j}.grn.beta": "stages.{i}.blocks.{j}.channel_mixer.grn.bias",
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
        "stages.{i}.blocks.{j}.conv_dw.{leaf}": "stages.{i}.blocks.{j}.token_mixer.conv.{leaf}",
        "stages.{i}.blocks.{j}.norm.{leaf}": "stages.{i}.blocks.{j}.norm.{leaf}",
        "stages.{i}.blocks.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
        "head.norm.{leaf}": "head.norm.{leaf}",
        "head.fc.{leaf}": "head.fc.{leaf}",
    },
)

_1K, _22K = "IN-1K FCMAE (self-supervised)", "IN-1K FCMAE + IN-22K"
PUBLISHED = figures(
    "facebookresearch/ConvNeXt-V2@2553895 README.md",
    {
        "convnextv2_atto": [(3.7, 0.55, 76.7, 224, _1K)],
        "convnextv2_femto": [(5.2, 0.78, 78.5, 224, _1K)],
        "convnextv2_pico": [(9.1, 1.37, 80.3, 224, _1K)],
        "convnextv2_nano": [(15.6, 2.45, 81.9, 224, _1K), (15.6, 2.45, 82.1, 224, _22K), (15.6, 7.21, 83.4, 384, _22K)],
        "convnextv2_tiny": [(28.6, 4.47, 83.0, 224, _1K), (28.6, 4.47, 83.9, 224, _22K), (28.6, 13.1, 85.1, 384, _22K)],
        "convnextv2_base": [(89, 15.4, 84.9, 224, _1K), (89, 15.4, 86.8, 224, _22K), (89, 45.2, 87.7, 384, _22K)],
        "convnextv2_large": [(198, 34.4, 85.8, 224, _1K), (198, 34.4, 87.3, 224, _22K), (198, 101.1, 88.2, 384, _22K)],
        "convnextv2_huge": [(660, 115, 86.3, 224, _1K), (660, 337.9, 88.7, 384, _22K), (660, 600.8, 88.9, 512, _22K)],
    },
)

Four = tuple[int, int, int, int]


def _convnextv2(name: str, depths: Four, widths: Four, drop_path: float = 0.0, source: str = SOURCE) -> NamedModel:
    block = Block(wiring="metanext", token_mixer=DepthwiseConv(), channel_mixer=GrnMlp())
    arch = Architecture(stem=Patchify(), stages=pyramid(widths, depths, [block] * 4, StridedConv()), head=LinearHead())
    keys, published = (AUTHORS_KEYS, TIMM_KEYS), PUBLISHED.get(name, ())
    return NamedModel(name, "ConvNeXt-V2", arch, source, keys, drop_path=drop_path, published=published)


MODELS = (
    _convnextv2("convnextv2_atto", (2, 2, 6, 2), (40, 80, 160, 320), 0.1),
    _convnextv2("convnextv2_femto", (2, 2, 6, 2), (48, 96, 192, 384)),
    _convnextv2("convnextv2_pico", (2, 2, 6, 2), (64, 128, 256, 512)),
    _convnextv2("convnextv2_nano", (2, 2, 8, 2), (80, 160, 320, 640)),
    _convnextv2("convnextv2_tiny", (3, 3, 9, 3), (96, 192, 384, 768), 0.2),
    _convnextv2("convnextv2_small", (3, 3, 27, 3), (96, 192, 384, 768), source=TIMM),
    _convnextv2("convnextv2_base", (3, 3, 27, 3), (128, 256, 512, 1024), 0.1),
    _convnextv2("convnextv2_large", (3, 3, 27, 3), (192, 384, 768, 1536)),
    _convnextv2("convnextv2_huge", (3, 3, 27, 3), (352, 704, 1408, 2816)),
)
