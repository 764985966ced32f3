"""Gated mixers and their parts against the formulas of their papers, written out with plain functional calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from space.channel_mixers.depthwise_mlp import DepthwiseMlp
from space.gates.identity import IdentityGate
from space.gates.linear import LinearGate
from space.gates.recursive import RecursiveGate
from space.gates.silu import SiluGate
from space.mixers.attention import Attention
from space.mixers.depthwise_conv import DepthwiseConv
from space.mixers.focal import Focal
from space.mixers.gated import Gated
from space.mixers.global_local_filter import GlobalLocal
from space.mixers.large_kernel_attention import LargeKernelAttention
from space.mixers.multi_order import MultiOrder
from space.mixers.random_mixing import RandomMixing
from space.norms import LayerNorm

Weights = dict[str, Tensor]
WIDTHS = pytest.mark.parametrize("width", [8, 13, 16])

VAN = Gated(context=LargeKernelAttention(), gate=IdentityGate(), mix_context=True, act="gelu", shortcut=True)
MOGA = Gated(context=MultiOrder(), gate=SiluGate(), mix_context=True, act="silu", decompose=True, shortcut=True)


def built(spec: Any, width: int) -> tuple[nn.Module, Weights]:
    """The mixer with random weights in float64, those that start at 0, 1 or 1e-5 too, and its weights by name."""
    torch.manual_seed(0)
    module = spec.build(width).double().eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(torch.randn_like(parameter) * (0.5 if parameter.ndim < 2 else 0.3))
    return module, dict(module.named_parameters())


def image(width: int, height: int = 6, columns: int = 7) -> Tensor:
    return torch.randn(2, width, height, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def pointwise(x: Tensor, w: Weights, name: str) -> Tensor:
    return torch.einsum("oc,nchw->nohw", w[f"{name}.weight"], x) + w[f"{name}.bias"][:, None, None]


def depthwise(x: Tensor, w: Weights, name: str, padding: int, dilation: int = 1) -> Tensor:
    weight, bias = w[f"{name}.weight"], w.get(f"{name}.bias")
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=x.shape[1])


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def check(spec: Any, width: int, formula: Callable[[Tensor, Weights], Tensor]) -> None:
    """Compare the mixer with the formula on a map."""
    module, w = built(spec, width)
    x = image(width)
    torch.testing.assert_close(module(x), formula(x, w), rtol=1e-10, atol=1e-10)


@WIDTHS
def test_large_kernel_attention(width: int) -> None:
    """VAN, arXiv:2202.09741, eq. 2-3: the source attended by what a 5x5, a dilated 7x7 and a 1x1 kernel make of it."""

    def formula(x: Tensor, w: Weights) -> Tensor:
        source = gelu(pointwise(x, w, "project_in"))
        attention = depthwise(source, w, "context.local", padding=2)
        attention = depthwise(attention, w, "context.dilated", padding=9, dilation=3)
        return pointwise(pointwise(attention, w, "mix") * source, w, "project_out") + x

    check(VAN, width, formula)


def test_large_kernels_of_other_dilations_keep_their_local_kernel_odd() -> None:
    for dilation, local in ((2, 3), (3, 5), (4, 7), (5, 9)):
        module, w = built(LargeKernelAttention(kernel_size=5, dilation=dilation), 4)
        assert w["local.weight"].shape == (4, 1, local, local)
        x = image(4)
        expected = depthwise(depthwise(x, w, "local", local // 2), w, "dilated", 2 * dilation, dilation)
        torch.testing.assert_close(module(x), expected)


def focal_context(x: Tensor, gates: Tensor, w: Weights, name: str, levels: int, window: int) -> Tensor:
    """FocalNet, arXiv:2203.11926, eq. 5-7."""
    total, context = torch.zeros_like(x), x
    for level in range(levels):
        kernel = window + 2 * level
        context = gelu(depthwise(context, w, f"{name}levels.{level}", kernel // 2))
        total = total + gates[:, level][:, None] * context
    return total + gates[:, levels][:, None] * gelu(context.mean(3, keepdim=True).mean(2, keepdim=True))


@WIDTHS
@pytest.mark.parametrize(("levels", "window", "normalise", "norm"), [(2, 3, False, False), (3, 5, True, True)])
def test_focal_modulation(width: int, levels: int, window: int, normalise: bool, norm: bool) -> None:
    """FocalNet, eq. 4: a query times the projected context; the gates of the levels come from the mixer's input."""
    context = Focal(levels=levels, window=window, normalise=normalise)
    spec = Gated(context=context, gate=LinearGate(), mix_context=True)
    spec = spec.model_copy(update={"norm": LayerNorm(eps=1e-5)}) if norm else spec

    def formula(x: Tensor, w: Weights) -> Tensor:
        query, source = pointwise(x, w, "project_in").split([width, width], dim=1)
        gates = pointwise(x, w, "context.weigh")
        modulator = focal_context(source, gates, w, "context.", levels, window) / (levels + 1 if normalise else 1)
        out = query * pointwise(modulator, w, "mix")
        if norm:
            centred = out - out.mean(1, keepdim=True)
            deviation = ((centred**2).mean(1, keepdim=True) + 1e-5).sqrt()
            out = centred / deviation * w["norm.weight"][:, None, None] + w["norm.bias"][:, None, None]
        return pointwise(out, w, "project_out")

    check(spec, width, formula)


