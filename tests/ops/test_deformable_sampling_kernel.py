"""Deformable sampling by our kernels: interpreted against the reference in float64, and as PyTorch sees it."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import dcnv3, dcnv4, deformable_sampling
from ops.deformable_sampling.kernel import CONFIGURATIONS, backward, configuration, forward
from ops.deformable_sampling.registered import kernel_sampling, sample, sample_backward
from ops.deformable_sampling.shifted import plain
from ops.deformable_sampling.window import Window
from ops.proof import interpreted, on_cpu

on_cpu(sample, sample_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 6e-4}
THREE = Window.of(3, 1, 1, 1, False)
ODD = Window.of((3, 2), (2, 1), (1, 2), (1, 2), True)
CASES = {
    "packed": ((1, 5, 7), 2, 16, THREE, True, False, 1.0, 1.0),
    "far outside, softmax": ((2, 4, 3), 1, 37, THREE, False, True, 1.0, 40.0),
    "one pixel": ((3, 1, 1), 3, 5, THREE, True, True, 0.7, 0.5),
    "odd window, three groups of 32": ((2, 5, 4), 3, 32, ODD, False, False, 1.5, 2.0),
    "wide": ((1, 2, 19), 1, 48, Window.of((1, 2), 1, 0, 1, False), True, True, 2.0, 3.0),
    "window larger than the map": ((1, 2, 3), 1, 20, Window.of((5, 1), 1, (6, 0), 3, True), False, True, 1.0, 1.0),
}
"""Map, groups, channels of a group, window, whether packed, whether softmax, scale, and the places' spread."""


def _inputs(dtype, size, groups, depth, window, packed, softmax, scale, spread):
    taps, out = len(window.taps), window.out_size("test", size[1:])
    value, grad = torch.randn(*size, groups * depth), torch.randn(size[0], *out, groups * depth)
    numbers = -(-3 * groups * taps // 8) * 8 if packed else 2 * groups * taps
    places = spread * torch.randn(size[0], *out, numbers)
    weight = None if packed else torch.randn(size[0], *out, groups * taps)
    tensors = [None if each is None else each.to(dtype) for each in (grad, value, places, weight)]
    return tensors, (window, groups, scale, softmax)


def _law(grad, value, places, weight, options):
    wide = [None if each is None else each.double().requires_grad_() for each in (value, places, weight)]
    out = plain(*wide, *options)
    return [out.detach(), *torch.autograd.grad(out, [each for each in wide if each is not None], grad.double())]


def _error(found, exact):
    return ((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-3)).item()


@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_both_passes_are_those_of_the_reference(dtype):
    launched = []
    for number, (name, case) in enumerate(CASES.items()):
        tensors, options = _inputs(dtype, *case)
        with interpreted(count=False, reverse=number % 2 == 1) as run:
            guarded = [None if each is None else run.guarded(each) for each in tensors]
            out = forward(*guarded[1:], *options)
            found = out, *backward(*guarded, out, *options)
        launched += run.launched
        for mine, exact in zip(found, _law(*tensors, options), strict=False):
            assert mine.dtype == dtype
            assert _error(mine, exact) <= MOST[dtype], (name, _error(mine, exact))
    assert set(launched) == {each for each in CONFIGURATIONS if each.name.split()[1] == str(dtype)[6:]}


def test_on_whole_pixels_and_at_the_rim_slopes_are_those_of_the_reference():
    shifts = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    places = torch.stack(torch.meshgrid(shifts, shifts, indexing="ij"), -1).view(1, 5, 5, 2)
    value, weight, grad = torch.randn(1, 5, 5, 4), torch.rand(1, 5, 5, 1), torch.randn(1, 5, 5, 4)
    options = Window.of(1, 1, 0, 1, False), 1, 1.0, False
    with interpreted():
        out = forward(value, places, weight, *options)
        found = out, *backward(grad, value, places, weight, out, *options)
    for mine, exact in zip(found, _law(grad, value, places, weight, options), strict=True):
        assert _error(mine, exact) < 1e-6


def test_other_strides_and_misaligned_tensors_are_laid_out_anew():
    options = THREE, 2, 1.0, False
    value = torch.randn(1, 8, 4, 3).permute(0, 2, 3, 1)
    places, weight = torch.randn(1, 4, 3, 37)[..., 1:], torch.randn(1 + 216)[1:].view(1, 4, 3, 18)
    grad = torch.randn(1, 4, 3, 1).expand(1, 4, 3, 8)
    with interpreted():
        out = forward(value, places, weight, *options)
        found = out, *backward(grad, value, places, weight, out, *options)
    for mine, exact in zip(found, _law(grad, value, places, weight, options), strict=True):
        assert _error(mine, exact) < 1e-6


def test_each_configuration_is_the_one_that_its_own_shape_chooses():
    names = [each.name for each in CONFIGURATIONS]
    assert len(set(names)) == len(names)
    assert configuration(torch.float32, 64, backward=False).constants["CHANNELS"] == 32
    assert configuration(torch.float32, 64, backward=True).constants["CHANNELS"] == 16
    assert not configuration(torch.float32, 24, backward=False).constants["VECTOR"]


@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_on_a_gpu_shapes_and_strides_are_those_that_the_kernel_writes(dtype):
    with FakeTensorMode():
        value = torch.empty(2, 8, 6, 5, dtype=dtype, device="cuda").permute(0, 2, 3, 1).requires_grad_()
        offset, mask = (torch.empty(2, 6, 5, 18 * n, dtype=dtype, device="cuda").requires_grad_() for n in (2, 1))
        packed = torch.empty(2, 6, 5, 56, dtype=dtype, device="cuda").requires_grad_()
        x, y, weight = (torch.empty(2, 7, 2, 4, device="cuda") for _ in range(3))
        outs = [
            dcnv3(value, offset, mask, groups=2, softmax=True),
            dcnv4(value, packed, groups=2),
            deformable_sampling(value.unflatten(-1, (2, 4)), x, y, weight).flatten(2)[:, None].to(dtype),
        ]
        for out in outs[:2]:
            assert (out.shape, out.dtype, out.device) == (value.shape, dtype, value.device)
            assert out.is_contiguous()
            assert "nas_ops_window_sampling" in type(out.grad_fn).__name__
        assert outs[2].shape == (2, 1, 7, 8)
        found = sample_backward(outs[1], value, packed, None, outs[1], [3, 3, 1, 1, 1, 1, 1, 1, 0], 2, 1.0, False)
        assert [each.shape for each in found] == [value.shape, packed.shape, (0,)]
        assert all(each.dtype == dtype and each.is_contiguous() for each in found)


SMALL = ((1, 3, 2), 1, 4, THREE, False, True, 1.0, 0.7)
NUMBERS = [3, 3, 1, 1, 1, 1, 1, 1, 0]


def test_the_operators_are_what_pytorch_expects():
    (grad, *tensors), _ = _inputs(torch.float32, *SMALL)
    leaves = [each.requires_grad_() for each in tensors]
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(sample, (*leaves, NUMBERS, 1, 1.0, True))
    opcheck(sample_backward, (grad.requires_grad_(), *leaves, grad.detach(), NUMBERS, 1, 1.0, True), test_utils=quick)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_of_gradients_are_those_of_the_reference(packed):
    (grad, *tensors), options = _inputs(torch.float32, *SMALL[:4], packed, *SMALL[5:])

    def second(function, *given):
        leaves = [each.clone().requires_grad_() for each in given]
        inputs = [*leaves[1:], None] if packed else leaves[1:]
        first = torch.autograd.grad(function(*inputs, *options), leaves[1:], leaves[0], create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), leaves)

    def kernel(value, places, weight, window, groups, scale, softmax):
        return kernel_sampling(value, places, weight, window, groups, scale, softmax)

    given = [each for each in (grad, *tensors) if each is not None]
    exact = second(plain, *(each.double() for each in given))
    assert max(map(_error, second(kernel, *given), exact)) < 1e-5


