"""MetaFormer baselines (TPAMI 2024, arXiv:2210.13452): Identity-, Rand-, PoolFormerV2, ConvFormer, CAFormer."""

from __future__ import annotations

from space.arch import Architecture, Block
from space.channel_mixers.mlp import Mlp
from space.downsamples import StridedConv
from space.families import Norm, TokenMixer
from space.heads import LinearHead, MlpHead
from space.keys import KeyFormat
from space.mixers.attention import Attention
from space.mixers.identity import Identity
from space.mixers.pool import Pool
from space.mixers.random_mixing import RandomMixing
from space.mixers.separable_conv import SeparableConv
from space.named import NamedModel, Published, figures, pyramid
from space.norms import GroupNorm, LayerNorm
from space.stems import OverlappingPatch

SOURCE = "sail-sg/metaformer@64c534a metaformer_baselines.py"
TIMM = "timm 1.0.31 models/metaformer.py"

AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "downsample_layers.0.conv.{leaf}": "stem.conv.{leaf}",
        "downsample_layers.0.post_norm.{leaf}": "stem.norm.{leaf}",
        "downsample_layers.{i}.pre_norm.{leaf}": "stages.{i}.downsample.norm.{leaf}",
        "downsample_layers.{i}.conv.{leaf}": "stages.{i}.downsample.conv.{leaf}",
        "stages.{i}.{j}.token_mixer.random_matrix": "stages.{i}.blocks.{j}.token_mixer.random_matrix",
        "stages.{i}.{j}.token_mixer.pwconv1.{leaf}": "stages.{i}.blocks.{j}.token_mixer.pointwise1.{leaf}",
        "stages.{i}.{j}.token_mixer.act1.{leaf}": "stages.{i}.blocks.{j}.token_mixer.act.{leaf}",
        "stages.{i}.{j}.token_mixer.dwconv.{leaf}": "stages.{i}.blocks.{j}.token_mixer.depthwise.{leaf}",
        "stages.{i}.{j}.token_mixer.pwconv2.{leaf}": "stages.{i}.blocks.{j}.token_mixer.pointwise2.{leaf}",
        "stages.{i}.{j}.token_mixer.{name}.{leaf}": "stages.{i}.blocks.{j}.token_mixer.{name}.{leaf}",
        "stages.{i}.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
        "stages.{i}.{j}.{name}.{leaf}": "stages.{i}.blocks.{j}.{name}.{leaf}",
        "norm.{leaf}": "head.norm.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
        "head.norm.{leaf}": "head.inner_norm.{leaf}",
        "head.{name}.{leaf}": "head.{name}.{leaf}",
    },
)
TIMM_KEYS = KeyFormat(
    "timm",
    {
        "stem.{name}.{leaf}": "stem.{name}.{leaf}",
        "stages.{i}.downsample.{name}.{leaf}": "stages.{i}.downsample.{name}.{leaf}",
        "stages.{i}.blocks.{j}.token_mixer.pwconv1.{leaf}": "stages.{i}.blocks.{j}.token_mixer.pointwise1.{leaf}",
        "stages.{i}.blocks.{j}.token_mixer.act1.{leaf}": "stages.{i}.blocks.{j}.token_mixer.act.{leaf}",
        "stages.{i}.blocks.{j}.token_mixer.dwconv.{leaf}": "stages.{i}.blocks.{j}.token_mixer.depthwise.{leaf}",
        "stages.{i}.blocks.{j}.token_mixer.pwconv2.{leaf}": "stages.{i}.blocks.{j}.token_mixer.pointwise2.{leaf}",
        "stages.{i}.blocks.{j}.token_mixer.{name}.{leaf}": "stages.{i}.blocks.{j}.token_mixer.{name}.{leaf}",
        "stages.{i}.blocks.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
        "stages.{i}.blocks.{j}.{name}.{leaf}": "stages.{i}.blocks.{j}.{name}.{leaf}",
        "head.norm.{leaf}": "head.norm.{leaf}",
        "head.fc.{leaf}": "head.fc.{leaf}",
        "head.fc.norm.{leaf}": "head.inner_norm.{leaf}",
        "head.fc.{name}.{leaf}": "head.{name}.{leaf}",
    },
)

