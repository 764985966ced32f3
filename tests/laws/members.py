"""The members of every family and the settings that laws are held at, found by discovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import space.arch  # noqa: F401 -- runs discovery
from space.cost import Cost, Size
from space.families import ChannelMixer, Downsample, Head, Norm, Stem, TokenMixer
from space.spec import Family

ROOTS = (Norm, Stem, Downsample, TokenMixer, ChannelMixer, Head)  # gates stand in gated mixers
MIXERS = (TokenMixer, ChannelMixer, Norm)
CLASSES = 5

_VAN: dict[str, Any] = {"gate": {"kind": "identity"}, "mix_context": True, "act": "gelu", "shortcut": True}
_MOGA = _VAN | {"gate": {"kind": "silu"}, "act": "silu", "decompose": True}
_FOCAL: dict[str, Any] = {"gate": {"kind": "linear"}, "mix_context": True, "norm": {"kind": "layer_norm"}}

OTHERS: dict[str, list[dict[str, Any]]] = {
    # beyond defaults: the settings that published networks use, and those that lead through other code
    "layer_norm": [{"bias": False, "eps": 1e-5}],
    "group_norm": [{"bias": False, "eps": 1e-6}],
    "patchify": [{"patch": 1}, {"patch": 16, "norm": {"kind": "none"}}, {"norm": {"kind": "batch_norm"}}],
    "overlapping_patch": [{"kernel_size": 3, "stride": 4, "padding": 0, "init": "fan_in"}, {"padding": 30}],
    "convolutional": [{"layers": 1}, {"layers": 4, "act": "star_relu", "norm": {"kind": "batch_norm"}}],
    "patch_sequence": [{"patch": 4, "class_tokens": 2, "grid": 3}, {"patch": 8, "class_tokens": 0, "grid": 1}],
    "class_token_head": [{"norm": {"kind": "none"}}],
    "window_attention": [
        {"window": 3, "shifted": True, "head_width": 5},
        {"window": 2, "shifted": True, "bias": False},
        {"window": 5, "head_width": 64},
    ],
    "strided_conv": [
        {"kernel_size": 3, "norm_at": "after", "norm": {"kind": "batch_norm"}},
        {"kernel_size": 3, "norm": {"kind": "none"}, "init": "fan_in"},
        {"norm_at": "after"},
        {"norm_at": "after", "kernel_size": 3, "bias": False},
    ],
    "patch_merging": [{"norm": {"kind": "none"}}, {"norm": {"kind": "batch_norm"}}],
    "linear_head": [{"norm_at": "before_pool", "norm": {"kind": "group_norm"}}],
    "conv_head": [{"act": "star_relu", "norm": {"kind": "layer_norm"}}],
    "attention_pool_head": [{"width": 20, "head_width": 8, "output_width": 12, "norm": {"kind": "batch_norm"}}],
    "mlp_head": [{"ratio": 3, "act": "gelu", "norm": {"kind": "none"}}, {"act": "star_relu"}],
    "pool": [{"size": 7}],
    "depthwise_conv": [
        {"kernel_size": 61},
        {"kernel_size": 3, "ratio": 3 / 8},
        {"ratio": 1 / 16, "bias": False},
        {"softmax": True},
    ],
    "deformable": [
        {"offset_kernel": 5, "center_scale": True, "group_width": 4},
        {"softmax": False, "kernel_size": 5, "remove_center": True, "project": False},
        {"version": 4, "softmax": False, "offset_kernel": 0, "output_bias": False, "group_width": 4},
        {"version": 4, "offset_scale": 0.5, "center_scale": True, "remove_center": True},
    ],
    "deformable_conv": [{"version": 1, "kernel_size": 5, "group_width": 4, "offset_scale": 2.0, "output_bias": False}],
    "inception_depthwise": [{"ratio": 1 / 4, "band": 9}, {"ratio": 1 / 3, "square": 5, "band": 3}],
    "separable_conv": [{"ratio": 0.3, "kernel_size": 3, "act": "gelu"}],
    "attention": [{"head_width": 5, "bias": True}, {"head_width": 64}],
    "separable": [{"norm": {"kind": "layer_norm"}, "act": "star_relu"}],
    "reparam_large_kernel": [{"kernel_size": 13, "small_kernel": 0}, {"kernel_size": 5}, {"fused": True}],
    "dilated_reparam": [{"kernel_size": 5}, {"kernel_size": 17}, {"fused": True}],
    "band_kernels": [{"kernel_size": 5}, {"kernel_size": 9, "short": 3}, {"fused": True}],
    "projected": [
        {"inner": {"kind": "reparam_large_kernel"}, "ratio": 1.5},
        {"inner": {"kind": "pool"}, "act": "star_relu", "bias": True, "norm": {"kind": "layer_norm"}},
    ],
    "focal": [{"levels": 4, "window": 5, "normalise": True}],
    "large_kernel_attention": [{"kernel_size": 5, "dilation": 2}],
    "global_local_filter": [{"height": 7, "width": 4}],
    "selective_scan": [
        {"ratio": 2, "states": 4, "gate": "silu", "conv_bias": True},
        {"ratio": 1, "routes": "unidirectional", "gate": "identity", "kernel_size": 1, "output": "conv"},
        {"ratio": 1.5, "states": 2, "routes": "bidirectional", "output": "softmax"},
        {"ratio": 0.5, "routes": "rotation", "kernel_size": 5, "output": "norm_conv", "out_act": "gelu"},
        {"routes": "cascade", "states": 2, "output": "sigmoid"},
    ],
    "mamba": [
        {"ratio": 1, "states": 1, "kernel_size": 1, "route": "columns"},
        {"ratio": 0.5, "states": 3, "kernel_size": 9, "route": "columns_reversed"},
    ],
    "mamba2": [{"ratio": 0.5, "head_width": 2, "states": 1, "kernel_size": 1, "route": "columns_reversed"}],
    "s4": [{"states": 8, "measure": "legt", "route": "columns_reversed", "bidirectional": True}],
    "s4d": [
        {"states": 2, "spectrum": "inv", "route": "columns_reversed"},
        {"states": 8, "spectrum": "legs", "route": "columns", "bidirectional": True},
    ],
    "gated": [
        {**_VAN, "context": {"kind": "large_kernel_attention"}},
        {**_MOGA, "context": {"kind": "multi_order"}},
        {**_FOCAL, "context": {"kind": "focal"}},
        {"context": {"kind": "depthwise_conv"}, "gate": {"kind": "recursive"}},
        # crossings
        {**_MOGA, "context": {"kind": "focal", "levels": 1}},
        {**_VAN, "context": {"kind": "dilated_reparam", "kernel_size": 7}},
        {"context": {"kind": "inception_depthwise"}, "gate": {"kind": "recursive", "order": 4}},
        {"context": {"kind": "focal"}, "gate": {"kind": "recursive", "order": 1}},
        {"context": {"kind": "selective_scan"}, "gate": {"kind": "linear"}},
        {"context": {"kind": "deformable", "project": False}, "gate": {"kind": "silu"}},
        {"context": {"kind": "attention"}, "gate": {"kind": "linear", "act": "silu"}, "bias": False},
        {"context": {"kind": "gated", "context": {"kind": "pool"}, "gate": {"kind": "silu"}}, "gate": {"kind": "silu"}},
    ],
    "mlp": [
        {"act": "star_relu", "bias": False},
        {"act": "squared_relu", "ratio": 0.01},
        {"act": "silu", "ratio": 3},
        {"bias": False, "norm": {"kind": "batch_norm"}},
        {"output_bias": False},
    ],
    "grn_mlp": [{"act": "relu", "ratio": 2}, {"norm": {"kind": "batch_norm"}, "bias": False}, {"grn_bias": False}],
    "depthwise_mlp": [{"ratio": 8, "kernel_size": 5, "act": "star_relu"}, {"aggregate": True}],
    "glu": [{"act": name, "bias": name != "relu"} for name in ("gelu", "identity", "relu", "sigmoid")],
}


def specs(roots: tuple[type[Family], ...]) -> Iterator[Any]:
    for root in roots:
        for kind, member in sorted(root.members.items()):
            whole = not any(field.is_required() for field in member.model_fields.values())
            for index, fields in enumerate(([{}] if whole else []) + OTHERS.get(kind, [])):
                flat = all(isinstance(value, (bool, int, float, str)) for value in fields.values())
                name = f"{kind}-{'-'.join(f'{k}={v}' for k, v in fields.items()) if flat else index}".rstrip("-")
                yield pytest.param(member.model_validate(fields), id=name)


def fit(spec: Family, size: Size) -> Family:
    return spec.at_size(size) if isinstance(spec, TokenMixer) else spec


def build(spec: Family, width: int) -> nn.Module:
    """The member's module for maps of `width` channels."""
    match spec:
        case Stem() | Downsample():
            wide = width if spec.kind == "none" else 2 * width
            return spec.build(width, wide)
        case Head():
            return spec.build(width, CLASSES)
        case Norm() | TokenMixer() | ChannelMixer():
            return spec.build(width)
    raise TypeError(type(spec))


def shape(spec: Family, width: int, size: Size) -> tuple[int, ...]:
    match spec:
        case Stem() | Downsample():
            return (width if spec.kind == "none" else 2 * width, *spec.out_size(size))
        case Head():
            return (CLASSES,)
        case _:
            return (width, *size)


def cost(spec: Family, width: int, size: Size) -> Cost:
    match spec:
        case Norm():
            return spec.cost(width)
        case Stem() | Downsample():
            return spec.cost(width, width if spec.kind == "none" else 2 * width, size)
        case Head():
            return spec.cost(width, CLASSES, size)
        case TokenMixer() | ChannelMixer():
            return spec.cost(width, size)
    raise TypeError(type(spec))


def randomised(module: nn.Module) -> nn.Module:
    """Give every parameter a value that matters; some start at 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + 0.1)
    return module
