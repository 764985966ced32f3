"""DeiT: patches in a row behind class tokens, other sizes, distilled, as a backbone; and what does not fit together."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from space.arch import Architecture, Block, Stage
from space.build import build
from space.counting import cost, counted
from space.heads import ClassTokenHead, LinearHead
from space.mixers.attention import Attention
from space.models.deit import KEYS
from space.named import load_published, named
from space.stems import EmbeddedPatches, Patchify, PatchSequence

BLOCK = Block(token_mixer=Attention(head_width=4, bias=True))


def small(tokens: int = 1, **changes: Any) -> Architecture:
    values: dict[str, Any] = {
        "stem": PatchSequence(patch=4, class_tokens=tokens, grid=3),
        "stages": (Stage(width=8, depth=2, pattern=(BLOCK,)),),
        "head": ClassTokenHead(class_tokens=max(tokens, 1)),
        "classes": 5,
    }
    return Architecture.model_validate(values | changes)


def test_the_map_is_the_tokens_then_the_patches_row_by_row() -> None:
    torch.manual_seed(0)
    stem = PatchSequence(patch=4, class_tokens=2, grid=3).build(3, 8)
    assert isinstance(stem, EmbeddedPatches)
    x = torch.randn(2, 3, 12, 12)
    y = stem(x)
    assert y.shape == (2, 8, 2 + 9, 1)
    patches = F.conv2d(x, stem.conv.weight, stem.conv.bias, stride=4)
    torch.testing.assert_close(y[:, :, 2 + 5, 0], patches[:, :, 1, 2] + stem.position[2 + 5])
    torch.testing.assert_close(y[0, :, 1, 0], stem.token[1] + stem.position[1])


def test_other_sizes_read_the_positions_between() -> None:
    stem = PatchSequence(patch=4, class_tokens=1, grid=3).build(1, 8)
    assert isinstance(stem, EmbeddedPatches)
    torch.nn.init.zeros_(stem.conv.weight)
    ramp = torch.arange(3.0).repeat(3)  # grows along the columns
    with torch.no_grad():
        stem.position[1:] = ramp[:, None]
    wide = stem(torch.zeros(1, 1, 12, 24))[0, 0, 1:, 0].reshape(3, 6)
    assert (wide.diff(dim=1) > 0).all()
    torch.testing.assert_close(wide, wide[:1].expand(3, -1))
    model = build(small())
    assert model(torch.randn(2, 3, 20, 8)).shape == (2, 5)


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_cost_is_what_counting_finds(tokens: int) -> None:
    arch = small(tokens) if tokens else small(0, head=LinearHead())
    assert cost(arch, (12, 20)) == counted(build(arch), (1, 3, 12, 20)).cost


def test_distilled_networks_answer_by_the_mean_of_both_heads() -> None:
    torch.manual_seed(0)
    model = build(small(2)).eval()
    x = torch.randn(2, 3, 12, 12)
    first, second = (model.head.norm(model.forward_features(x))[:, :, i, 0] for i in range(2))
    expected = (model.head.fcs[0](first) + model.head.fcs[1](second)) / 2
    torch.testing.assert_close(model(x), expected)


def test_both_tokens_load_from_their_published_keys() -> None:
    name = "deit_tiny_distilled_patch16_224"
    model = build(named(name).arch)
    own = {key: torch.rand(tensor.shape) for key, tensor in model.state_dict().items()}
    state = {KEYS.publish(key): tensor for key, tensor in own.items()}
    both = state.pop("cls_token")
    state |= {"cls_token": both[None, :1], "dist_token": both[None, 1:], "pos_embed": state["pos_embed"][None]}
    assert load_published(model, name, state) == "authors"
    torch.testing.assert_close(model.state_dict()["stem.token"], both)


def test_as_a_backbone_its_patches_are_a_map_again() -> None:
    model = build(small(2), features=True).eval()
    assert model.feature_info.reduction() == [4]
    x = torch.randn(2, 3, 12, 20)
    (found,) = model(x)
    assert found.shape == (2, 8, 3, 5)
    row = model.stage0(model.stem(x))
    torch.testing.assert_close(found[:, :, 1, 2], row[:, :, 2 + 7, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": Patchify()}, "head: 'class_token_head' reads 1 class tokens, the stem 'patchify' writes 0"),
        ({"head": ClassTokenHead(class_tokens=2)}, "reads 2 class tokens, the stem 'patch_sequence' writes 1"),
        (
            {
                "stages": [
                    {"width": 8, "depth": 1, "pattern": [BLOCK]},
                    {"width": 8, "depth": 1, "pattern": [BLOCK], "downsample": {"kind": "strided_conv"}},
                ]
            },
            "stem: 'patch_sequence' lays the patches in a row, which no downsampler halves",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        small(**changes)
