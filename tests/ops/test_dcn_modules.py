"""The operators suffice for the published DCNv3 and DCNv4 modules: outputs and gradients as recorded."""

import torch
import torch.nn.functional as F

from nas.golden import filled
from ops import dcnv3, dcnv4

RECORDED = "ops_dcn_modules"


def _depthwise(x, weight, bias):
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=weight.shape[-1] // 2, groups=x.shape[-1]).permute(
        0, 2, 3, 1
    )


def _mixed(out, value, scale, groups):
    """Let each group keep a share of what went into the sampling."""
    scale = scale.sigmoid().repeat_interleave(out.shape[-1] // groups, dim=-1)
    return out * (1 - scale) + value * scale


def _third(x, config, weights):
    groups, kernel = config["group"], config["kernel_size"]
    value = F.linear(x, weights["input_proj.weight"], weights["input_proj.bias"])
    feature = _depthwise(x, weights["dw_conv.0.weight"], weights["dw_conv.0.bias"])
    feature = F.layer_norm(feature, x.shape[-1:], weights["dw_conv.1.1.weight"], weights["dw_conv.1.1.bias"], eps=1e-6)
    feature = F.gelu(feature)
    offset = F.linear(feature, weights["offset.weight"], weights["offset.bias"])
    mask = F.linear(feature, weights["mask.weight"], weights["mask.bias"])
    mask = mask.unflatten(-1, (groups, -1)).softmax(-1).flatten(-2)
    out = dcnv3(
        value, offset, mask, kernel=kernel, padding=config.get("pad", 1), groups=groups,
        offset_scale=config["offset_scale"], remove_center=config.get("remove_center", False),
    )  # fmt: skip
    if config.get("center_feature_scale"):
        names = ("center_feature_scale_proj_weight", "center_feature_scale_proj_bias")
        out = _mixed(out, value, F.linear(feature, *(weights[name] for name in names)), groups)
    return F.linear(out, weights["output_proj.weight"], weights["output_proj.bias"])


def _fourth(x, config, weights):
    groups, projected = config["group"], not config.get("without_pointwise")
    x = x.unflatten(1, config["shape"])
    value = F.linear(x, weights["value_proj.weight"], weights["value_proj.bias"]) if projected else x
    feature = x
    if config.get("dw_kernel_size"):
        feature = _depthwise(x, weights["offset_mask_dw.weight"], weights["offset_mask_dw.bias"])
    packed = F.linear(feature, weights["offset_mask.weight"], weights["offset_mask.bias"])
    options = {"offset_scale": config["offset_scale"], "remove_center": config.get("remove_center", False)}
    out = dcnv4(value, packed, groups=groups, **options)
    if config.get("center_feature_scale"):
        names = ("center_feature_scale_proj_weight", "center_feature_scale_proj_bias")
        out = _mixed(out, value, F.linear(out, *(weights[name] for name in names)), groups)
    if projected:
        out = F.linear(out, weights["output_proj.weight"], weights.get("output_proj.bias"))
    return out.flatten(1, 2)


def test_modules_are_the_recorded_ones(case):
    weights = {key: case.leaf(key, filled(key, shape)) for key, shape in case.config["state"].items()}
    module = _third if case.name.startswith("v3") else _fourth
    case.agrees(y=module(case.get("x"), case.config, weights), tolerance=1e-10)


def test_zero_weights_sample_nothing():
    """As a DCNv4 begins its training: the packed tensor is all zero, and only its gradient moves it."""
    packed = torch.zeros(1, 4, 4, 32, requires_grad=True)
    out = dcnv4(torch.randn(1, 4, 4, 8), packed)
    assert torch.count_nonzero(out) == 0
    out.sum().backward()
    assert packed.grad[:, 1:-1, 1:-1, 18:27].abs().min() > 0
    assert torch.count_nonzero(packed.grad[..., :18]) == 0
    assert torch.count_nonzero(packed.grad[..., 27:]) == 0
