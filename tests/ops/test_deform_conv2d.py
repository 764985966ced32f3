"""The deformable convolution is the recorded one, torchvision's, and what its docstring says tap by tap."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from ops import deform_conv2d
from ops.deform_conv2d.reference import reference

RECORDED = "ops_deform_conv2d"


def test_outputs_and_gradients_are_the_recorded_ones(case):
    names = ("input", "offset", "weight", "bias", "mask")
    options = {key: tuple(case.config[key]) for key in ("stride", "padding", "dilation")}
    case.agrees(out=deform_conv2d(*map(case.get, names), **options))


_pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)), kernel=_pairs, stride=_pairs, dilation=_pairs,
    groups=st.sampled_from([1, 2, 4]), sharing=st.sampled_from([1, 2, 4]),
    modulated=st.booleans(), biased=st.booleans(),
)  # fmt: skip
def test_every_window_is_the_reference_and_torchvision(
    size, kernel, stride, dilation, groups, sharing, modulated, biased
):
    padding = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    rows, columns = ((s + p - 1) // t + 1 for s, p, t in zip(size, padding, stride, strict=True))
    options, taps = {"stride": stride, "padding": padding, "dilation": dilation}, kernel[0] * kernel[1]
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    offset = torch.randn(2, sharing * 2 * taps, rows, columns, dtype=torch.float64)
    weight = torch.randn(8, 4 // groups, *kernel, dtype=torch.float64)
    bias = torch.randn(8, dtype=torch.float64) if biased else None
    mask = torch.rand(2, sharing * taps, rows, columns, dtype=torch.float64) if modulated else None
    out = deform_conv2d(x, offset, weight, bias, mask, **options)
    torch.testing.assert_close(out, reference(x, offset, weight, bias, mask, **options), rtol=1e-12, atol=1e-12)
    theirs = torchvision.ops.deform_conv2d(x, offset, weight, bias, mask=mask, **options)
    torch.testing.assert_close(out, theirs, rtol=1e-12, atol=1e-12)


def test_without_offsets_it_is_a_convolution_and_costs_one():
    x, weight = torch.randn(2, 6, 9, 8), torch.randn(4, 3, 3, 5)
    offset = torch.zeros(2, 30, 4, 6)
    same = torch.nn.functional.conv2d(x, weight, stride=(2, 1), padding=(0, 1), groups=2)
    out = deform_conv2d(x, offset, weight, stride=(2, 1), padding=(0, 1))
    torch.testing.assert_close(out, same, rtol=1e-5, atol=1e-5)
    meta = [tensor.to("meta") for tensor in (x, offset, weight)]
    with FlopCounterMode(display=False) as counter:
        assert deform_conv2d(*meta, stride=(2, 1), padding=(0, 1)).shape == same.shape
    assert counter.get_total_flops() // 2 == 2 * 4 * 6 * (3 * 5) * 3 * 4


def _small():
    shapes = ((1, 2, 3, 3), (1, 18, 3, 3), (2, 2, 3, 3), (2,), (1, 9, 3, 3))
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_derivatives_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(lambda *t: deform_conv2d(*t, padding=1), _small(), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *t: deform_conv2d(*t, padding=1), _small(), fast_mode=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_and_any_strides(dtype, tolerance):
    half = [tensor.detach().to(dtype) for tensor in _small()]
    half = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in half]
    assert not half[1].is_contiguous()
    law = deform_conv2d(*(tensor.double() for tensor in half), padding=1)
    out = deform_conv2d(*half, padding=1)
    assert out.dtype == dtype
    assert float((out.double() - law).abs().max() / law.abs().max()) < tolerance


class _Convolution(torch.nn.Module):
    def forward(self, x, offset, weight, bias, mask):
        return deform_conv2d(x, offset, weight, bias, mask, padding=1)


def test_traced_and_compiled():
    inputs = tuple(tensor.detach() for tensor in _small())
    expected = _Convolution()(*inputs)
    torch.testing.assert_close(torch.compile(_Convolution(), fullgraph=True, backend="eager")(*inputs), expected)
    program = torch.export.export(_Convolution(), inputs)
    torch.testing.assert_close(program.module()(*inputs), expected)
    assert not [node for node in program.graph.nodes if "torchvision" in str(node.target)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": (1, 17, 3, 3)}, "offset has 17 channels, allowed: 18 times a divisor of 2"),
        ({"offset": (1, 18, 2, 3)}, r"offset \(1, 18, 2, 3\), allowed: \(1, O \* 18, 3, 3\)"),
        (
            {"weight": (2, 3, 3, 3)},
            r"weight \(2, 3\) for 2 channels, allowed: \(D, 2 / groups\), groups a divisor of both",
        ),
        ({"bias": (3,)}, r"bias \(3,\), allowed: \(2,\)"),
        ({"mask": (1, 18, 3, 3)}, r"mask \(1, 18, 3, 3\), allowed: \(1, 9, 3, 3\)"),
    ],
)
def test_other_shapes_are_refused(change, words):
    inputs = dict(zip(("x", "offset", "weight", "bias", "mask"), _small(), strict=True))
    inputs |= {name: torch.ones(shape) for name, shape in change.items()}
    with pytest.raises(ValueError, match=f"^deform_conv2d: {words}$"):
        deform_conv2d(**inputs, padding=1)
