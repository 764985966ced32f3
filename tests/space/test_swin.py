"""Swin: attention within windows against all pairs written out, maps that windows do not fill, both key layouts."""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from space.arch import Architecture, Block, Stage
from space.build import build, on_meta, parameters
from space.cost import Size
from space.counting import cost
from space.downsamples import NoDownsample, PatchMerging
from space.heads import LinearHead
from space.mixers.window_attention import WindowAttention, WindowedAttention
from space.models.swin import AUTHORS_KEYS, NORM, TIMM_KEYS
from space.named import load_published, model_names, named
from space.stems import Patchify

SWINS = [name for name in model_names() if name.startswith("swin_")]


def of_all_pairs(module: WindowedAttention, x: Tensor, window: int, shift: int) -> Tensor:
    """Attention between all positions of the map, pairs of different windows masked."""
    height, width = x.shape[2:]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    marks: list[Tensor] = []
    for axis, side in enumerate((height, width)):
        wide, moved = (window, shift) if side > window else (side, 0)
        length = -(-side // wide) * wide
        marks += [((places[:, axis] - moved) % length) // wide, (places[:, axis] < moved).long()]
    together = torch.stack([mark[:, None] == mark for mark in marks]).all(0)
    apart = places[:, None] - places + window - 1
    inside = apart.clamp(0, 2 * window - 2)
    bias = module.bias[inside[..., 0] * (2 * window - 1) + inside[..., 1]].permute(2, 0, 1)
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = module.qkv(tokens).unflatten(2, (3, module.heads, -1)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias
    mixed = scores.masked_fill(~together, float("-inf")).softmax(-1) @ v
    return module.proj(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(8, 12), (7, 9), (4, 4), (3, 10), (1, 5), (9, 2)], ids=str)
def test_windows_are_all_pairs_with_a_mask(size: Size, shifted: bool) -> None:
    torch.manual_seed(0)
    module = WindowAttention(window=4, shifted=shifted, head_width=6).build(12).double()
    assert isinstance(module, WindowedAttention)
    torch.nn.init.normal_(module.bias)
    x = torch.randn(2, 12, *size, dtype=torch.float64)
    expected = of_all_pairs(module, x, 4, 2 if shifted else 0)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-12)
    with torch.no_grad():  # by PyTorch's own attention
        torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-12)


def narrow(window: int) -> Architecture:
    blocks = tuple(
        Block(norm=NORM, token_mixer=WindowAttention(window=window, shifted=s, head_width=4)) for s in (False, True)
    )
    stages = tuple(
        Stage(width=8 << i, depth=2, pattern=blocks, downsample=PatchMerging(norm=NORM) if i else NoDownsample())
        for i in range(3)
    )
    head = LinearHead(norm=NORM, norm_at="before_pool")
    return Architecture(stem=Patchify(norm=NORM), stages=stages, head=head, classes=7)


def test_a_narrow_one_computes_what_timm_does() -> None:
    torch.manual_seed(0)
    theirs = SwinTransformer(
        img_size=64, window_size=4, embed_dim=8, depths=(2, 2, 2), num_heads=(2, 4, 8), num_classes=7
    ).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    ours = build(narrow(4)).double()
    state = theirs.state_dict()
    ours.load_state_dict({TIMM_KEYS.native(key) or key: tensor for key, tensor in state.items()})
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-9, atol=1e-9)
    # maps of 16, 8 and 4 positions a side: shifted, shifted, one window


def test_the_authors_layout_holds_tables_and_masks_too() -> None:
    name = "swin_tiny_patch4_window7_224"
    own = {key: torch.rand(t.shape) for key, t in on_meta(named(name).arch).state_dict().items()}
    state = {AUTHORS_KEYS.publish(key): tensor for key, tensor in own.items()}
    assert "layers.0.downsample.reduction.weight" in state
    state |= {
        "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49),
        "layers.0.blocks.1.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.long),
    }
    model = build(named(name).arch)
    assert load_published(model, name, state) == "authors"
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, own[key])


@pytest.mark.parametrize("name", SWINS)
def test_counts_are_published_ones(name: str) -> None:
    model = named(name)
    found = cost(model.arch, model.resolution)
    assert parameters(on_meta(model.arch)) == found.params
    for figure in model.published:
        assert figure.macs_g is not None
        assert found.macs / 1e9 == pytest.approx(figure.macs_g, rel=0.01, abs=0.06)
