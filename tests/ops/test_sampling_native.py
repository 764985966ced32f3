"""The native deformable sampling is the reference in float64, and a citizen of PyTorch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import dcnv3, dcnv4, deformable_sampling
from ops.deformable_sampling.bags import bags
from ops.deformable_sampling.native import native, native_backward
from ops.deformable_sampling.reference import reference
from ops.native import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason="no compiler (tests/ops/test_native.py asks for one)")
TOLERANCE = 3e-6
"""Of the largest value: places are rounded to 1e-6 of a pixel on maps of some pixels."""


def _inputs(batch=2, height=5, width=6, groups=2, depth=3, queries=7, points=4, reach=2.0):
    """Places up to `reach` pixels beyond the map."""
    places = [torch.rand(batch, queries, groups, points) for _ in range(2)]
    x, y = (p * (s + 2 * reach) - reach for p, s in zip(places, (width, height), strict=True))
    value, weight = torch.randn(batch, height, width, groups, depth), torch.randn(batch, queries, groups, points)
    return [tensor.requires_grad_() for tensor in (value, x, y, weight)]


def _gradients(function, inputs):
    out = function(*inputs)
    direction = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, inputs, direction)]


def _check(inputs):
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    for name, mine, law in zip(
        ("out", "value", "x", "y", "weight"), _gradients(native, inputs), _gradients(reference, exact), strict=True
    ):
        assert mine.shape == law.shape
        error = ((mine - law).abs().max() / law.abs().max().clamp(min=0.3)).item()
        assert error < TOLERANCE, f"{name}: error {error:.1e}"


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 9), groups=st.integers(1, 3),
    depth=st.sampled_from([1, 2, 7, 16, 24, 37]), queries=st.integers(1, 9), points=st.sampled_from([1, 2, 9]),
    reach=st.sampled_from([-0.5, 0.5, 20.0]), threads=st.sampled_from([1, 4]),
)  # fmt: skip
def test_output_and_gradients_are_the_reference(batch, height, width, groups, depth, queries, points, reach, threads):
    torch.set_num_threads(threads)
    try:
        _check(_inputs(batch, height, width, groups, depth, queries, points, reach=reach))
    finally:
        torch.set_num_threads(1)


def test_whole_pixels_have_the_slope_to_the_right_and_downward():
    y, x = torch.meshgrid(torch.arange(-2.0, 6), torch.arange(-2.0, 7), indexing="ij")
    x, y = (places.reshape(1, -1, 1, 1).requires_grad_() for places in (x, y))
    _check([torch.randn(1, 3, 4, 1, 2).requires_grad_(), x, y, torch.rand_like(x).requires_grad_()])


def test_far_places_reach_nothing_and_places_that_are_no_numbers_stay_in_memory():
    value = torch.randn(1, 3, 4, 1, 20)
    x = torch.tensor([-1.0, 4.0, 1.5, 1.5, -7.0, float("inf")]).view(1, 1, 1, -1).requires_grad_()
    y = torch.tensor([1.5, 1.5, -1.0, 3.0, 1.5, 1.5]).view(1, 1, 1, -1).requires_grad_()
    weight = torch.ones_like(x).requires_grad_()
    for found in _gradients(native, [value.requires_grad_(), x, y, weight]):
        assert torch.count_nonzero(found) == 0
    value, x, y, weight = _inputs(depth=16, points=9)
    out = native(value, torch.full_like(x, float("nan")).requires_grad_(), y, weight)
    assert out.isnan().all()
    out.sum().backward()


def test_any_strides_and_values_without_gradient():
    strange = [tensor.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for tensor in _inputs()]
    assert not any(tensor.is_contiguous() for tensor in strange)
    _check(strange)
    whole = _gradients(native, strange)
    alone = torch.autograd.grad(native(strange[0].detach(), *strange[1:]).sum(), strange[1:])
    law = torch.autograd.grad(native(*strange).sum(), strange)
    for mine, expected in zip(alone, law[1:], strict=True):
        assert torch.equal(mine, expected)
    assert all(torch.equal(a, b) for a, b in zip(whole, _gradients(native, strange), strict=True))


def test_registered_as_pytorch_asks():
    inputs = _inputs()
    torch.library.opcheck(native, inputs)
    grad = torch.randn_like(native(*inputs))
    torch.library.opcheck(native_backward, (grad, *(tensor.detach() for tensor in inputs), True))
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(native_backward, (grad.requires_grad_(), *inputs, True), test_utils=quick)


@pytest.mark.parametrize("form", [native, bags])
def test_second_derivatives_are_those_of_the_reference(form):
    """Weights that are told from places must not count twice."""

    def second(function, inputs):
        value, x, y, weight = inputs
        out = function(value, x, y, weight * x.sigmoid())
        first = torch.autograd.grad((out**2).sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum((g**2).sum() for g in first), inputs)

    inputs = _inputs(reach=-0.5)
    exact = second(reference, [tensor.detach().double().requires_grad_() for tensor in inputs])
    for mine, law in zip(second(form, inputs), exact, strict=True):
        assert ((mine - law).abs().max() / law.abs().max()).item() < 1e-4


class _Sampling(torch.nn.Module):
    def forward(self, value, x, y, weight):
        return deformable_sampling(value, x, y, weight)


def test_compiled_without_a_break_and_exported_as_plain_pytorch(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)
    inputs = _inputs()
    compiled = torch.compile(_Sampling(), fullgraph=True, backend="aot_eager")
    for mine, law in zip(_gradients(compiled, inputs), _gradients(native, inputs), strict=True):
        torch.testing.assert_close(mine, law, rtol=1e-6, atol=1e-6)
    program = torch.export.export(_Sampling(), tuple(tensor.detach() for tensor in inputs))
    assert "aten.grid_sampler.default" in [str(node.target) for node in program.graph.nodes]


def test_what_is_asked_for_is_taken_also_by_both_versions(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)
    inputs = _inputs()
    ways = {impl: deformable_sampling(*inputs, impl=impl) for impl in ("reference", "pytorch", "native")}
    assert "nas_ops_deformable_sampling" in type(ways["native"].grad_fn).__name__
    assert type(ways["pytorch"].grad_fn).__name__ == "_BagsBackward"
    for out in ways.values():
        torch.testing.assert_close(out, ways["native"], rtol=1e-5, atol=1e-5)
    x, offset = torch.randn(1, 5, 5, 8), torch.randn(1, 5, 5, 2 * 9 * 2)
    outs: dict[str, list[torch.Tensor]] = {}
    for name in ("native", "pytorch"):
        monkeypatch.setenv("NAS_OPS", name)
        packed = torch.linspace(-1, 1, 25 * 56).view(1, 5, 5, 56)
        outs[name] = [dcnv3(x, offset, offset[..., :18], groups=2), dcnv4(x, packed, groups=2)]
    for mine, law in zip(*outs.values(), strict=True):
        torch.testing.assert_close(mine, law, rtol=1e-5, atol=1e-5)
