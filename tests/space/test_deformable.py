"""Deformable mixers against the published modules' recorded outputs, and what their fields mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.golden import filled
from ops import dcnv3, dcnv4
from space.initial import Init, initialise
from space.mixers.deformable import Deformable
from space.mixers.depthwise_conv import DepthwiseConv

RECORDED = Path(__file__).parents[1] / "golden" / "ops" / "ops_dcn_modules.npz"
CASES = (
    *("v3_plain", "v3_huge_style", "v3_remove_center_scale2", "v3_k5"),
    *("v4_plain", "v4_dw3_no_output_bias", "v4_center_feature_scale", "v4_without_pointwise"),
)
NAMES = {  # published name to ours
    "dw_conv.0": "depthwise",
    "dw_conv.1.1": "norm",
    "offset_mask_dw": "depthwise",
    "offset_mask": "offset_weight",
    "mask": "weight",
    "input_proj": "project_in",
    "value_proj": "project_in",
    "output_proj": "project_out",
    "center_feature_scale_proj": "keep",
}


def _ours(key: str) -> str:
    layer, leaf = key[: key.rindex("weight" if key.endswith("weight") else "bias") - 1], key.split("_")[-1]
    return f"{NAMES.get(layer, layer)}.{leaf.split('.')[-1]}"


def _spec(case: str, config: dict[str, Any]) -> Deformable:
    third = case.startswith("v3")
    return Deformable(
        version=3 if third else 4,
        kernel_size=config.get("kernel_size") or 3,
        group_width=config["channels"] // config["group"],
        offset_scale=config["offset_scale"],
        softmax=third,
        offset_kernel=config.get("dw_kernel_size") or (config.get("kernel_size", 3) if third else 0),
        center_scale=bool(config.get("center_feature_scale")),
        remove_center=bool(config.get("remove_center")),
        project=not config.get("without_pointwise"),
        output_bias=config.get("output_bias", True),
    )


@pytest.mark.parametrize("case", CASES)
def test_computes_what_the_published_module_does(case: str) -> None:
    with np.load(RECORDED) as file:
        arrays = {key.partition(".")[2]: file[key] for key in file.files if key.startswith(f"{case}.")}
    config = json.loads(str(arrays["config"]))
    weights = {key: filled(key, shape) for key, shape in config["state"].items()}
    x = torch.from_numpy(arrays["x"])
    maps = x if case.startswith("v3") else x.unflatten(1, config["shape"])
    config["channels"] = x.shape[-1]
    module = _spec(case, config).build(x.shape[-1]).double()
    module.load_state_dict({_ours(key): tensor for key, tensor in weights.items()})
    maps = maps.permute(0, 3, 1, 2).requires_grad_()
    y = module(maps)
    expected = torch.from_numpy(arrays["y"]).reshape(maps.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))
    y.backward(torch.from_numpy(arrays["cot_y"]).reshape(y.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2))
    found = dict(module.named_parameters())
    for key in weights:
        if f"grad_{key}" in arrays:
            grad = torch.from_numpy(arrays[f"grad_{key}"])
            torch.testing.assert_close(found[_ours(key)].grad, grad, rtol=0, atol=1e-9 * float(grad.abs().max()))


@pytest.mark.parametrize(
    ("width", "groups"), [(64, 4), (72, 4), (40, 2), (52, 2), (88, 4), (8, 1), (17, 1), (37, 1), (320, 20)]
)
def test_groups_divide_every_width(width: int, groups: int) -> None:
    spec = Deformable()
    assert spec.groups(width) == groups
    assert spec.build(width)(torch.randn(1, width, 2, 3)).shape == (1, width, 2, 3)


def _start(spec: Deformable, init: Init) -> nn.Module:
    torch.manual_seed(0)
    module = spec.build(48)
    initialise(module, init)
    return module


@pytest.mark.parametrize("init", ["normal", "fan_in", "fan_in_convs", "fan_out"])
@pytest.mark.parametrize("spec", [Deformable(center_scale=True), Deformable(version=4, softmax=False)], ids=str)
def test_starts_as_published_in_every_network(spec: Deformable, init: Init) -> None:
    state = _start(spec, init).state_dict()
    for key, tensor in state.items():
        layer, leaf = key.split(".")
        if layer in ("offset", "weight", "offset_weight", "keep") or (leaf == "bias" and layer.startswith("project")):
            assert torch.count_nonzero(tensor) == 0, key
        elif layer.startswith("project"):
            bound = (6 / (48 + 48)) ** 0.5
            assert float(tensor.abs().max()) <= bound
            assert float(tensor.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_version_3_starts_as_an_average_of_the_window_and_version_4_as_its_bias() -> None:
    x = torch.randn(2, 48, 5, 6)
    third = _start(Deformable(project=False), "normal")
    torch.testing.assert_close(third(x), F.avg_pool2d(x, 3, 1, 1), rtol=1e-5, atol=1e-6)
    fourth = _start(Deformable(version=4, softmax=False), "normal")
    fourth.project_out.bias.data.normal_()
    torch.testing.assert_close(fourth(x), fourth.project_out.bias[:, None, None].expand(2, 48, 5, 6))


def _told(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)


def test_softmax_makes_weights_of_either_version_sum_to_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 9, 9)
    for version in (3, 4):
        spec = Deformable(version=version, group_width=8, project=False, offset_kernel=0, offset_scale=0.1)
        module = spec.build(16)
        _told(module)
        inner = module(x.new_ones(2, 16, 9, 9))[:, :, 3:-3, 3:-3]  # all taps lie inside the map
        torch.testing.assert_close(inner, torch.ones_like(inner))
        raw = spec.model_copy(update={"softmax": False}).build(16)
        raw.load_state_dict(module.state_dict())
        assert (raw(x) - module(x)).abs().max() > 0.1


def test_version_3_without_softmax_takes_its_weights_as_they_are() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 12, 4, 5)
    module = Deformable(softmax=False, group_width=4).build(12)
    _told(module)
    feature = F.gelu(module.norm(module.depthwise(x)))
    value, offset, weight = (
        y.permute(0, 2, 3, 1) for y in (module.project_in(x), module.offset(feature), module.weight(feature))
    )
    expected = module.project_out(dcnv3(value, offset, weight, groups=3).permute(0, 3, 1, 2))
    torch.testing.assert_close(module(x), expected)


def test_version_4_with_softmax_keeps_offsets_and_filling_apart() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 12, 4, 5)
    module = Deformable(version=4, group_width=4, project=False).build(12)
    _told(module)
    packed = module.offset_weight(module.depthwise(x)).permute(0, 2, 3, 1).clone()
    for group in range(3):
        packed[..., 27 * group + 18 : 27 * group + 27] = packed[..., 27 * group + 18 : 27 * group + 27].softmax(-1)
    expected = dcnv4(x.permute(0, 2, 3, 1), packed, groups=3).permute(0, 3, 1, 2)
    torch.testing.assert_close(module(x), expected)


def test_softmaxed_kernels_of_a_depthwise_convolution_average() -> None:
    torch.manual_seed(0)
    module = DepthwiseConv(kernel_size=7, bias=False, softmax=True).build(6)
    module.conv.weight.data.normal_()
    torch.testing.assert_close(module(torch.ones(1, 6, 9, 9))[:, :, 3:-3, 3:-3], torch.ones(1, 6, 3, 3))
    x: Tensor = torch.randn(2, 6, 8, 9)
    kernel = module.conv.weight.flatten(1).softmax(1).view(6, 1, 7, 7)
    torch.testing.assert_close(module(x), F.conv2d(x, kernel, padding=3, groups=6), rtol=1e-4, atol=1e-5)
    assert DepthwiseConv(softmax=True).absorbing() is None
    assert DepthwiseConv(bias=False).absorbing() == DepthwiseConv()
