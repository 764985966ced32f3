"""What the layers compute, against plain restatements of their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from space.channel_mixers.glu import Glu
from space.errors import SpaceError
from space.layers import DropPath, Grn, Pointwise, Reducing, Scale, StarReLU, out_size
from space.mixers.attention import Attention
from space.mixers.depthwise_conv import DepthwiseConv
from space.mixers.inception_depthwise import Inception
from space.mixers.pool import Pool
from space.mixers.random_mixing import RandomMixing
from space.norms import GroupNorm, LayerNorm, RmsNorm


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 8, 5, 6, generator=torch.Generator().manual_seed(0))


def test_pointwise_is_a_1x1_convolution(x: Tensor) -> None:
    layer = Pointwise(8, 3)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[:, :, None, None], layer.bias))


def test_star_relu_starts_as_the_squared_relu(x: Tensor) -> None:
    act = StarReLU()
    torch.testing.assert_close(act(x), x.clamp(min=0) ** 2)
    act.scale.data.fill_(2.0)
    act.bias.data.fill_(-1.0)
    torch.testing.assert_close(act(x), 2 * x.clamp(min=0) ** 2 - 1)


def test_grn_is_the_identity_at_first_and_then_its_formula(x: Tensor) -> None:
    grn = Grn(8)
    torch.testing.assert_close(grn(x), x)
    grn.weight.data.normal_()
    grn.bias.data.normal_()
    for image, out in zip(x, grn(x), strict=True):
        norms = torch.stack([channel.norm() for channel in image])
        for c in range(8):
            ratio = norms[c] / (norms.mean() + 1e-6)
            torch.testing.assert_close(out[c], image[c] + grn.weight[c] * image[c] * ratio + grn.bias[c])


def test_grn_of_a_silent_map_has_finite_gradients() -> None:
    x = torch.zeros(1, 4, 3, 3, requires_grad=True)
    Grn(4)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_rms_norm_is_its_formula_and_keeps_half_precision_finite(x: Tensor) -> None:
    norm = RmsNorm(eps=1e-2).build(8)
    norm.weight.data.normal_()
    root = (x.square().mean(1, keepdim=True) + 1e-2).sqrt()
    torch.testing.assert_close(norm(x), x / root * norm.weight[:, None, None])
    for dtype, largest in ((torch.float16, 6e4), (torch.bfloat16, 1e18)):
        huge = torch.full((1, 8, 1, 1), largest, dtype=dtype)  # its square is no number of this precision
        y = RmsNorm().build(8).to(dtype)(huge)
        torch.testing.assert_close(y, torch.ones_like(y))
        assert RmsNorm().build(8).to(dtype)(0 * huge).abs().max() == 0


def test_norms_normalise_what_they_say(x: Tensor) -> None:
    y = LayerNorm().build(8)(3 * x + 5)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 5, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, unbiased=False), torch.ones(2, 5, 6), atol=1e-3, rtol=0)
    y = GroupNorm().build(8)(3 * x + 5)
    torch.testing.assert_close(y.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((1, 2, 3), unbiased=False), torch.ones(2), atol=1e-4, rtol=0)


def test_norm_eps_acts() -> None:
    x = 1e-3 * torch.randn(1, 8, 2, 2)
    assert LayerNorm(eps=1.0).build(8)(x).abs().max() < 0.01
    assert GroupNorm(eps=1.0).build(8)(x).abs().max() < 0.01


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    y = drop(torch.ones(4000, 2, 3, 3))
    per_image = y.flatten(1)
    assert (per_image == per_image[:, :1]).all()
    assert sorted(per_image[:, 0].unique().tolist()) == [0.0, pytest.approx(1 / 0.75)]
    assert float(y.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(y), y)
    assert (DropPath(1.0).train()(torch.ones(3, 1, 1, 1)) == 0).all()


def test_scale_starts_at_its_value(x: Tensor) -> None:
    torch.testing.assert_close(Scale(8, 1e-6)(x), 1e-6 * x)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (4, 4, 0), (7, 4, 2), (16, 16, 0)])
def test_reducing_takes_any_map_and_changes_nothing_where_none_is_lacking(
    kernel: int, stride: int, padding: int
) -> None:
    layer = Reducing(1, 2, kernel, stride, padding)
    for height in (1, 2, 3, 5, 16, 33):
        for width in (1, 4, 17, 32):
            x = torch.randn(1, 1, height, width)
            y = layer(x)
            assert y.shape[2:] == out_size((height, width), kernel, stride, padding)
            if min(height, width) + 2 * padding >= kernel:
                torch.testing.assert_close(y, F.conv2d(x, layer.weight, layer.bias, stride, padding))


def test_small_maps_are_filled_up_below_and_right() -> None:
    layer = Reducing(1, 1, 4, 4, 0)
    x = torch.randn(1, 1, 2, 3)
    expected = (layer.weight[0, 0, :2, :3] * x[0, 0]).sum() + layer.bias
    torch.testing.assert_close(layer(x).flatten(), expected)


def test_pooling_averages_inside_the_map_only() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    y = Pool().build(1)(x) + x
    assert float(y[0, 0, 0, 0]) == pytest.approx((0 + 1 + 3 + 4) / 4)
    assert float(y[0, 0, 0, 1]) == pytest.approx((0 + 1 + 2 + 3 + 4 + 5) / 6)
    assert float(y[0, 0, 1, 1]) == pytest.approx(4)


def test_partial_depthwise_convolves_the_last_channels(x: Tensor) -> None:
    y = DepthwiseConv(kernel_size=3, ratio=3 / 8).build(8)(x)
    assert torch.equal(y[:, :5], x[:, :5])
    assert not torch.isclose(y[:, 5:], x[:, 5:]).all()


def test_inception_passes_the_first_channels_and_convolves_squares_then_rows_then_columns() -> None:
    module = Inception(ratio=1 / 4, band=5).build(8)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.0 if parameter.ndim == 1 else 1.0)
    x = torch.zeros(1, 8, 9, 9)
    x[:, :, 4, 4] = 1
    reached = [(int(c.sum(0).ne(0).sum()), int(c.sum(1).ne(0).sum())) for c in module(x)[0]]
    assert reached == [(1, 1)] * 2 + [(3, 3)] * 2 + [(5, 1)] * 2 + [(1, 5)] * 2


def test_attention_is_softmax_of_scaled_products(x: Tensor) -> None:
    module = Attention(head_width=4, bias=True).build(8)
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = module.qkv(tokens).view(2, 30, 3, 2, 4).unbind(2)
    scores = torch.einsum("nihd,njhd->nhij", q, k) / 4**0.5
    mixed = torch.einsum("nhij,njhd->nihd", scores.softmax(-1), v).reshape(2, 30, 8)
    expected = module.proj(mixed).transpose(1, 2).view(2, 8, 5, 6)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("width", "heads"), [(4, 1), (31, 1), (32, 1), (63, 1), (64, 2), (100, 3)])
def test_attention_has_at_least_one_head(width: int, heads: int) -> None:
    assert Attention().heads(width) == heads
    assert Attention().build(width).qkv.weight.shape == (3 * heads * 32, width)


def test_glu_multiplies_values_by_the_activated_gate(x: Tensor) -> None:
    module = Glu(ratio=2, act="sigmoid").build(8)
    gate, value = module.fc1(x)[:, :16], module.fc1(x)[:, 16:]
    torch.testing.assert_close(module(x), module.fc2(gate.sigmoid() * value))


def test_glu_at_its_default_ratio_has_an_mlps_parameters() -> None:
    from space.channel_mixers.mlp import Mlp

    assert Glu(bias=False).cost(768, (1, 1)).params == Mlp(bias=False).cost(768, (1, 1)).params


def test_random_mixing_averages_positions_and_learns_nothing() -> None:
    module = RandomMixing(tokens=12).build(8)
    assert not list(module.parameters())
    matrix = module.state_dict()["random_matrix"]
    torch.testing.assert_close(matrix.sum(1), torch.ones(12))
    x = torch.randn(2, 8, 3, 4)
    expected = torch.einsum("ij,ncj->nci", matrix, x.flatten(2)).view(2, 8, 3, 4)
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module(torch.full((1, 8, 3, 4), 2.5)), torch.full((1, 8, 3, 4), 2.5))


def test_random_mixing_names_the_map_that_does_not_fit() -> None:
    with pytest.raises(SpaceError, match=r"tokens: 12, the map has 5 x 6 = 30 positions"):
        RandomMixing(tokens=12).build(8)(torch.randn(1, 8, 5, 6))
    with pytest.raises(SpaceError, match=r"tokens: 12, the map has 2 x 3 = 6 positions"):
        RandomMixing(tokens=12).cost(8, (2, 3))
    with pytest.raises(SpaceError, match="at most 16384"):
        RandomMixing().at_size((200, 200))
    assert RandomMixing().at_size((3, 4)) == RandomMixing(tokens=12)
