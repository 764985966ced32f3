"""Deformable sampling: its fast and its exported form are the reference, outputs and gradients."""

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from ops import deformable_sampling
from ops.deformable_sampling.bags import bags
from ops.deformable_sampling.grids import grids
from ops.deformable_sampling.reference import reference

FAST = import_module("ops.deformable_sampling.bags")


def _inputs(batch=2, height=5, width=6, groups=2, depth=3, queries=7, points=4, dtype=torch.float64, reach=2.0):
    """Places up to `reach` pixels beyond the map."""
    places = [torch.rand(batch, queries, groups, points, dtype=torch.float64) for _ in range(2)]
    x, y = (p * (s + 2 * reach) - reach for p, s in zip(places, (width, height), strict=True))
    value = torch.randn(batch, height, width, groups, depth, dtype=torch.float64)
    weight = torch.randn(batch, queries, groups, points, dtype=torch.float64)
    return [tensor.to(dtype).requires_grad_() for tensor in (value, x, y, weight)]


def _gradients(function, inputs):
    out = function(*inputs)
    direction = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, inputs, direction)]


def _same(found, law, tolerance=1e-12):
    for mine, expected in zip(found, law, strict=True):
        torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9), width=st.integers(1, 9), groups=st.integers(1, 3), depth=st.sampled_from([1, 2, 16]),
    queries=st.integers(1, 9), points=st.sampled_from([1, 2, 9]), reach=st.sampled_from([-1.0, 0.5, 20.0]),
)  # fmt: skip
def test_fast_and_exported_forms_are_the_reference(height, width, groups, depth, queries, points, reach):
    inputs = _inputs(2, height, width, groups, depth, queries, points, reach=reach)
    law = _gradients(reference, inputs)
    _same(_gradients(bags, inputs), law)
    _same(_gradients(grids, inputs), law)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 4)])
def test_whole_pixels_have_the_slope_to_the_right_and_downward(size):
    """Where a training starts: all learned offsets are zero, and every place is a whole number."""
    height, width = size
    y, x = torch.meshgrid(*(torch.arange(-2.0, side + 3) for side in size), indexing="ij")
    x, y = (places.reshape(1, -1, 1, 1).double().requires_grad_() for places in (x, y))
    value = torch.randn(1, height, width, 1, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.rand_like(x).requires_grad_()
    law = _gradients(reference, [value, x, y, weight])
    _same(_gradients(bags, [value, x, y, weight]), law)
    right = reference(value, x + 1e-7, y, weight) - law[0]
    reached = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    direction = torch.linspace(-1, 1, law[0].numel(), dtype=torch.float64).view(law[0].shape)
    slopes = ((right / 1e-7) * direction).sum(-1, keepdim=True) * reached
    torch.testing.assert_close(law[2] * reached, slopes, rtol=1e-6, atol=1e-6)


def test_places_out_of_reach_have_no_gradient():
    value = torch.randn(1, 3, 4, 1, 2, dtype=torch.float64)
    x = torch.tensor([-1.0, 4.0, 1.5, 1.5, -7.0, float("inf")], dtype=torch.float64).view(1, 1, 1, -1).requires_grad_()
    y = torch.tensor([1.5, 1.5, -1.0, 3.0, 1.5, 1.5], dtype=torch.float64).view(1, 1, 1, -1).requires_grad_()
    weight = torch.ones_like(x).detach().requires_grad_()
    out = deformable_sampling(value, x, y, weight)
    assert torch.count_nonzero(out) == 0
    for gradient in torch.autograd.grad(out.sum(), (x, y, weight)):
        assert torch.count_nonzero(gradient) == 0


def test_places_that_are_no_numbers_stay_in_memory():
    value, x, y, weight = _inputs(depth=16, points=9)
    x = torch.full_like(x, float("nan")).requires_grad_()
    out = deformable_sampling(value, x, y, weight)
    assert out.isnan().all()
    out.sum().backward()


def test_images_of_a_batch_do_not_meet_however_they_are_taken(monkeypatch):
    inputs = _inputs(batch=5, depth=16, points=9)
    whole = _gradients(bags, inputs)
    for size in (1, 4 * 9 * 7 * 2 * 2):
        monkeypatch.setattr(FAST, "BUFFER", size)
        _same(_gradients(bags, inputs), whole)
    _same([deformable_sampling(*(tensor[3:4] for tensor in inputs))], [whole[0][3:4]])


def test_any_strides():
    value, x, y, weight = _inputs()
    strange = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (value, x, y, weight)]
    strange[2] = y.transpose(0, 3).contiguous().transpose(0, 3)
    assert not any(tensor.is_contiguous() for tensor in strange)
    _same(_gradients(bags, strange), _gradients(reference, strange))