_1K, _21K = "IN-1K", "IN-21K"
PUBLISHED = figures(
    "sail-sg/metaformer@64c534a README.md",
    {
        "identityformer_s12": [(11.9, 1.8, 74.6, 224, _1K)],
        "identityformer_s24": [(21.3, 3.4, 78.2, 224, _1K)],
        "identityformer_s36": [(30.8, 5.0, 79.3, 224, _1K)],
        "identityformer_m36": [(56.1, 8.8, 80.0, 224, _1K)],
        "identityformer_m48": [(73.3, 11.5, 80.4, 224, _1K)],
        "randformer_s12": [(11.9, 1.9, 76.6, 224, _1K)],
        "randformer_s24": [(21.3, 3.5, 78.2, 224, _1K)],
        "randformer_s36": [(30.8, 5.2, 79.5, 224, _1K)],
        "randformer_m36": [(56.1, 9.0, 81.2, 224, _1K)],
        "randformer_m48": [(73.3, 11.9, 81.4, 224, _1K)],
        "poolformerv2_s12": [(11.9, 1.8, 78.0, 224, _1K)],
        "poolformerv2_s24": [(21.3, 3.4, 80.7, 224, _1K)],
        "poolformerv2_s36": [(30.8, 5.0, 81.6, 224, _1K)],
        "poolformerv2_m36": [(56.1, 8.8, 82.2, 224, _1K)],
        "poolformerv2_m48": [(73.3, 11.5, 82.6, 224, _1K)],
        "convformer_s18": [
            (27, 3.9, 83.0, 224, _1K),
            (27, 11.6, 84.4, 384, _1K),
            (27, 3.9, 83.7, 224, _21K),
            (27, 11.6, 85.0, 384, _21K),
        ],
        "convformer_s36": [
            (40, 7.6, 84.1, 224, _1K),
            (40, 22.4, 85.4, 384, _1K),
            (40, 7.6, 85.4, 224, _21K),
            (40, 22.4, 86.4, 384, _21K),
        ],
        "convformer_m36": [
            (57, 12.8, 84.5, 224, _1K),
            (57, 37.7, 85.6, 384, _1K),
            (57, 12.8, 86.1, 224, _21K),
            (57, 37.7, 86.9, 384, _21K),
        ],
        "convformer_b36": [
            (100, 22.6, 84.8, 224, _1K),
            (100, 66.5, 85.7, 384, _1K),
            (100, 22.6, 87.0, 224, _21K),
            (100, 66.5, 87.6, 384, _21K),
        ],
        "caformer_s18": [
            (26, 4.1, 83.6, 224, _1K),
            (26, 13.4, 85.0, 384, _1K),
            (26, 4.1, 84.1, 224, _21K),
            (26, 13.4, 85.4, 384, _21K),
        ],
        "caformer_s36": [
            (39, 8.0, 84.5, 224, _1K),
            (39, 26.0, 85.7, 384, _1K),
            (39, 8.0, 85.8, 224, _21K),
            (39, 26.0, 86.9, 384, _21K),
        ],
        "caformer_m36": [
            (56, 13.2, 85.2, 224, _1K),
            (56, 42.0, 86.2, 384, _1K),
            (56, 13.2, 86.6, 224, _21K),
            (56, 42.0, 87.5, 384, _21K),
        ],
        "caformer_b36": [
            (99, 23.2, 85.5, 224, _1K),
            (99, 72.2, 86.4, 384, _1K),
            (99, 23.2, 87.4, 224, _21K),
            (99, 72.2, 88.1, 384, _21K),
        ],
    },
)

Four = tuple[int, int, int, int]

