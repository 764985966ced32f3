"""Deformable convolutions of versions 1 and 2 as mixers: where they start, and what they compute once told."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from space import Architecture, named
from space.errors import explain
from space.initial import Init, initialise
from space.mixers.deformable import Deformable
from space.mixers.deformable_conv import DeformableConv, DeformableConvolution


def drawn(spec: DeformableConv, width: int = 12) -> DeformableConvolution:
    torch.manual_seed(0)
    module: DeformableConvolution = spec.build(width)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    return module.double()


@pytest.mark.parametrize("init", ["normal", "fan_in", "fan_in_convs", "fan_out"])
def test_version_1_starts_as_a_convolution_and_version_2_as_half_of_one(init: Init) -> None:
    x = torch.randn(2, 12, 6, 7)
    for version, share in ((1, 1.0), (2, 0.5)):
        module = DeformableConv(version=version, output_bias=False).build(12)
        initialise(module, init)
        assert not any(torch.count_nonzero(p) for p in module.offset.parameters())
        assert torch.count_nonzero(module.conv.weight) == module.conv.weight.numel()
        plain = F.conv2d(x, module.conv.weight, padding=1)
        torch.testing.assert_close(module(x), share * plain, rtol=1e-4, atol=1e-6)


def test_an_offset_scale_that_is_whole_is_a_dilation_at_first() -> None:
    x = torch.randn(1, 12, 9, 8)
    module = DeformableConv(version=1, kernel_size=5, offset_scale=2).build(12)
    plain = F.conv2d(x, module.conv.weight, module.conv.bias, padding=4, dilation=2)
    torch.testing.assert_close(module(x), plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("group_width", [3, 8192])
def test_once_told_it_is_torchvisions_operator(version: int, group_width: int) -> None:
    """Offsets come first, a pair (down, right) for each group and tap; then the logits of the weights."""
    module = drawn(DeformableConv.model_validate({"version": version, "group_width": group_width}))
    x = torch.randn(2, 12, 6, 5, dtype=torch.float64)
    told = F.conv2d(x, module.offset.weight, module.offset.bias, padding=1)
    groups = 4 if group_width == 3 else 1
    assert told.shape[1] == groups * 9 * (version + 1)
    offset, mask = told[:, : 18 * groups], told[:, 18 * groups :].sigmoid() if version == 2 else None
    assert float(offset.detach().abs().max()) > 1.5, "the taps must move"
    weight, bias = module.conv.weight, module.conv.bias
    expected = torchvision.ops.deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


def test_the_scale_multiplies_grid_and_offsets() -> None:
    """A tap at (i, j) of the grid moved by o samples at 0.5 ((i, j) + o)."""
    module = drawn(DeformableConv(version=1, offset_scale=0.5, group_width=6))
    x = torch.randn(1, 12, 5, 5, dtype=torch.float64)
    told = F.conv2d(x, module.offset.weight, module.offset.bias, padding=1).unflatten(1, (2, 3, 3, 2))
    for row in range(3):
        for column in range(3):
            told[:, :, row, column, 0] = 0.5 * (told[:, :, row, column, 0] + row - 1) - (row - 1)
            told[:, :, row, column, 1] = 0.5 * (told[:, :, row, column, 1] + column - 1) - (column - 1)
    weight, bias = module.conv.weight, module.conv.bias
    expected = torchvision.ops.deform_conv2d(x, told.flatten(1, 4), weight, bias, padding=1)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("width", "group_width", "groups"), [(12, 8192, 1), (12, 5, 2), (17, 4, 1), (16, 4, 4)])
def test_groups_divide_every_width(width: int, group_width: int, groups: int) -> None:
    spec = DeformableConv(group_width=group_width)
    assert spec.groups(width) == groups
    assert spec.build(width)(torch.randn(1, width, 2, 3)).shape == (1, width, 2, 3)


@pytest.mark.parametrize("version", [1, 2])
def test_the_other_mixer_names_this_one(version: int) -> None:
    arch = named("convnext_atto").arch.model_dump(mode="json")
    arch["stages"][0]["pattern"][0]["token_mixer"] = {"kind": "deformable", "version": version}
    with pytest.raises(ValueError, match="deformable_conv") as caught:
        Architecture.model_validate(arch)
    (line,) = explain(caught.value, arch)  # pyright: ignore[reportArgumentType]
    assert line == (
        f"stages[0].pattern[0].token_mixer.version: {version}: versions 1 and 2 mix channels and are the mixer "
        "'deformable_conv'; allowed: 3, 4"
    )
    with pytest.raises(ValueError, match="should be 3 or 4"):
        Deformable.model_validate({"version": 5})
    with pytest.raises(ValueError, match="softmax"):
        DeformableConv.model_validate({"version": version, "softmax": True})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
@torch.no_grad()
def test_half_precision_stays_near_the_exact_result(dtype: torch.dtype, tolerance: float) -> None:
    """Offsets of a pixel or two are rounded too, and samples move with them: errors of the largest output."""
    module: nn.Module = drawn(DeformableConv(group_width=4))
    x: Tensor = torch.randn(2, 12, 14, 14, dtype=torch.float64)
    exact = module(x)
    half = module.to(dtype)(x.to(dtype))
    assert half.isfinite().all()
    assert float((half.double() - exact).abs().max() / exact.abs().max()) < tolerance
    module.float()
    wild = 1e6 * x.float()  # offsets beyond every map
    assert module(wild).isfinite().all()
