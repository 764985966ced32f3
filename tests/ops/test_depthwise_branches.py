"""Several depthwise convolutions of one map: by our kernels and one by one, they are the reference."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import depthwise_branches
from ops.depthwise_branches import kernel
from ops.depthwise_branches.reference import reference
from ops.depthwise_branches.registered import branches, branches_backward
from ops.proof import interpreted, on_cpu

on_cpu(branches, branches_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
CASES = (
    ((2, 2, 7, 7), [(31, 31), (5, 5)], [1, 1]),
    ((1, 1, 9, 40), [(51, 5), (5, 51), (5, 5)], [1, 1, 1]),
    ((1, 1, 13, 16), [(13, 13), (7, 7), (3, 3)], [1, 2, 5]),
    ((1, 1, 5, 37), [(3, 3), (3, 5)], [4, 2]),
    ((2, 1, 1, 1), [(3, 3), (61, 61)], [1, 1]),
)


def _inputs(shape, sides, dtype):
    weights = [(torch.randn(shape[1], 1, *side) / (side[0] * side[1]) ** 0.5).to(dtype) for side in sides]
    return torch.randn(shape).to(dtype), weights, [torch.randn(shape).to(dtype) for _ in sides]


def _law(x, weights, grads, dilations):
    x, *weights = (each.detach().double().requires_grad_() for each in (x, *weights))
    outs = reference(x, weights, dilations)
    found = torch.autograd.grad(outs, (x, *weights), [grad.double() for grad in grads])
    return [*(out.detach() for out in outs), *found]


def _errors(found, exact):
    pairs = ((f.detach().double(), e.detach()) for f, e in zip(found, exact, strict=True))
    return [float((f - e).abs().max() / e.abs().max()) for f, e in pairs]


@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_each_configuration_is_the_reference(dtype):
    launched = set()
    for number, (shape, sides, dilations) in enumerate(CASES):
        x, weights, grads = _inputs(shape, sides, dtype)
        with interpreted(count=False, reverse=number % 2 == 1) as run:
            guarded = [run.guarded(each) for each in weights]
            outs = kernel.forward(run.guarded(x), guarded, dilations)
            d_x = kernel.backward([run.guarded(each) for each in grads], guarded, dilations)
        launched.update(run.launched)
        assert max(_errors((*outs, d_x), _law(x, weights, grads, dilations)[: len(sides) + 1])) <= MOST[dtype], sides
    name = str(dtype).removeprefix("torch.")
    assert launched == {c for c in kernel.CONFIGURATIONS if name in c.name.split()}


def test_the_operator_differentiates_twice_as_the_reference():
    x, weights, grads = _inputs((1, 2, 3, 4), [(3, 5), (3, 3)], torch.float32)

    def derivatives(function, x, weights, grads):
        x, *weights = (each.clone().requires_grad_() for each in (x, *weights))
        first = torch.autograd.grad(function(x, weights, [1, 2]), (x, *weights), grads, create_graph=True)
        return *first, *torch.autograd.grad(sum(each.square().sum() for each in first), (x, *weights))

    exact = derivatives(reference, x.double(), *([each.double() for each in many] for many in (weights, grads)))
    assert max(_errors(derivatives(branches, x, weights, grads), exact)) < 1e-5


def test_the_operators_are_what_pytorch_expects():
    x, weights, grads = _inputs((1, 2, 3, 4), [(3, 5), (3, 3)], torch.float32)
    checks = ("test_schema", "test_faketensor")
    opcheck(branches, (x, weights, [1, 2]), test_utils=checks)
    opcheck(branches_backward, (grads, x, weights, [1, 2]), test_utils=checks)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_on_a_cpu_each_is_convolved_by_its_own_kernel(layout):
    x, weights, _ = _inputs((2, 3, 9, 8), [(13, 13), (5, 5), (3, 3)], torch.float32)
    found = depthwise_branches(x.contiguous(memory_format=layout), weights, dilations=[1, 1, 2])
    exact = reference(x.double(), [weight.double() for weight in weights], [1, 1, 2])
    assert max(_errors(found, exact)) < 1e-6
    with pytest.raises(ValueError, match=r"^depthwise_branches: 2 dilations, allowed: 3, one a weight$"):
        depthwise_branches(x, weights, dilations=[1, 1])
    with pytest.raises(ValueError, match=r"^depthwise_conv2d: weight .* allowed: \(3, 1, odd, odd\)$"):
        depthwise_branches(x, [weights[0], weights[1][:2]])


def test_on_a_gpu_up_to_three_branches_are_one_launch():
    with FakeTensorMode():
        x, *weights = (
            torch.empty(2, 8, 9, 9, device="cuda"),
            *(torch.empty(8, 1, s, s, device="cuda") for s in (13, 5, 7, 3)),
        )
        for weight in weights:
            weight.requires_grad_()
        for count, calls in ((1, 1), (2, 1), (3, 1), (4, 2)):
            outs = depthwise_branches(x, weights[:count])
            assert len({out.grad_fn for out in outs}) == calls
            assert all((out.shape, out.stride(), out.device) == (x.shape, x.stride(), x.device) for out in outs)
        name = "nas_ops_depthwise_branches_default"
        assert name in type(depthwise_branches(x, weights[:2])[0].grad_fn).__name__
        last = x.contiguous(memory_format=torch.channels_last)
        assert name not in type(depthwise_branches(last, weights[:2])[0].grad_fn).__name__


def test_asked_for_triton_a_map_in_channels_last_gets_a_kernel_for_each_branch():
    with FakeTensorMode():
        x = torch.empty(2, 8, 9, 9, device="cuda").contiguous(memory_format=torch.channels_last)
        weights = [torch.empty(8, 1, side, side, device="cuda").requires_grad_() for side in (13, 5)]
        for out in depthwise_branches(x, weights, impl="triton"):
            assert "nas_ops_depthwise_conv2d_triton" in type(out.grad_fn).__name__
    with pytest.raises(ValueError, match=r"^depthwise_conv2d: impl 'triton' for torch\.float32 on cpu, allowed"):
        depthwise_branches(torch.ones(1, 8, 9, 9), [torch.ones(8, 1, 3, 3)] * 2, impl="triton")


def test_compiled_without_a_break_and_exported_as_plain_convolutions():
    x, weights, grads = _inputs((1, 2, 3, 4), [(3, 5), (3, 3)], torch.float32)
    leaves = [each.requires_grad_() for each in (x, *weights)]
    compiled = torch.compile(lambda x, *taps: branches(x, list(taps), [1, 2]), fullgraph=True, backend="aot_eager")
    outs = compiled(*leaves)
    found = (*outs, *torch.autograd.grad(outs, leaves, grads))
    assert max(_errors(found, _law(x, weights, grads, [1, 2]))) < 1e-6

    class Net(torch.nn.Module):
        def forward(self, x, first, second):
            return depthwise_branches(x, [first, second], dilations=[1, 2])

    program = torch.export.export(Net(), (x, *weights), dynamic_shapes=({2: torch.export.Dim("rows")}, None, None))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [name for name in called if "sym" not in name] == 2 * ["aten.conv2d.default"]
    taller = torch.randn(1, 2, 7, 4)
    assert (
        max(_errors(program.module()(taller, *weights), depthwise_branches(taller, weights, dilations=[1, 2]))) < 1e-6
    )


def test_under_autocast_a_gpu_convolves_in_its_dtype(monkeypatch):
    with FakeTensorMode():
        x, weight = torch.empty(2, 8, 5, 6, device="cuda"), torch.empty(8, 1, 3, 3, device="cuda")
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
        assert {out.dtype for out in depthwise_branches(x, [weight, weight])} == {torch.float16}