def test_a_focal_context_alone_weighs_its_levels_by_its_own_map() -> None:
    check(Focal(levels=3), 5, lambda x, w: focal_context(x, pointwise(x, w, "weigh"), w, "", 3, 3))


@WIDTHS
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_recursive_gated_convolution(width: int, order: int) -> None:
    """HorNet, arXiv:2207.14284, eq. 3-5; of odd widths the lower ones are rounded down, never to 0."""
    widths = [max(1, width // 2 ** (order - 1 - k)) for k in range(order)]

    def formula(x: Tensor, w: Weights) -> Tensor:
        p, *q = pointwise(x, w, "project_in").split([widths[0], *widths], dim=1)
        q = list((depthwise(torch.cat(q, 1), w, "context.conv", 3) / 3).split(widths, dim=1))
        p = p * q[0]
        for k in range(1, order):
            p = pointwise(p, w, f"gate.widen.{k - 1}") * q[k]
        return pointwise(p, w, "project_out")

    check(Gated(context=DepthwiseConv(), gate=RecursiveGate(order=order)), width, formula)


def multi_order(x: Tensor, w: Weights, name: str) -> Tensor:
    width = x.shape[1]
    middle, high = max(1, 3 * width // 8), width // 2
    low = depthwise(x, w, f"{name}low", 2)
    return torch.cat(
        [
            low[:, : width - middle - high],
            depthwise(low[:, width - middle - high : width - high], w, f"{name}middle", 4, 2),
            depthwise(low[:, width - high :], w, f"{name}high", 9, 3),
        ],
        dim=1,
    )


def gated_aggregation(x: Tensor, w: Weights, act: Callable[[Tensor], Tensor] = silu) -> Tensor:
    """MogaNet, arXiv:2211.03295, eq. 3-5, with the shortcut around it."""
    y = pointwise(x, w, "project_in")
    mean = y.mean(3, keepdim=True).mean(2, keepdim=True)
    y = act(y + w["decompose.scale"][:, None, None] * (y - mean))
    value = pointwise(multi_order(y, w, "context."), w, "mix")
    return pointwise(silu(pointwise(y, w, "gate.project")) * silu(value), w, "project_out") + x


@WIDTHS
def test_multi_order_gated_aggregation(width: int) -> None:
    check(MOGA, width, gated_aggregation)
    check(MultiOrder(), width, lambda x, w: multi_order(x, w, ""))


def test_the_activation_after_decomposition_is_told_from_others() -> None:
    """Recorded outputs of whole networks hardly tell it."""
    module, w = built(MOGA, 16)
    x = image(16)
    for wrong in (gelu, torch.relu, lambda y: y, lambda y: silu(silu(y))):
        assert float((module(x) - gated_aggregation(x, w, wrong)).norm() / module(x).norm()) > 0.01


def test_feature_decomposition_stresses_what_is_not_the_mean() -> None:
    module, w = built(MOGA, 8)
    x = image(8)
    expected = torch.empty_like(x)
    for n in range(2):
        for c in range(8):
            expected[n, c] = x[n, c] + w["decompose.scale"][c] * (x[n, c] - x[n, c].sum() / 42)
    torch.testing.assert_close(module.decompose(x), expected)


@WIDTHS
def test_channel_aggregation(width: int) -> None:
    """MogaNet, arXiv:2211.03295, eq. 6, in the MLP with a depthwise convolution; without it VAN's."""
    for aggregate in (True, False):

        def formula(x: Tensor, w: Weights, aggregate: bool = aggregate) -> Tensor:
            y = gelu(depthwise(pointwise(x, w, "fc1"), w, "depthwise", 1))
            if aggregate:
                common = gelu(pointwise(y, w, "aggregation.gather"))
                y = y + w["aggregation.scale"][:, None, None] * (y - common.expand_as(y))
            return pointwise(y, w, "fc2")

        check(DepthwiseMlp(ratio=2, aggregate=aggregate), width, formula)


def waves(side: int) -> Tensor:
    """The matrix of an orthonormal discrete Fourier transform."""
    step = torch.arange(side, dtype=torch.float64)
    angles = -2 * math.pi * step[:, None] * step / side
    return torch.complex(angles.cos(), angles.sin()) / math.sqrt(side)


def resized(spectrum: Tensor, rows: int, columns: int) -> Tensor:
    """Bilinear interpolation of [C, h, w] whose corners stay corners."""

    def weights(new: int, old: int) -> Tensor:
        out = torch.zeros(new, old, dtype=torch.float64)
        for i in range(new):
            place = i * (old - 1) / (new - 1) if new > 1 else 0.0
            low = min(int(place), old - 1)
            out[i, low] += 1 - (place - low)
            out[i, min(low + 1, old - 1)] += place - low
        return out.to(spectrum)

    return weights(rows, spectrum.shape[1]) @ spectrum @ weights(columns, spectrum.shape[2]).T


def filtered(x: Tensor, spectrum: Tensor) -> Tensor:
    """Multiply the half spectrum that a real map has, and return the real map of what results."""
    height, width = x.shape[2:]
    half = width // 2 + 1
    product = (waves(height) @ x.to(torch.complex128) @ waves(width))[..., :half] * spectrum
    rows = waves(height).conj() @ product
    # what lies beyond the half mirrors it, save the mean and, of even widths, the highest wave
    twice = torch.full((half,), 2.0, dtype=torch.float64)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    return (rows * twice @ waves(width).conj()[:half]).real


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    scaled = centred / ((centred**2).mean(1, keepdim=True) + 1e-6).sqrt()
    return scaled * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def global_local(x: Tensor, w: Weights) -> Tensor:
    y = norm(x, w, "norm1")
    count = x.shape[1] // 2
    local, wide = depthwise(y[:, : x.shape[1] - count], w, "local", 1), y[:, x.shape[1] - count :]
    spectrum = torch.complex(w["spectrum"][..., 0], w["spectrum"][..., 1])
    wide = filtered(wide, resized(spectrum, x.shape[2], x.shape[3] // 2 + 1))
    mixed = torch.empty_like(x)
    mixed[:, 0 : 2 * count : 2], mixed[:, 1 : 2 * count : 2] = local[:, :count], wide
    mixed[:, 2 * count :] = local[:, count:]
    return norm(mixed, w, "norm2")


@pytest.mark.parametrize("width", [8, 2, 13])
@pytest.mark.parametrize("size", [(6, 4), (6, 7), (5, 8), (1, 1), (9, 2), (3, 3)], ids=str)
def test_global_local_filter(width: int, size: tuple[int, int]) -> None:
    """HorNet, arXiv:2207.14284, sec. 3.3; the spectrum here fits 6 x 4 and, in its columns, 6 x 5."""
    module, w = built(GlobalLocal(height=6, width=3), width)
    x = image(width, *size)
    torch.testing.assert_close(module(x), global_local(x, w), rtol=1e-9, atol=1e-9)


def test_a_spectrum_of_ones_changes_nothing() -> None:
    module, _ = built(GlobalLocal(height=6, width=4), 8)
    module.spectrum.data.copy_(torch.tensor([1.0, 0.0]))
    x = image(4)
    torch.testing.assert_close(module._filtered(x), x)
    torch.testing.assert_close(module._filtered(image(4, 5, 8)), image(4, 5, 8))


def test_filters_are_taken_in_single_precision_at_least() -> None:
    module, _ = built(GlobalLocal(height=6, width=4), 8)
    x = image(8)
    exact = module(x)
    rough = module.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert rough.dtype == torch.bfloat16
    assert float((rough.double() - exact).norm() / exact.norm()) < 0.05


def test_gated_mixers_in_hornet_filter_all_that_the_gate_reads() -> None:
    spec = Gated(context=GlobalLocal(height=6, width=4), gate=RecursiveGate(order=3))

    def formula(x: Tensor, w: Weights) -> Tensor:
        p, source = pointwise(x, w, "project_in").split([4, 28], dim=1)
        inner = {name.removeprefix("context."): value for name, value in w.items() if name.startswith("context.")}
        q = (global_local(source, inner) / 3).split([4, 8, 16], dim=1)
        p = pointwise(p * q[0], w, "gate.widen.0") * q[1]
        return pointwise(pointwise(p, w, "gate.widen.1") * q[2], w, "project_out")

    check(spec, 16, formula)


def test_a_gate_projected_from_the_input_may_be_activated() -> None:
    def formula(x: Tensor, w: Weights) -> Tensor:
        gate, source = pointwise(x, w, "project_in").split(6, dim=1)
        return pointwise(silu(gate) * depthwise(source, w, "context.conv", 3), w, "project_out")

    check(Gated(context=DepthwiseConv(), gate=LinearGate(act="silu")), 6, formula)


def test_mixers_fit_their_context_to_the_map() -> None:
    spec = Gated(context=RandomMixing(tokens=4), gate=SiluGate())
    assert spec.at_size((3, 5)) == Gated(context=RandomMixing(tokens=15), gate=SiluGate())
    assert spec.at_size((3, 5)).build(8)(torch.zeros(1, 8, 3, 5)).shape == (1, 8, 3, 5)


def test_projections_without_biases_leave_the_context_its_own() -> None:
    _, w = built(Gated(context=Attention(bias=True), gate=SiluGate(), mix_context=True, bias=False), 32)
    assert {name for name in w if name.endswith("bias")} == {
        "context.qkv.bias",
        "context.proj.bias",
        "gate.project.bias",
    }
