"""What holds for every member of every family, found by discovery: a new member is tested by being there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

import space.arch  # noqa: F401 -- runs discovery
from space.cost import Cost, Size
from space.counting import counted
from space.families import ChannelMixer, Downsample, Head, Norm, Stem, TokenMixer
from space.spec import Family

ROOTS = (Norm, Stem, Downsample, TokenMixer, ChannelMixer, Head)  # gates stand in gated mixers
MIXERS = (TokenMixer, ChannelMixer, Norm)
PLACES: tuple[tuple[int, Size], ...] = ((8, (1, 1)), (40, (1, 2)), (12, (2, 3)), (40, (7, 7)), (8, (16, 5)))
"""Widths and map sizes: tiny, odd, smaller than kernels, no multiple of head widths."""
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
    "strided_conv": [
        {"kernel_size": 3, "norm_at": "after", "norm": {"kind": "batch_norm"}},
        {"kernel_size": 3, "norm": {"kind": "none"}, "init": "fan_in"},
        {"norm_at": "after"},
    ],
    "linear_head": [{"norm_at": "before_pool", "norm": {"kind": "group_norm"}}],
    "mlp_head": [{"ratio": 3, "act": "gelu", "norm": {"kind": "none"}}, {"act": "star_relu"}],
    "pool": [{"size": 7}],
    "depthwise_conv": [
        {"kernel_size": 61},
        {"kernel_size": 3, "ratio": 3 / 8},
        {"ratio": 1 / 16, "bias": False},
    ],
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
        {"context": {"kind": "attention"}, "gate": {"kind": "linear", "act": "silu"}, "bias": False},
        {"context": {"kind": "gated", "context": {"kind": "pool"}, "gate": {"kind": "silu"}}, "gate": {"kind": "silu"}},
    ],
    "mlp": [
        {"act": "star_relu", "bias": False},
        {"act": "squared_relu", "ratio": 0.01},
        {"act": "silu", "ratio": 3},
        {"bias": False, "norm": {"kind": "batch_norm"}},
    ],
    "grn_mlp": [{"act": "relu", "ratio": 2}, {"norm": {"kind": "batch_norm"}, "bias": False}, {"grn_bias": False}],
    "depthwise_mlp": [{"ratio": 8, "kernel_size": 5, "act": "star_relu"}, {"aggregate": True}],
    "glu": [{"act": name, "bias": name != "relu"} for name in ("gelu", "identity", "relu", "sigmoid")],
}


def _specs(roots: tuple[type[Family], ...]) -> Iterator[Any]:
    for root in roots:
        for kind, member in sorted(root.members.items()):
            whole = not any(field.is_required() for field in member.model_fields.values())
            for index, fields in enumerate(([{}] if whole else []) + OTHERS.get(kind, [])):
                flat = all(isinstance(value, (bool, int, float, str)) for value in fields.values())
                name = f"{kind}-{'-'.join(f'{k}={v}' for k, v in fields.items()) if flat else index}".rstrip("-")
                yield pytest.param(member.model_validate(fields), id=name)


def _fit(spec: Family, size: Size) -> Family:
    return spec.at_size(size) if isinstance(spec, TokenMixer) else spec


def _build(spec: Family, width: int) -> nn.Module:
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


def _shape(spec: Family, width: int, size: Size) -> tuple[int, ...]:
    match spec:
        case Stem() | Downsample():
            return (width if spec.kind == "none" else 2 * width, *spec.out_size(size))
        case Head():
            return (CLASSES,)
        case _:
            return (width, *size)


def _cost(spec: Family, width: int, size: Size) -> Cost:
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


def _random(module: nn.Module) -> nn.Module:
    """Give every parameter a value that matters; some start at 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + 0.1)
    return module


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The tensors here are tiny, threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


every = pytest.mark.parametrize("spec", list(_specs(ROOTS)))
every_mixer = pytest.mark.parametrize("spec", list(_specs(MIXERS)))


def test_every_setting_tested_belongs_to_a_member() -> None:
    known = {kind for root in ROOTS for kind in root.members}
    assert known >= OTHERS.keys()


@every
@pytest.mark.parametrize(("width", "size"), PLACES, ids=str)
def test_shapes_and_gradients(spec: Family, width: int, size: Size) -> None:
    torch.manual_seed(0)
    module = _random(_build(_fit(spec, size), width))
    x = torch.randn(3, width, *size, requires_grad=True)
    y = module(x)
    assert y.shape == (3, *_shape(spec, width, size))
    (y * torch.randn_like(y)).sum().backward()
    for name, tensor in [("input", x), *((n, p) for n, p in module.named_parameters() if p.requires_grad)]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name


@every
def test_images_do_not_see_each_other(spec: Family) -> None:
    torch.manual_seed(0)
    module = _random(_build(_fit(spec, (6, 7)), 12)).eval().double()
    x = torch.randn(3, 12, 6, 7, dtype=torch.float64)
    alone = torch.cat([module(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(module(x), alone)


@every
def test_memory_layout_does_not_matter(spec: Family) -> None:
    torch.manual_seed(0)
    module = _random(_build(_fit(spec, (6, 7)), 12)).eval()
    x = torch.randn(2, 12, 6, 7)
    torch.testing.assert_close(module(x.to(memory_format=torch.channels_last)), module(x), rtol=1e-4, atol=1e-5)


@every_mixer
def test_channels_last_is_kept(spec: Family) -> None:
    module = _build(_fit(spec, (6, 7)), 12).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        y = module(torch.randn(2, 12, 6, 7).to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


@every
@pytest.mark.parametrize(("width", "size"), PLACES, ids=str)
def test_cost_is_what_counting_finds(spec: Family, width: int, size: Size) -> None:
    spec = _fit(spec, size)
    with torch.device("meta"):
        module = _build(spec, width)
    assert _cost(spec, width, size) == counted(module, (1, width, *size)).cost


@every
def test_meta_modules_have_the_same_state(spec: Family) -> None:
    with torch.device("meta"):
        meta = _build(spec, 12).state_dict()
    real = _build(spec, 12).state_dict()
    assert {k: (v.shape, v.dtype) for k, v in meta.items()} == {k: (v.shape, v.dtype) for k, v in real.items()}
    assert all(v.is_meta for v in meta.values())


@every
def test_specs_survive_json(spec: Family) -> None:
    root = next(root for root in ROOTS if isinstance(spec, root))
    text = spec.model_dump_json(exclude_defaults=True)
    assert TypeAdapter[Any](root).validate_json(text) == spec
    assert hash(TypeAdapter[Any](root).validate_json(text)) == hash(spec)


@every
def test_gradients_are_right(spec: Family) -> None:
    torch.manual_seed(0)
    module = _random(_build(_fit(spec, (3, 4)), 4)).double().train()
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in module.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True, atol=1e-4)


@every
def test_compiles_in_one_graph(spec: Family) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    module = _random(_build(_fit(spec, (6, 7)), 8)).eval()
    x = torch.randn(2, 8, 6, 7)
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="eager")(x), module(x))


@every
def test_exports(spec: Family) -> None:
    torch.manual_seed(0)
    module = _random(_build(_fit(spec, (6, 7)), 8)).eval()
    x = torch.randn(2, 8, 6, 7)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    other = torch.randn(3, 8, 6, 7)
    torch.testing.assert_close(program.module()(other), module(other))
