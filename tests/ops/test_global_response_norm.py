"""Global response normalisation: the law, our kernels interpreted against it, and as PyTorch sees them."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import global_response_norm
from ops.global_response_norm.kernel import CONFIGURATIONS, backward, forward
from ops.global_response_norm.reference import reference
from ops.global_response_norm.registered import kernel_global_response_norm, respond, respond_backward
from ops.proof import interpreted, on_cpu

on_cpu(respond, respond_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
SHAPES = ((2, 3, 5, 7), (3, 130, 1, 1), (1, 130, 3, 2), (1, 1040, 4, 4), (2, 48, 16, 17))
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


def test_the_law_is_the_paper_s():
    x, weight, bias, _ = _inputs((2, 3, 4, 5), torch.float64, "contiguous")
    norms = x.square().sum((2, 3), keepdim=True).sqrt()
    exact = weight[:, None, None] * x * (norms / (norms.mean(1, keepdim=True) + 1e-6)) + bias[:, None, None] + x
    torch.testing.assert_close(global_response_norm(x, weight.double(), bias.double(), eps=1e-6), exact)
    with pytest.raises(ValueError, match=r"^global_response_norm: x \(2, 3, 4, 5\), allowed: \(N, 4, H, W\)$"):
        global_response_norm(x, torch.ones(4), eps=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_both_passes_are_those_of_the_reference(dtype, layout):
    launched = []
    for number, shape in enumerate(SHAPES):
        x, weight, bias, grad = _inputs(shape, dtype, layout)
        with interpreted(count=False, reverse=number % 2 == 1) as run:
            guarded = [run.guarded(each) for each in (x, weight, bias, grad)]
            y, norms = forward(*guarded[:3], 1e-6)
            found = y, *backward(guarded[3], *guarded[:2], norms, 1e-6)
        launched += run.launched
        for made in (y, found[1]):
            assert made.is_contiguous() == x.is_contiguous()
            assert made.is_contiguous(memory_format=LAYOUTS[layout])
        for mine, exact in zip(found, _law(x, weight, bias, grad), strict=True):
            assert _error(mine, exact) <= MOST[dtype], (shape, _error(mine, exact))
    last = layout == "channels_last"
    tiled = [each for each in CONFIGURATIONS if "LAST" in each.constants]
    offered = {c for c in tiled if c.types["x"] == launched[0].types["x"] and c.constants["LAST"] == last}
    assert set(launched) >= offered | (set(CONFIGURATIONS) - set(tiled))


def test_channels_of_zeros_and_maps_of_zeros_have_finite_gradients():
    x, weight, bias, grad = _inputs((2, 4, 3, 3), torch.float32, "contiguous")
    x[0, 1] = 0
    x[1] = 0
    with interpreted():
        y, norms = forward(x, weight, bias, 1e-6)
        found = y, *backward(grad, x, weight, norms, 1e-6)
    for mine, exact in zip(found, _law(x, weight, bias, grad), strict=True):
        assert _error(mine, exact) < 1e-6


def test_on_a_gpu_shapes_and_strides_are_those_that_the_kernel_writes():
    with FakeTensorMode():
        for layout in LAYOUTS.values():
            x = torch.empty(2, 8, 5, 7, dtype=torch.bfloat16, device="cuda", memory_format=layout).requires_grad_()
            weight = torch.empty(8, device="cuda")
            y = global_response_norm(x, weight, weight, eps=1e-6)
            assert (y.shape, y.dtype, y.device, y.stride()) == (x.shape, x.dtype, x.device, x.stride())
            assert "nas_ops_global_response_norm" in type(y.grad_fn).__name__
            d_x, d_weight, _ = respond_backward(y, x, weight, torch.empty(2, 8, device="cuda"), 1e-6)
            assert (d_x.stride(), d_weight.dtype) == (x.stride(), torch.float32)


def test_the_operators_are_what_pytorch_expects():
    x, weight, bias, _ = _inputs((2, 5, 3, 4), torch.float32, "channels_last")
    leaves = [each.requires_grad_() for each in (x, weight, bias)]
    opcheck(respond, (*leaves, 1e-6))
    opcheck(respond_backward, (torch.randn_like(x).requires_grad_(), x, weight, torch.rand(2, 5), 1e-6))


def test_gradients_of_gradients_are_those_of_the_reference():
    x, weight, bias, grad = _inputs((2, 5, 3, 4), torch.float32, "contiguous")

    def second(function, *tensors):
        leaves = [each.clone().requires_grad_() for each in tensors]
        first = torch.autograd.grad(function(*leaves[:3], 1e-6), leaves[:3], leaves[3], create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), (leaves[0], leaves[1], leaves[3]))

    found = second(kernel_global_response_norm, x, weight, bias, grad)
    exact = second(reference, *(each.double() for each in (x, weight, bias, grad)))
    assert max(map(_error, found, exact)) < 1e-5


def test_autocast_and_mixed_dtypes_return_the_map_s():
    x, weight, bias, grad = _inputs((2, 5, 3, 4), torch.bfloat16, "contiguous")
    leaves = [x.requires_grad_(), weight.requires_grad_(), bias.bfloat16().requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        y = kernel_global_response_norm(*leaves, 1e-6)
        found = torch.autograd.grad(y, leaves, grad)
    assert [each.dtype for each in (y, *found)] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16]
    assert max(map(_error, (y, *found), _law(*leaves, grad))) < 4e-3
