"""Gated products: the law, our kernels interpreted against it, and as PyTorch sees them."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import gated_product
from ops.gated_product.kernel import CONFIGURATIONS, backward, forward
from ops.gated_product.reference import ACTIVATIONS, reference
from ops.gated_product.registered import multiply, multiply_backward
from ops.proof import interpreted, on_cpu

on_cpu(multiply, multiply_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 1e-3}


def _last(x):
    return x.contiguous(memory_format=torch.channels_last)


PAIRS = {
    "dense": lambda x: (x[:, :16].contiguous(), x[:, 16:32].contiguous()),
    "channels_last": lambda x: (_last(x[:, :16]), _last(x[:, 16:32])),
    "slices": lambda x: (x[:, :16], x[:, 16:32]),
    "slices of channels_last": lambda x: (_last(x)[:, :16], _last(x)[:, 16:32]),
    "one slice": lambda x: (_last(x[:, 16:32]), _last(x)[:, 16:32]),
    "two layouts": lambda x: (_last(x[:, 16:32]), x[:, 16:32]),
    "odd": lambda x: (x[:, :7, 1:, 1:], x[:, 1:8, 1:, 1:]),
    "odd slices": lambda x: (_last(x)[:, :7], _last(x[:, 1:8])),
    "odd images": lambda x: (x[:, :7, 1:2, :3], x[:, :7, 2:3, :3]),
    "long images": lambda x: (x[:1, :1].repeat(2, 40, 1, 1)[:, :33], x[:1, :1].repeat(2, 70, 1, 1)[:, 5:38]),
    "long odd": lambda x: (x[:, :33, :7, :7].contiguous(), x[:, 5:38, :7, :7].contiguous()),
    "transposed": lambda x: (x[:, :16].transpose(2, 3), x[:, 16:32]),
    "one pixel": lambda x: (x[:, :16, :1, :1], _last(x)[:, 3:19, 1:2, :1]),
}


def _error(found, exact):
    return ((found.double() - exact).abs().max() / exact.abs().max()).item()


def _law(gate, value, grad, *options):
    wide = [each.detach().double().requires_grad_() for each in (gate, value)]
    y = reference(*wide, *options)
    return [y.detach(), *torch.autograd.grad(y, wide, grad.double())]


@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_every_layout_and_activation_is_that_of_the_reference(dtype):
    launched = []
    for number, (name, pair) in enumerate(PAIRS.items()):
        gate, value = pair(torch.randn(2, 48, 8, 8).to(dtype))
        grad = torch.randn(gate.shape).to(dtype)
        options = (ACTIVATIONS[number % 5], ACTIVATIONS[(number + 1 + number // 5) % 5], (1.0, 1 / 3)[number % 2])
        with interpreted(count=False, reverse=number % 2 == 1) as run:
            guarded = [run.guarded(each) for each in (gate, value)]
            found = forward(*guarded, *options), *backward(grad, *guarded, *options)
        launched += run.launched
        for mine, exact in zip(found, _law(gate, value, grad, *options), strict=True):
            assert mine.dtype == dtype
            assert _error(mine, exact) <= MOST[dtype], (name, options, _error(mine, exact))
    offered = {each for each in CONFIGURATIONS if each.types["gate"] == launched[0].types["gate"]}
    assert set(launched) == offered


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activations_hold_at_large_numbers(act):
    gate = torch.tensor([-100.0, -30.0, -1e-6, 0.0, 1e-6, 30.0, 100.0, 3.0]).view(1, 1, 2, 4)
    value, grad = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4)
    with interpreted():
        found = forward(gate, value, act, "identity", 1.0), *backward(grad, gate, value, act, "identity", 1.0)
    for mine, exact in zip(found, _law(gate, value, grad, act, "identity", 1.0), strict=True):
        torch.testing.assert_close(mine.double(), exact, rtol=1e-5, atol=1e-6)


def test_on_a_cpu_it_is_the_plain_product():
    gate, value = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    exact = torch.nn.functional.silu(gate) * (value * 0.5)
    assert torch.equal(gated_product(gate, value, act="silu", scale=0.5), exact)
    with pytest.raises(ValueError, match=r"^gated_product: activation 'tanh', allowed: identity, silu, gelu, relu, si"):
        gated_product(gate, value, act="tanh")
    with pytest.raises(ValueError, match=r"^gated_product: value \(2, 3, 4, 1\), allowed: \(2, 3, 4, 5\)$"):
        gated_product(gate, value[..., :1])


@pytest.mark.parametrize("name", PAIRS)
def test_on_a_gpu_strides_are_those_that_the_kernel_writes(name):
    gate, value = PAIRS[name](torch.randn(2, 48, 8, 8))
    with interpreted(count=False):
        made = forward(gate, value, "silu", "identity", 1.0)
    with FakeTensorMode():
        there = [
            torch.empty_strided(each.shape, each.stride(), device="cuda").requires_grad_() for each in (gate, value)
        ]
        y = gated_product(*there, act="silu")
        assert (y.shape, y.stride(), y.device) == (gate.shape, made.stride(), there[0].device)
        assert "nas_ops_gated_product" in type(y.grad_fn).__name__
        assert [each.stride() for each in multiply_backward(y, *there, "silu", "identity", 1.0)] == [y.stride()] * 2


def test_the_operators_are_what_pytorch_expects():
    gate, value, grad = (_last(torch.randn(2, 5, 3, 4)).requires_grad_() for _ in range(3))
    opcheck(multiply, (gate, value, "gelu", "silu", 0.5))
    opcheck(multiply_backward, (grad, gate, value, "gelu", "silu", 0.5))


def test_gradients_of_gradients_are_those_of_the_reference():
    tensors = [torch.randn(2, 3, 4, 5) for _ in range(3)]

    def second(function, *tensors):
        leaves = [each.clone().requires_grad_() for each in tensors]
        first = torch.autograd.grad(
            function(*leaves[:2], "gelu", "silu", 0.5), leaves[:2], leaves[2], create_graph=True
        )
        return torch.autograd.grad(sum(each.square().sum() for each in first), leaves)

    found = second(multiply, *tensors)
    exact = second(reference, *(each.double() for each in tensors))
    assert max(map(_error, found, exact)) < 1e-5
