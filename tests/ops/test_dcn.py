"""DCNv3 and DCNv4 are the recorded ones, and what their docstrings say tap by tap."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import dcnv3, dcnv4
from ops.dcnv3.reference import reference as dcnv3_reference
from ops.dcnv4.reference import reference as dcnv4_reference

RECORDED = ("ops_dcnv3_k3", "ops_dcnv4")


def _options(config):
    return {
        **{key: config[key] for key in ("kernel", "stride", "dilation", "offset_scale")},
        "padding": config["pad"], "groups": config["group"], "remove_center": bool(config["remove_center"]),
    }  # fmt: skip


def test_outputs_and_gradients_are_the_recorded_ones(case):
    if "input" in case.arrays:
        out = dcnv3(case.get("input"), case.get("offset"), case.get("mask"), **_options(case.config))
    else:
        out = dcnv4(case.get("value"), case.get("offset_mask"), **_options(case.config))
    case.agrees(out=out)


_pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)), kernel=_pairs, stride=_pairs, dilation=_pairs,
    groups=st.integers(1, 3), offset_scale=st.sampled_from([0.5, 1.0, 2.0]), remove_center=st.booleans(),
)  # fmt: skip
def test_every_window_is_the_reference(size, kernel, stride, dilation, groups, offset_scale, remove_center):
    taps = kernel[0] * kernel[1] - remove_center
    padding = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    rows, columns = ((s + p - 1) // t + 1 for s, p, t in zip(size, padding, stride, strict=True))
    options = {
        "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
        "offset_scale": offset_scale, "remove_center": remove_center,
    }  # fmt: skip
    x = torch.randn(2, *size, 2 * groups, dtype=torch.float64)
    packed = torch.randn(2, rows, columns, -(-3 * groups * taps // 8) * 8, dtype=torch.float64)
    if not taps:
        with pytest.raises(ValueError, match="no taps"):
            dcnv4(x, packed, **options)
        return
    law = dcnv4_reference(x, packed, **options)
    torch.testing.assert_close(dcnv4(x, packed, **options), law, rtol=1e-12, atol=1e-12)
    groupwise = packed[..., : 3 * groups * taps].unflatten(-1, (groups, 3 * taps))
    offset, mask = (part.flatten(3) for part in groupwise.split((2 * taps, taps), -1))
    torch.testing.assert_close(dcnv3_reference(x, offset, mask, **options), law, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dcnv3(x, offset, mask, **options), law, rtol=1e-12, atol=1e-12)


def test_without_offsets_it_is_a_depthwise_convolution():
    """Taps go column by column: weight [row, column] of a convolution is weight [column, row] here."""
    weight, x = torch.randn(3, 5), torch.randn(2, 6, 7, 4)
    mask = weight.t().flatten().expand(2, 6, 7, 15)
    out = dcnv3(x, torch.zeros(2, 6, 7, 30), mask, kernel=(3, 5), padding=(1, 2))
    same = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), weight.expand(4, 1, 3, 5), padding=(1, 2), groups=4)
    torch.testing.assert_close(out, same.permute(0, 2, 3, 1))


def test_an_image_of_a_batch_never_reads_another():
    """The published DCNv4 kernel does, at 7 x 7 and batch 8, where a block of queries straddles two images."""
    x, packed = torch.randn(8, 7, 7, 32), torch.randn(8, 7, 7, 56)
    options = {"groups": 2, "offset_scale": 2.0}
    alone = torch.cat([dcnv4(x[i : i + 1], packed[i : i + 1], **options) for i in range(8)])
    torch.testing.assert_close(dcnv4(x, packed, **options), alone, rtol=0, atol=1e-5)


def test_derivatives_are_those_of_finite_differences():
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    packed = torch.randn(1, 2, 2, 56, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *t: dcnv4(*t, groups=2, stride=2), (x, packed), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *t: dcnv4(*t, groups=2, stride=2), (x, packed), fast_mode=True)


def test_places_keep_their_digits_in_half_precision():
    """With bfloat16 places the far end of a map of 112 would be off by a quarter of a pixel."""
    x = torch.randn(1, 112, 112, 4).bfloat16()
    offset, mask = torch.randn(1, 112, 112, 18).bfloat16(), torch.rand(1, 112, 112, 9).bfloat16()
    out, law = dcnv3(x, offset, mask), dcnv3(x.double(), offset.double(), mask.double())
    assert out.dtype == torch.bfloat16
    assert float((out.double() - law).abs().max() / law.abs().max()) < 2**-8


class _Both(torch.nn.Module):
    def forward(self, x, packed):
        return dcnv4(dcnv3(x, packed[..., :36], packed[..., 36:54], groups=2), packed, groups=2)


def test_traced_compiled_and_without_data():
    inputs = torch.randn(2, 5, 6, 4), torch.randn(2, 5, 6, 56)
    expected = _Both()(*inputs)
    torch.testing.assert_close(torch.compile(_Both(), fullgraph=True, backend="eager")(*inputs), expected)
    images = torch.export.Dim("images", min=2, max=64)
    program = torch.export.export(_Both(), inputs, dynamic_shapes=({0: images}, {0: images}))
    torch.testing.assert_close(program.module()(*inputs), expected)
    more = torch.randn(5, 5, 6, 4), torch.randn(5, 5, 6, 56)
    torch.testing.assert_close(program.module()(*more), _Both()(*more))
    assert _Both()(*(tensor.to("meta") for tensor in inputs)).shape == expected.shape


@pytest.mark.parametrize(
    ("x", "offset", "mask", "options", "words"),
    [
        ((1, 5, 4), (1, 5, 5, 18), (1, 5, 5, 9), {}, r"x \(1, 5, 4\), allowed: \(N, H, W, C\)"),
        ((1, 5, 5, 4), (1, 5, 5, 9), (1, 5, 5, 9), {}, r"offset \(1, 5, 5, 9\), allowed: \(1, 5, 5, 18\)"),
        ((1, 5, 5, 4), (1, 3, 3, 18), (1, 5, 5, 9), {"stride": 2}, r"mask \(1, 5, 5, 9\), allowed: \(1, 3, 3, 9\)"),
        (
            (1, 5, 5, 4),
            (1, 5, 5, 18),
            (1, 5, 5, 9),
            {"groups": 3},
            "4 channels in 3 groups, allowed: a multiple of the",
        ),
        (
            (1, 2, 2, 4),
            (1, 5, 5, 18),
            (1, 5, 5, 9),
            {"padding": 0},
            "kernel of 3 x 3 on a map of 2 x 2, allowed: a map",
        ),
    ],
)
def test_other_shapes_are_refused(x, offset, mask, options, words):
    with pytest.raises(ValueError, match=f"^dcnv3: {words}"):
        dcnv3(torch.ones(x), torch.ones(offset), torch.ones(mask), **options)


def test_packed_channels_fill_up_to_a_multiple_of_eight():
    with pytest.raises(ValueError, match=r"^dcnv4: offset_mask \(1, 5, 5, 54\), allowed: \(1, 5, 5, 56\)$"):
        dcnv4(torch.ones(1, 5, 5, 4), torch.ones(1, 5, 5, 54), groups=2)
