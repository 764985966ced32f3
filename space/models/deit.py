"""DeiT (ICML 2021, arXiv:2012.12877): vision transformers (ViT, arXiv:2010.11929) in three sizes, also distilled."""

from __future__ import annotations

import torch
from torch import Tensor

from space.arch import Architecture, Block, Stage
from space.heads import ClassTokenHead
from space.keys import KeyFormat
from space.mixers.attention import Attention
from space.named import NamedModel, figures
from space.stems import PatchSequence

SOURCE = "facebookresearch/deit@4da6691 models.py"
WIDTHS = {"tiny": 192, "small": 384, "base": 768}
PATCH, BLOCKS = 16, 12


def _tokens_joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the distillation token behind the class token."""
    if "dist_token" not in state or "cls_token" not in state:
        return state
    tokens = torch.cat([state["cls_token"], state["dist_token"]], dim=1)
    return {key: tensor for key, tensor in state.items() if key != "dist_token"} | {"cls_token": tokens}


KEYS = KeyFormat(  # timm's are the authors' own
    "authors",
    {
        "cls_token": "stem.token",
        "pos_embed": "stem.position",
        "patch_embed.proj.{leaf}": "stem.conv.{leaf}",
        "blocks.{j}.attn.{name}.{leaf}": "stages.0.blocks.{j}.token_mixer.{name}.{leaf}",
        "blocks.{j}.mlp.{name}.{leaf}": "stages.0.blocks.{j}.channel_mixer.{name}.{leaf}",
        "blocks.{j}.{name}.{leaf}": "stages.0.blocks.{j}.{name}.{leaf}",
        "norm.{leaf}": "head.norm.{leaf}",
        "head.{leaf}": "head.fcs.0.{leaf}",
        "head_dist.{leaf}": "head.fcs.1.{leaf}",
    },
    _tokens_joined,
)

_1K = "IN-1K"
_TIMM = "huggingface/pytorch-image-models@aa4b5850 results/benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv"
PUBLISHED = figures(
    f"facebookresearch/deit@4da6691 README_deit.md; MACs: {_TIMM}",
    {
        "deit_tiny_patch16_224": [(5, 1.26, 72.2, 224, _1K)],
        "deit_small_patch16_224": [(22, 4.61, 79.9, 224, _1K)],
        "deit_base_patch16_224": [(86, 17.58, 81.8, 224, _1K)],
    },
) | figures(
    "facebookresearch/deit@4da6691 README_deit.md",
    {
        "deit_base_patch16_384": [(87, None, 82.9, 384, _1K)],
        "deit_tiny_distilled_patch16_224": [(6, None, 74.5, 224, _1K)],
        "deit_small_distilled_patch16_224": [(22, None, 81.2, 224, _1K)],
        "deit_base_distilled_patch16_224": [(87, None, 83.4, 224, _1K)],
        "deit_base_distilled_patch16_384": [(88, None, 85.2, 384, _1K)],
    },
)


def _deit(size: str, *, distilled: bool, resolution: int) -> NamedModel:
    tokens = 1 + distilled
    block = Block(token_mixer=Attention(head_width=64, bias=True))
    arch = Architecture(
        stem=PatchSequence(patch=PATCH, class_tokens=tokens, grid=resolution // PATCH),
        stages=(Stage(width=WIDTHS[size], depth=BLOCKS, pattern=(block,)),),
        head=ClassTokenHead(class_tokens=tokens),
        init="fan_in_convs",  # the authors leave the convolution as PyTorch starts it
    )
    name = f"deit_{size}{'_distilled' * distilled}_patch{PATCH}_{resolution}"
    return NamedModel(name, "DeiT", arch, SOURCE, (KEYS,), resolution, drop_path=0.1, published=PUBLISHED[name])


MODELS = tuple(
    _deit(size, distilled=distilled, resolution=resolution)
    for distilled in (False, True)
    for size, resolution in (("tiny", 224), ("small", 224), ("base", 224), ("base", 384))
)
