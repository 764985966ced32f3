"""The inception depthwise convolution: in one launch and group by group, it is the reference."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import inception_depthwise
from ops.inception_depthwise import kernel
from ops.inception_depthwise.reference import reference
from ops.inception_depthwise.registered import mix, mix_backward
from ops.proof import interpreted, on_cpu

on_cpu(mix, mix_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
CASES = (
    ((2, 7, 7, 7), 2, 3, 11), ((1, 3, 5, 40), 1, 5, 31), ((1, 4, 5, 16), 1, 3, 11), ((1, 3, 3, 37), 1, 3, 11),
    ((2, 5, 1, 1), 1, 3, 11),
)  # fmt: skip
"""Shapes, channels of a group, sides of the square and lengths of the bands."""


def _inputs(shape, group, square, band, dtype):
    sides = ((square, square), (1, band), (band, 1))
    weights = [(torch.randn(group, 1, *side) / (side[0] * side[1]) ** 0.5).to(dtype) for side in sides]
    biases = [torch.randn(group).to(dtype) for _ in sides]
    return torch.randn(shape).to(dtype), weights, biases, torch.randn(shape).to(dtype)


def _law(x, weights, biases, grad):
    leaves = [each.detach().double().requires_grad_() for each in (x, *weights, *biases)]
    out = reference(leaves[0], leaves[1:4], leaves[4:])
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.double())]


def _errors(found, exact):
    pairs = ((f.detach().double(), e.detach()) for f, e in zip(found, exact, strict=True))
    return [float((f - e).abs().max() / e.abs().max()) for f, e in pairs]


@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_each_configuration_is_the_reference(dtype):
    launched = set()
    for number, case in enumerate(CASES):
        x, weights, biases, grad = _inputs(*case, dtype)
        with interpreted(count=False, reverse=number % 2 == 1) as run:
            x_, grad_, *others = (run.guarded(each) for each in (x, grad, *weights, *biases))
            found = kernel.forward(x_, others[:3], others[3:]), *mix_backward._init_fn(grad_, x_, others[:3], True)
        launched.update(run.launched)
        assert max(_errors(found, _law(x, weights, biases, grad))) <= MOST[dtype], case
        passed = x.shape[1] - 3 * case[1]
        assert torch.equal(found[0][:, :passed], x[:, :passed])
    name = str(dtype).removeprefix("torch.")
    assert launched >= {c for c in kernel.CONFIGURATIONS if name in c.name.split()}


def test_the_operator_differentiates_twice_as_the_reference():
    x, weights, biases, grad = _inputs((1, 4, 3, 4), 1, 3, 5, torch.float32)

    def derivatives(function, *tensors):
        leaves = [each.clone().requires_grad_() for each in tensors]
        out = function(leaves[0], leaves[1:4], leaves[4:7])
        first = torch.autograd.grad(out, leaves[:7], leaves[7], create_graph=True)
        return *first, *torch.autograd.grad(sum(each.square().sum() for each in first), (*leaves[:4], leaves[7]))

    tensors = (x, *weights, *biases, grad)
    exact = derivatives(reference, *(each.double() for each in tensors))
    assert max(_errors(derivatives(mix, *tensors), exact)) < 1e-5


def test_the_operators_are_what_pytorch_expects():
    x, weights, biases, grad = _inputs((1, 4, 3, 4), 1, 3, 5, torch.float32)
    checks = ("test_schema", "test_faketensor")
    opcheck(mix, (x, weights, biases), test_utils=checks)
    opcheck(mix_backward, (grad, x, weights, True), test_utils=checks)


@pytest.mark.parametrize("biased", [True, False])
def test_on_a_cpu_groups_are_convolved_one_by_one(biased):
    x, weights, biases, _ = _inputs((2, 9, 6, 7), 3, 3, 11, torch.float32)
    found = inception_depthwise(x, weights, biases if biased else ())
    wide = [[each.double() for each in many] for many in (weights, biases if biased else [])]
    assert max(_errors([found], [reference(x.double(), *wide)])) < 1e-6
    with pytest.raises(
        ValueError, match=r"^inception_depthwise: weights of \[3, 3\] and 0 biases for 9 channels, allowed"
    ):
        inception_depthwise(x, weights[:2])


def test_on_a_gpu_a_contiguous_map_is_one_launch():
    with FakeTensorMode():
        x = torch.empty(2, 8, 9, 9, device="cuda")
        weights = [torch.empty(2, 1, *side, device="cuda").requires_grad_() for side in ((3, 3), (1, 11), (11, 1))]
        out = inception_depthwise(x, weights)
        assert "nas_ops_inception_depthwise_default" in type(out.grad_fn).__name__
        assert (out.shape, out.stride(), out.device) == (x.shape, x.stride(), x.device)
        last = inception_depthwise(x.contiguous(memory_format=torch.channels_last), weights)
        assert "Cat" in type(last.grad_fn).__name__


def test_compiled_without_a_break_and_exported_as_plain_convolutions():
    x, weights, biases, grad = _inputs((1, 4, 3, 4), 1, 3, 5, torch.float32)
    leaves = [each.requires_grad_() for each in (x, *weights, *biases)]
    compiled = torch.compile(
        lambda x, *others: mix(x, list(others[:3]), list(others[3:])), fullgraph=True, backend="aot_eager"
    )
    out = compiled(*leaves)
    found = (out, *torch.autograd.grad(out, leaves, grad))
    assert max(_errors(found, _law(x, weights, biases, grad))) < 1e-6

    class Net(torch.nn.Module):
        def forward(self, x, weights, biases):
            return inception_depthwise(x, weights, biases)

    rows = {2: torch.export.Dim("rows")}
    program = torch.export.export(Net(), (x, weights, biases), dynamic_shapes=(rows, [None] * 3, [None] * 3))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"aten.conv2d.default", "aten.cat.default"} <= called
    assert all(name.startswith(("aten.", "<built-in function")) for name in called)
    taller = torch.randn(1, 4, 9, 4)
    assert max(_errors([program.module()(taller, weights, biases)], [reference(taller, weights, biases)])) < 1e-6


def test_under_autocast_a_gpu_mixes_in_its_dtype(monkeypatch):
    with FakeTensorMode():
        x = torch.empty(2, 8, 5, 6, device="cuda")
        weights = [torch.empty(2, 1, *side, device="cuda") for side in ((3, 3), (1, 11), (11, 1))]
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
        assert inception_depthwise(x, weights).dtype == torch.float16