def test_compiled_without_a_break():
    (grad, *tensors), options = _inputs(torch.float32, *SMALL)
    leaves = [each.requires_grad_() for each in tensors]
    compiled = torch.compile(lambda *given: kernel_sampling(*given, *options) * 2, fullgraph=True, backend="aot_eager")
    out = compiled(*leaves)
    exact = _law(2 * grad, *tensors, options)
    assert _error(out.detach(), 2 * exact[0]) < 1e-6
    assert max(map(_error, torch.autograd.grad(out, leaves, grad), exact[1:])) < 1e-6


def test_pixels_without_a_window_and_softmax_by_every_way():
    value, x, y = torch.randn(2, 4, 5, 2, 3), 6 * torch.rand(2, 7, 2, 4) - 1, 5 * torch.rand(2, 7, 2, 4) - 1
    weight = torch.rand(2, 7, 2, 4)
    places = torch.stack((x, y), -1).flatten(2)[:, None]
    out = kernel_sampling(value.flatten(3), places, weight.flatten(2)[:, None], None, 2, 1.0, False)
    exact = deformable_sampling(*(each.double() for each in (value, x, y, weight)), impl="reference")
    assert _error(out[:, 0].unflatten(-1, (2, 3)), exact) < 1e-6
    tensors, (window, groups, scale, softmax) = _inputs(torch.float32, *CASES["wide"])
    law = _law(*tensors, (window, groups, scale, softmax))[0]
    kernel = {"kernel": (1, 2), "padding": 0, "groups": 1, "offset_scale": scale}
    found = dcnv4(*tensors[1:3], **kernel, softmax=True)
    assert _error(found, law) < 1e-5
    offset, mask = tensors[2][..., :4], tensors[2][..., 4:6]
    assert _error(dcnv3(tensors[1], offset, mask, **kernel, softmax=True), law) < 1e-5
