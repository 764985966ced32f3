"""The native depthwise convolution is the reference in float64, in every layout, and a citizen of PyTorch."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import depthwise_conv2d
from ops.depthwise_conv2d.choice import way
from ops.depthwise_conv2d.native import native, native_backward
from ops.depthwise_conv2d.reference import reference
from ops.native import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason="no compiler (tests/ops/test_native.py asks for one)")
TOLERANCE = 2e-6
"""Of the largest value, or of what sums of random signs come to where they happen to cancel."""


def _inputs(batch, channels, height, width, tall, wide):
    return torch.randn(batch, channels, height, width), torch.randn(channels, 1, tall, wide), torch.randn(channels)


def _laid(x, layout):
    """The same numbers as a tensor of another layout."""
    if layout == "slice of channels":
        wider = torch.cat((torch.full_like(x, float("nan")), x), 1).contiguous(memory_format=torch.channels_last)
        return wider[:, x.shape[1] :]
    if layout == "transposed":
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    return x.contiguous(memory_format=torch.channels_last if layout == "channels last" else torch.contiguous_format)


LAYOUTS = ("contiguous", "channels last", "slice of channels", "transposed")


def _check(x, weight, bias, dilation, stride, threads=1):
    leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    law = reference(*exact, dilation, stride)
    direction = torch.randn(law.shape, dtype=torch.float64)
    torch.set_num_threads(threads)
    try:
        out = depthwise_conv2d(*leaves, dilation=dilation, stride=stride, impl="native")
        found = [out, *torch.autograd.grad(out, leaves, direction.float())]
    finally:
        torch.set_num_threads(1)
    exacts = [law, *torch.autograd.grad(law, exact, direction.float().double())]
    for name, mine, expected in zip(("out", "x", "weight", "bias"), found, exacts, strict=True):
        assert mine.shape == expected.shape
        floor = law[:, 0].numel() ** 0.5 if name in ("weight", "bias") else 1.0
        error = ((mine - expected).abs().max() / expected.abs().max().clamp(min=floor)).item()
        assert error < TOLERANCE, f"{name}: error {error:.1e}"


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3), channels=st.sampled_from([1, 3, 16, 17, 37]), height=st.integers(1, 19),
    width=st.integers(1, 35), tall=st.sampled_from([1, 3, 7, 13, 31]), wide=st.sampled_from([1, 3, 5, 11, 51]),
    spaced=st.sampled_from([(1, 1), (2, 1), (3, 1), (7, 1), (1, 2), (1, 3)]), layout=st.sampled_from(LAYOUTS),
    threads=st.sampled_from([1, 3]),
)  # fmt: skip
def test_output_and_gradients_are_the_reference(batch, channels, height, width, tall, wide, spaced, layout, threads):
    x, weight, bias = _inputs(batch, channels, height, width, tall, wide)
    _check(_laid(x, layout), weight, bias, *spaced, threads)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 16, 1, 1), (2, 33, 14, 14), (1, 17, 32, 29)])
def test_large_kernels_and_whole_tiles(shape, layout):
    for tall, wide in ((31, 31), (5, 51), (7, 7)):
        x, weight, bias = _inputs(*shape, tall, wide)
        _check(_laid(x, layout), weight, bias, 1, 1)


def test_layout_is_kept_and_gradients_of_any_strides_are_taken():
    for layout, form in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
        x, weight, bias = _inputs(2, 16, 5, 6, 3, 3)
        x = _laid(x, layout).requires_grad_()
        out = native(x, weight, bias, 1, 1)
        assert out.is_contiguous(memory_format=form)
        out.sum().backward()  # an expanded gradient, all strides 0
        law = torch.autograd.grad(reference(x, weight, bias).sum(), x)[0]
        torch.testing.assert_close(x.grad, law, rtol=1e-5, atol=1e-5)
        assert x.grad.is_contiguous(memory_format=form)


def test_numbers_that_are_none_stay_where_they_are():
    """A poisoned image, channel or place reaches what it must and nothing else."""
    x, weight, _ = _inputs(3, 20, 6, 6, 3, 3)
    x[1, 18, 0, 0] = float("nan")
    out = native(x, weight, None, 1, 1)
    assert torch.equal(out.isnan(), reference(x, weight).isnan())
    assert out.isnan().sum() == 4


def test_runs_are_the_same_for_a_number_of_threads():
    x, weight, _ = _inputs(5, 40, 9, 9, 5, 5)
    grad = torch.randn_like(x)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            first, second = (native_backward(grad, x, weight, 1, 1, True, True, True) for _ in range(2))
        finally:
            torch.set_num_threads(1)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("dilation", "stride"), [(1, 1), (2, 1), (1, 2)])
def test_registered_as_pytorch_asks(dilation, stride):
    x, weight, bias = (t.requires_grad_() for t in _inputs(2, 5, 4, 7, 3, 5))
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(native, (x, weight, bias, dilation, stride))
    torch.library.opcheck(native, (last, weight, None, dilation, stride), test_utils=("test_schema", "test_faketensor"))
    grad = torch.randn_like(native(x, weight, bias, dilation, stride)).requires_grad_()
    torch.library.opcheck(native_backward, (grad, x, weight, dilation, stride, True, True, True))


def test_second_derivatives_are_those_of_the_reference():
    inputs = [t.requires_grad_() for t in _inputs(2, 3, 5, 4, 3, 3)]

    def second(impl, inputs):
        out = depthwise_conv2d(*inputs, impl=impl)
        first = torch.autograd.grad((out**3).sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum((g**2).sum() for g in first), inputs)

    exact = second("reference", [t.detach().double().requires_grad_() for t in inputs])
    for mine, law in zip(second("native", inputs), exact, strict=True):
        assert float((mine - law).abs().max() / law.abs().max()) < 1e-5


class _Net(torch.nn.Module):
    def forward(self, x, weight):
        return depthwise_conv2d(x, weight, dilation=2).relu()


def test_compiled_without_a_break_and_exported_as_plain_pytorch():
    x, weight, _ = _inputs(2, 17, 8, 8, 9, 9)
    leaves = x.requires_grad_(), weight.requires_grad_()
    compiled = torch.compile(_Net(), fullgraph=True, backend="aot_eager")
    outs = compiled(*leaves), _Net()(*leaves)
    for mine, law in zip(*((out, *torch.autograd.grad(out.sum(), leaves)) for out in outs), strict=True):
        torch.testing.assert_close(mine, law, rtol=1e-5, atol=1e-5)
    program = torch.export.export(_Net(), (x.detach(), weight.detach()))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called == ["aten.conv2d.default", "aten.relu.default"]


def test_the_way_follows_device_dtype_and_what_is_asked(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)

    def taken(x, weight, dilation=1, stride=1, asked=None):
        return way(x, weight, None, dilation=dilation, stride=stride, asked=asked)

    x, weight = torch.randn(2, 3, 40, 40), torch.randn(3, 1, 31, 31)
    small = torch.randn(3, 1, 3, 3, requires_grad=True)
    assert taken(x, weight) == taken(x, small, dilation=2) == taken(torch.empty(2, 3, 450, 450), small) == "native"
    assert taken(_laid(x, "channels last"), small) == "reference", "PyTorch's own is as fast there"
    assert taken(x, small.detach()) == "reference", "a forward pass of few taps"
    strip = torch.randn(3, 1, 51, 5)
    assert taken(_laid(x[:, :, :14, :14], "channels last"), strip) == "reference", "and of strips on small maps"
    assert taken(_laid(x, "channels last"), strip) == "native"
    wide = _laid(torch.randn(2, 8, 9, 9), "channels last")
    assert taken(wide[:, :3], small.detach()) == taken(wide[:, 5:], small) == "native", "PyTorch copies such parts"
    assert taken(_laid(x, "channels last"), small, asked="native") == "native"
    assert taken(x, small, dilation=2, stride=2) == "reference"
    with torch.autocast("cpu", torch.bfloat16):
        assert taken(x, weight) == "reference"
    monkeypatch.setenv("NAS_OPS", "pytorch")
    assert taken(x, weight) == taken(x, weight.requires_grad_()) == "spectral"
    assert taken(torch.randn(2, 3, 4, 4), weight) == "small_maps"
    assert taken(x, torch.randn(3, 1, 7, 7).requires_grad_()) == "spectral_gradient"
    assert taken(_laid(x, "channels last"), small) == taken(x, small, stride=2) == "reference"
    assert taken(x.to("meta"), weight.to("meta")) == taken(x.half(), weight.half()) == "reference"
    for asked, dilation, stride in product(("reference", "pytorch", "native"), (1, 3), (1, 2)):
        out = depthwise_conv2d(x, weight, dilation=dilation, stride=stride, impl=asked)
        torch.testing.assert_close(out, reference(x, weight, None, dilation, stride), rtol=1e-4, atol=1e-3)