SMALL, MEDIUM, BASE = (64, 128, 320, 512), (96, 192, 384, 576), (128, 256, 512, 768)
PLAIN = {  # depths, widths and drop path; RandFormer-M48 has 0.3
    "s12": ((2, 2, 6, 2), SMALL, 0.1),
    "s24": ((4, 4, 12, 4), SMALL, 0.1),
    "s36": ((6, 6, 18, 6), SMALL, 0.2),
    "m36": ((6, 6, 18, 6), (96, 192, 384, 768), 0.3),
    "m48": ((8, 8, 24, 8), (96, 192, 384, 768), 0.4),
}
HYBRID = {  # depths, widths, drop path of ConvFormer and of CAFormer, head dropout of CAFormer
    "s18": ((3, 3, 9, 3), SMALL, 0.2, 0.15, 0.0),
    "s36": ((3, 12, 18, 3), SMALL, 0.3, 0.3, 0.4),
    "m36": ((3, 12, 18, 3), MEDIUM, 0.4, 0.4, 0.4),
    "b36": ((3, 12, 18, 3), BASE, 0.6, 0.6, 0.5),
}
UNBIASED = LayerNorm(bias=False)


def _arch(depths: Four, widths: Four, mixers: list[TokenMixer], norm: Norm, head: LinearHead | MlpHead) -> Architecture:
    mlp = Mlp(act="star_relu", bias=False)
    blocks = [
        Block(norm=norm, token_mixer=mixer, channel_mixer=mlp, residual_scale=stage >= 2)
        for stage, mixer in enumerate(mixers)
    ]
    downsample = StridedConv(kernel_size=3, norm=UNBIASED)
    return Architecture(
        stem=OverlappingPatch(norm=UNBIASED), stages=pyramid(widths, depths, blocks, downsample), head=head
    )


def _plain(family: str, mixers: list[TokenMixer]) -> list[NamedModel]:
    norm = GroupNorm(eps=1e-6, bias=False)
    models: list[NamedModel] = []
    for size, (depths, widths, drop_path) in PLAIN.items():
        name = f"{family}_{size}"
        arch = _arch(depths, widths, mixers, norm, LinearHead())
        rate = 0.3 if name == "randformer_m48" else drop_path
        keys = (AUTHORS_KEYS, TIMM_KEYS)
        models.append(NamedModel(name, "MetaFormer", arch, SOURCE, keys, drop_path=rate, published=PUBLISHED[name]))
    return models


def _hybrid(family: str, mixers: list[TokenMixer]) -> list[NamedModel]:
    """ConvFormer or CAFormer, each also as timm's function: its MLP head's norm has eps 1e-6, the authors' 1e-5."""
    models: list[NamedModel] = []
    for size, (depths, widths, conv_rate, attention_rate, dropout) in HYBRID.items():
        attends = family == "caformer"
        rates = (attention_rate, dropout) if attends else (conv_rate, 0.0)
        variants: list[tuple[str, str, float, tuple[Published, ...], tuple[int, ...]]] = [
            (f"{family}_{size}", SOURCE, 1e-5, PUBLISHED[f"{family}_{size}"], ()),
            (f"{family}_{size}_timm", TIMM, 1e-6, (), (384,)),
        ]
        for name, source, eps, published, inputs in variants:
            arch = _arch(depths, widths, mixers, UNBIASED, MlpHead(inner_norm=LayerNorm(eps=eps)))
            keys = (AUTHORS_KEYS, TIMM_KEYS)
            models.append(NamedModel(name, "MetaFormer", arch, source, keys, 224, *rates, published, inputs))
    return models


MODELS = (
    *_plain("identityformer", [Identity()] * 4),
    *_plain("randformer", [Identity(), Identity(), RandomMixing(tokens=14 * 14), RandomMixing(tokens=7 * 7)]),
    *_plain("poolformerv2", [Pool()] * 4),
    *_hybrid("convformer", [SeparableConv()] * 4),
    *_hybrid("caformer", [SeparableConv(), SeparableConv(), Attention(), Attention()]),
)
