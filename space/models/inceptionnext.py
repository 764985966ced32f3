"""InceptionNeXt (CVPR 2024, arXiv:2303.16900): ConvNeXt with Inception depthwise convolution and BatchNorm."""

from __future__ import annotations

from space.arch import Architecture, Block
from space.channel_mixers.mlp import Mlp
from space.downsamples import StridedConv
from space.heads import MlpHead
from space.keys import KeyFormat
from space.mixers.inception_depthwise import Inception
from space.named import NamedModel, figures, pyramid
from space.norms import BatchNorm, NoNorm
from space.stems import Patchify

SOURCE = "sail-sg/inceptionnext@3f9769c models/inceptionnext.py"

KEYS = KeyFormat(
    "authors",  # timm's are the same
    {
        "stem.0.{leaf}": "stem.conv.{leaf}",
        "stem.1.{leaf}": "stem.norm.{leaf}",
        "stages.{i}.downsample.0.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "stages.{i}.downsample.1.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "stages.{i}.blocks.{j}.gamma": "stages.{i}.blocks.{j}.layer_scale.scale",
        "stages.{i}.blocks.{j}.token_mixer.dwconv_hw.{leaf}": "stages.{i}.blocks.{j}.token_mixer.square.{leaf}",
        "stages.{i}.blocks.{j}.token_mixer.dwconv_w.{leaf}": "stages.{i}.blocks.{j}.token_mixer.horizontal.{leaf}",
        "stages.{i}.blocks.{j}.token_mixer.dwconv_h.{leaf}": "stages.{i}.blocks.{j}.token_mixer.vertical.{leaf}",
        "stages.{i}.blocks.{j}.norm.{leaf}": "stages.{i}.blocks.{j}.norm.{leaf}",
        "stages.{i}.blocks.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
        "head.norm.{leaf}": "head.inner_norm.{leaf}",
        "head.{name}.{leaf}": "head.{name}.{leaf}",
    },
)

PUBLISHED = figures(
    "sail-sg/inceptionnext@3f9769c README.md",
    {
        "inceptionnext_atto": [(4.2, 0.51, 75.3, 224, "IN-1K")],
        "inceptionnext_tiny": [(28, 4.2, 82.3, 224, "IN-1K")],
        "inceptionnext_small": [(49, 8.4, 83.5, 224, "IN-1K")],
        "inceptionnext_base": [(87, 14.9, 84.0, 224, "IN-1K"), (87, 43.6, 85.2, 384, "IN-1K")],
    },
)

Four = tuple[int, int, int, int]


def _inceptionnext(
    name: str, depths: Four, widths: Four, drop_path: float, mixer: Inception | None = None
) -> NamedModel:
    def block(ratio: float) -> Block:
        return Block(
            wiring="metanext",
            norm=BatchNorm(),
            token_mixer=mixer or Inception(),
            channel_mixer=Mlp(ratio=ratio),
            layer_scale=1e-6,
        )

    arch = Architecture(
        stem=Patchify(norm=BatchNorm()),
        stages=pyramid(widths, depths, [block(4), block(4), block(4), block(3)], StridedConv(norm=BatchNorm())),
        head=MlpHead(ratio=3, act="gelu", norm=NoNorm()),
    )
    return NamedModel(name, "InceptionNeXt", arch, SOURCE, (KEYS,), drop_path=drop_path, published=PUBLISHED[name])


MODELS = (
    _inceptionnext("inceptionnext_atto", (2, 2, 6, 2), (40, 80, 160, 320), 0.1, Inception(ratio=1 / 4, band=9)),
    _inceptionnext("inceptionnext_tiny", (3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    _inceptionnext("inceptionnext_small", (3, 3, 27, 3), (96, 192, 384, 768), 0.3),
    _inceptionnext("inceptionnext_base", (3, 3, 27, 3), (128, 256, 512, 1024), 0.4),
)
