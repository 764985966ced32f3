"""The fast paths of the depthwise convolution are the reference, outputs and gradients."""

from functools import partial

import pytest
import torch

from ops.depthwise_conv2d import depthwise_conv2d
from ops.depthwise_conv2d.choice import way
from ops.depthwise_conv2d.reference import reference
from ops.depthwise_conv2d.small_maps import reachable, small_maps
from ops.depthwise_conv2d.spectral import spectral

SHAPES = [
    (1, 1), (2, 2), (3, 3), (4, 4), (5, 7), (1, 6), (8, 8), (13, 14), (17, 16),
]  # fmt: skip
KERNELS = [(3, 3), (7, 7), (31, 31), (1, 11), (51, 5)]


def _gradients(function, x, weight, bias):
    x, weight, bias = (t.detach().clone().requires_grad_() for t in (x, weight, bias))
    out = function(x, weight, bias)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape))
    return out, x.grad, weight.grad, bias.grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_equal_the_reference(shape, kernel, layout):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(3, 1, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    law = _gradients(reference, x, weight, bias)
    for each in (small_maps, spectral, partial(spectral, gradient_only=True)):
        for mine, expected in zip(_gradients(each, x, weight, bias), law, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 2), ((3, 3), 7), ((7, 7), 3), ((5, 1), 4)])
def test_dilated_kernels_equal_the_reference(shape, kernel, dilation):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 1, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    ours, law = (
        _gradients(lambda x, w, b, function=function: function(x, w, b, dilation), x, weight, bias)
        for function in (small_maps, reference)
    )
    assert ours[0].shape == x.shape
    spectra = _gradients(lambda x, w, b: spectral(x, w, b, dilation), x, weight, bias)
    for mine, other, expected in zip(ours, spectra, law, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(other, expected, rtol=1e-10, atol=1e-10)


def test_taps_that_meet_no_map_get_no_gradient():
    x, weight = torch.randn(2, 3, 2, 2), torch.randn(3, 1, 7, 7, requires_grad=True)
    depthwise_conv2d(x, weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad[:, :, 2:5, 2:5].abs().min() > 0
    weight.grad[:, :, 2:5, 2:5] = 0
    assert weight.grad.abs().max() == 0


def test_reachable_keeps_all_taps_of_kernels_smaller_than_the_map():
    weight = torch.randn(3, 1, 7, 5)
    assert reachable(weight, 8, 8).shape == (3, 1, 7, 5)
    assert reachable(weight, 2, 8).shape == (3, 1, 3, 5)
    assert torch.equal(reachable(weight, 1, 1), weight[:, :, 3:4, 2:3])


def test_export_sees_one_plain_convolution():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3, 1, 7, 7))

        def forward(self, x):
            return depthwise_conv2d(x, self.weight)

    program = torch.export.export(Net(), (torch.randn(1, 3, 4, 4),))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called == ["aten.conv2d.default"]


@pytest.mark.parametrize("weight", [(3, 1, 4, 3), (2, 1, 3, 3), (3, 3, 3, 3)])
def test_even_kernels_and_other_widths_are_refused(weight):
    with pytest.raises(ValueError, match=r"depthwise_conv2d: weight .* allowed: \(3, 1, odd, odd\)"):
        depthwise_conv2d(torch.randn(1, 3, 8, 8), torch.randn(weight))


def test_dilations_and_strides_below_one_are_refused():
    for name in ("dilation", "stride"):
        with pytest.raises(ValueError, match=f"depthwise_conv2d: {name} 0, allowed: 1 or more"):
            depthwise_conv2d(torch.randn(1, 3, 8, 8), torch.randn(3, 1, 3, 3), **{name: 0})


@pytest.mark.parametrize(
    ("shape", "asked"), [((2, 3, 14, 14), None), ((2, 3, 14, 14), "pytorch"), ((2, 3, 9, 20), None)]
)
def test_a_contiguous_map_is_trained_in_channels_last(shape, asked):
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(3, 1, 3, 3, requires_grad=True)
    turned = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert way(x, weight, None, dilation=1, stride=1, asked=asked) == "channels_last"
    assert way(turned, weight, None, dilation=1, stride=1, asked=asked) == "reference"
    ours, law = (_gradients(f, x, weight, torch.zeros(3)) for f in (depthwise_conv2d, reference))
    for mine, theirs in zip(ours, law, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
