"""Layer normalisation by our kernels: interpreted against the reference in float64, and as PyTorch sees it."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import layer_norm2d
from ops.layer_norm2d.kernel import CONFIGURATIONS, backward, configuration, forward
from ops.layer_norm2d.reference import reference
from ops.layer_norm2d.registered import kernel_layer_norm2d, normalise, normalise_backward
from ops.proof import interpreted, on_cpu

on_cpu(normalise, normalise_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
SHAPES = (
    (2, 3, 5, 7),
    (1, 96, 4, 4),
    (3, 129, 1, 1),
    (1, 130, 3, 2),
    (1, 600, 2, 3),
    (2, 1024, 4, 4),
    (1, 128, 7, 9),
    (2, 512, 4, 8),
)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def _inputs(shape, dtype, layout):
    x, grad = (torch.randn(shape).to(dtype).contiguous(memory_format=LAYOUTS[layout]) for _ in range(2))
    return x, torch.randn(shape[1]), torch.randn(shape[1]), grad


def _law(x, weight, bias, grad):
    wide = [each.double().requires_grad_() for each in (x, weight, bias)]
    y = reference(*wide, 1e-6)
    return [y.detach(), *torch.autograd.grad(y, wide, grad.double())]


def _error(found, exact):
    return ((found.double() - exact).abs().max() / exact.abs().max()).item()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_both_passes_are_those_of_the_reference(dtype, layout):
    launched = []
    for number, shape in enumerate(SHAPES):
        x, weight, bias, grad = _inputs(shape, dtype, layout)
        with interpreted(count=False, reverse=number % 2 == 1) as run:
            guarded = [run.guarded(each) for each in (x, weight, bias, grad)]
            y, mean, scale = forward(*guarded[:3], 1e-6)
            found = y, *backward(guarded[3], *guarded[:2], mean, scale)
        launched += run.launched
        for made in (y, found[1]):
            assert made.is_contiguous() == x.is_contiguous()
            assert made.is_contiguous(memory_format=LAYOUTS[layout])
        for mine, exact in zip(found, _law(x, weight, bias, grad), strict=True):
            assert _error(mine, exact) <= MOST[dtype], (shape, _error(mine, exact))
    last = layout == "channels_last"
    offered = [c for c in CONFIGURATIONS if c.types["x"] == launched[0].types["x"] and c.constants["LAST"] == last]
    assert set(launched) >= set(offered)


def test_a_constant_map_and_a_far_mean_stay_finite():
    x = torch.full((1, 16, 3, 3), 1e4) + torch.randn(1, 16, 3, 3)
    with interpreted():
        y = forward(x, torch.ones(16), None, 1e-6)[0]
        flat = forward(torch.full((1, 16, 3, 3), 7.0), torch.ones(16), torch.ones(16), 1e-6)[0]
    assert _error(y, reference(x.double(), torch.ones(16).double(), None, 1e-6)) < 1e-3
    assert torch.equal(flat, torch.ones_like(flat))


def test_other_strides_and_misaligned_tensors_are_laid_out_anew():
    whole = torch.randn(2, 9, 8, 12)
    for x in (whole[:, 1:, ::2, 1:7], whole.permute(0, 1, 3, 2), whole.flatten()[3 : 3 + 144].view(2, 9, 4, 2)):
        weight = torch.randn(x.shape[1] + 1)[1:]
        with interpreted():
            y, *kept = forward(x, weight, None, 1e-5)
            d_x, *_ = backward(x, x, weight, *kept)
        exact = _law(x, weight, torch.zeros_like(weight), x)
        assert _error(y, reference(x.double(), weight.double(), None, 1e-5)) < 1e-6
        assert _error(d_x, exact[1]) < 1e-4  # eps differs


def test_each_configuration_is_the_one_that_its_own_shape_chooses():
    names = [each.name for each in CONFIGURATIONS]
    assert len(set(names)) == len(names)
    x = torch.empty(1, 128, 4, 4)
    assert configuration(x, backward=False).constants["CHANNELS"] == 128
    assert configuration(torch.empty(1, 129, 4, 4), backward=False).constants["CHANNELS"] == 512


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_on_a_gpu_shapes_and_strides_are_those_that_the_kernel_writes(dtype, layout):
    with FakeTensorMode():
        x = torch.empty(2, 8, 5, 7, dtype=dtype, device="cuda", memory_format=LAYOUTS[layout]).requires_grad_()
        weight, bias = (torch.empty(8, device="cuda").requires_grad_() for _ in range(2))
        y = layer_norm2d(x, weight, bias, eps=1e-6)
        assert (y.shape, y.dtype, y.device, y.stride()) == (x.shape, dtype, x.device, x.stride())
        assert "nas_ops_layer_norm2d" in type(y.grad_fn).__name__
        kept = torch.empty(70, device="cuda")
        d_x, d_weight, d_bias = normalise_backward(y, x, weight, kept, kept, 1e-6)
        assert (d_x.stride(), d_x.dtype) == (x.stride(), dtype)
        assert [(each.shape, each.dtype) for each in (d_weight, d_bias)] == [((8,), torch.float32)] * 2


def test_the_operators_are_what_pytorch_expects():
    x, weight, bias, _ = _inputs((2, 5, 3, 4), torch.float32, "channels_last")
    leaves = [each.requires_grad_() for each in (x, weight, bias)]
    opcheck(normalise, (*leaves, 1e-6))
    opcheck(normalise, (x, weight, None, 1e-6))
    kept = torch.rand(24), torch.rand(24)
    opcheck(normalise_backward, (torch.randn_like(x).requires_grad_(), x, weight, *kept, 1e-6))


def test_gradients_of_gradients_are_those_of_the_reference():
    x, weight, bias, grad = _inputs((2, 5, 3, 4), torch.float32, "contiguous")

    def second(function, *tensors):
        leaves = [each.clone().requires_grad_() for each in tensors]
        first = torch.autograd.grad(function(*leaves[:3], 1e-6), leaves[:3], leaves[3], create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), (leaves[0], leaves[1], leaves[3]))

    found = second(kernel_layer_norm2d, x, weight, bias, grad)
    exact = second(reference, *(each.double() for each in (x, weight, bias, grad)))
    assert max(map(_error, found, exact)) < 1e-5


def test_autocast_and_mixed_dtypes_return_the_map_s():
    x, weight, bias, grad = _inputs((2, 5, 3, 4), torch.bfloat16, "contiguous")
    for own in (torch.float32, torch.bfloat16):
        leaves = [x.clone().requires_grad_(), *(each.to(own).requires_grad_() for each in (weight, bias))]
        with torch.autocast("cpu", torch.bfloat16):
            y = kernel_layer_norm2d(*leaves, 1e-6)
            found = torch.autograd.grad(y, leaves, grad)
        assert [each.dtype for each in (y, *found)] == [torch.bfloat16, torch.bfloat16, own, own]
        exact = _law(x, leaves[1], leaves[2], grad)
        assert max(map(_error, (y, *found), exact)) < 4e-3


def test_compiled_without_a_break():
    x, weight, bias, grad = _inputs((2, 5, 3, 4), torch.float32, "contiguous")
    leaves = [each.requires_grad_() for each in (x, weight, bias)]
    compiled = torch.compile(
        lambda *tensors: kernel_layer_norm2d(*tensors, 1e-6) * 2, fullgraph=True, backend="aot_eager"
    )
    y = compiled(*leaves)
    found = torch.autograd.grad(y, leaves, grad)
    exact = _law(x, weight, bias, 2 * grad)
    assert _error(y, 2 * exact[0]) < 1e-6
    assert max(map(_error, found, exact[1:])) < 1e-6