def test_derivatives_are_those_of_finite_differences():
    inputs = _inputs(batch=1, height=3, width=4, queries=3, points=2)
    assert torch.autograd.gradcheck(deformable_sampling, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(deformable_sampling, inputs, fast_mode=True)


@pytest.mark.parametrize("form", [bags, grids])
def test_single_precision(form):
    single = _inputs(height=56, width=56, queries=100, depth=16, points=9, dtype=torch.float32)
    exact = [tensor.detach().double().requires_grad_() for tensor in single]
    # places near 56 are rounded to 2e-6 of a pixel, before and after scaling to [-1, 1]
    for mine, law in zip(_gradients(form, single), _gradients(reference, exact), strict=True):
        assert float(((mine.double() - law).abs().max() / law.abs().max()).detach()) < 2e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_is_rounded_once(dtype, tolerance):
    half = _inputs(dtype=dtype)
    out = deformable_sampling(*half)
    law = reference(*(tensor.detach().double() for tensor in half))
    assert out.dtype == dtype
    assert float((out.detach().double() - law).abs().max() / law.abs().max()) < tolerance
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(deformable_sampling(*half), out)


class _Sampling(torch.nn.Module):
    def forward(self, value, x, y, weight):
        return deformable_sampling(value, x, y, weight)


def test_traced_compiled_mapped_and_without_data():
    inputs = tuple(tensor.detach() for tensor in _inputs())
    expected = reference(*inputs)
    torch.testing.assert_close(torch.compile(_Sampling(), fullgraph=True, backend="eager")(*inputs), expected)
    program = torch.export.export(_Sampling(), inputs)
    torch.testing.assert_close(program.module()(*inputs), expected)
    assert "aten.grid_sampler.default" in [str(node.target) for node in program.graph.nodes]
    mapped = torch.func.vmap(lambda *each: deformable_sampling(*(tensor[None] for tensor in each))[0])(*inputs)
    torch.testing.assert_close(mapped, expected)
    meta = [tensor.to("meta").requires_grad_() for tensor in inputs]
    with FlopCounterMode(display=False) as counter:
        out = deformable_sampling(*meta)
        out.sum().backward()
    assert (out.shape, meta[0].grad.shape) == (expected.shape, inputs[0].shape)
    assert counter.get_total_flops() == 0


@pytest.mark.parametrize(
    ("place", "shape", "words"),
    [
        (0, (2, 5, 6, 6), r"value \(2, 5, 6, 6\), allowed: \(N, H, W, G, D\)"),
        (1, (2, 7, 3, 4), r"x \(2, 7, 3, 4\), allowed: \(2, Q, 2, P\)"),
        (2, (2, 7, 2, 1), r"y \(2, 7, 2, 1\), allowed: \(2, 7, 2, 4\)"),
        (3, (2, 6, 2, 4), r"weight \(2, 6, 2, 4\), allowed: \(2, 7, 2, 4\)"),
    ],
)
def test_other_shapes_are_refused(place, shape, words):
    inputs = _inputs()
    inputs[place] = torch.ones(shape)
    with pytest.raises(ValueError, match=f"^deformable_sampling: {words}$"):
        deformable_sampling(*inputs)
