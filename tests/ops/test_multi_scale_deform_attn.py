"""Multi-scale deformable attention is the recorded one, and what its docstring says point by point."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import flash_deform_attn, multi_scale_deform_attn
from ops.multi_scale_deform_attn.reference import reference

RECORDED = "ops_flash_deform_attn"


def test_outputs_and_gradients_are_the_recorded_ones(case):
    sizes = [tuple(size) for size in case["spatial_shapes"].tolist()]
    starts = [sum(height * width for height, width in sizes[:level]) for level in range(len(sizes))]
    assert case["level_start_index"].tolist() == starts
    tensors = case.get("value"), case.get("sampling_loc_attn")
    case.agrees(out=flash_deform_attn(*tensors, sizes=sizes, points=case.config["n_points"]))


def _inputs(sizes=((3, 4), (2, 1)), batch=2, queries=3, heads=2, depth=2, points=2, dtype=torch.float64):
    positions = sum(height * width for height, width in sizes)
    value = torch.randn(batch, positions, heads, depth, dtype=torch.float64)
    locations = 1.6 * torch.rand(batch, queries, heads, len(sizes), points, 2, dtype=torch.float64) - 0.3
    weights = torch.randn(batch, queries, heads, len(sizes), points, dtype=torch.float64)
    return [tensor.to(dtype) for tensor in (value, locations, weights)]


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3), points=st.integers(1, 3)
)
def test_any_pyramid_is_the_reference(sizes, points):
    inputs = _inputs(sizes, points=points)
    law = reference(*inputs, sizes)
    torch.testing.assert_close(multi_scale_deform_attn(*inputs, sizes=sizes), law, rtol=1e-11, atol=1e-11)


def test_derivatives_are_those_of_finite_differences():
    inputs = [tensor.requires_grad_() for tensor in _inputs()]

    def attend(*tensors):
        return multi_scale_deform_attn(*tensors, sizes=((3, 4), (2, 1)))

    assert torch.autograd.gradcheck(attend, inputs, fast_mode=True)


def test_half_precision_images_and_strides():
    half = _inputs(dtype=torch.bfloat16)
    half[0] = half[0].transpose(1, 2).contiguous().transpose(1, 2)
    options = {"sizes": ((3, 4), (2, 1))}
    out, law = (multi_scale_deform_attn(*tensors, **options) for tensors in (half, [t.double() for t in half]))
    assert out.dtype == torch.bfloat16
    assert float((out.double() - law).abs().max() / law.abs().max()) < 2**-7
    alone = multi_scale_deform_attn(*(tensor[1:] for tensor in half), **options)
    assert torch.equal(alone, out[1:])


class _Attention(torch.nn.Module):
    def forward(self, value, packed):
        return flash_deform_attn(value, packed, sizes=((3, 4), (2, 1)), points=2)


def test_traced_compiled_and_without_data():
    value, packed = _inputs()[0], torch.rand(2, 3, 2, 12, dtype=torch.float64)
    expected = _Attention()(value, packed)
    torch.testing.assert_close(torch.compile(_Attention(), fullgraph=True, backend="eager")(value, packed), expected)
    torch.testing.assert_close(torch.export.export(_Attention(), (value, packed)).module()(value, packed), expected)
    assert _Attention()(value.to("meta"), packed.to("meta")).shape == expected.shape


def test_other_shapes_are_refused():
    value, locations, weights = _inputs()
    with pytest.raises(ValueError, match=r"^multi_scale_deform_attn: value \(2, 14, 2, 2\), allowed: \(B, 12, G, D\)$"):
        multi_scale_deform_attn(value, locations, weights, sizes=[(3, 4)])
    with pytest.raises(ValueError, match=r"^multi_scale_deform_attn: no sizes, allowed: at least one level$"):
        multi_scale_deform_attn(value, locations, weights, sizes=[])
    with pytest.raises(ValueError, match=r"^flash_deform_attn: packed \(2, 3, 2, 11\), allowed: \(2, Q, 2, 12\)$"):
        flash_deform_attn(value, torch.ones(2, 3, 2, 11), sizes=((3, 4), (2, 1)), points=2)
