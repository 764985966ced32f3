"""Focal contexts: the paper's formula written out, and the ways of a CPU against it, with what PyTorch asks of them."""

import math

import numpy as np
import pytest
import torch

from ops import focal_context, gated_levels
from ops.focal_context.composed import composed
from ops.focal_context.reference import reference

SHAPES = {
    "two levels": ((2, 6, 7, 5), (3, 5)),
    "one pixel": ((2, 5, 1, 1), (3, 5, 7)),
    "kernels larger than the map": ((1, 3, 2, 3), (9, 3, 11, 5, 7)),
    "one level": ((3, 4, 6, 6), (5,)),
}


def _inputs(shape, sides, layout=torch.channels_last):
    whole = torch.randn(shape[0], 2 * shape[1], *shape[2:], dtype=torch.float64).contiguous(memory_format=layout)
    weights = [torch.randn(shape[1], 1, side, side, dtype=torch.float64) / side for side in sides]
    gates = torch.randn(shape[0], len(sides) + 1, *shape[2:], dtype=torch.float64)
    return whole[:, shape[1] :].requires_grad_(), weights, gates.requires_grad_()


def _written_out(x, weights, gates, scale):
    """Level by level and pixel by pixel."""
    x, gates, total = x.detach().numpy(), gates.detach().numpy(), 0.0
    height, width = x.shape[2:]
    gelu = np.vectorize(lambda value: value * (1 + math.erf(value / math.sqrt(2))) / 2)
    for level, weight in enumerate(weights):
        taps, half = weight[:, 0].detach().numpy(), weight.shape[2] // 2
        padded = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)))
        x = gelu(
            sum(
                taps[:, i, j, None, None] * padded[:, :, i : i + height, j : j + width]
                for i in range(2 * half + 1)
                for j in range(2 * half + 1)
            )
        )
        total = total + gates[:, level, None] * x
    mean = gelu(x.mean((2, 3), keepdims=True))
    return torch.from_numpy(scale * (total + gates[:, len(weights), None] * mean))


@pytest.mark.parametrize("name", SHAPES)
def test_every_way_is_the_formula_of_the_paper(name):
    x, weights, gates = _inputs(*SHAPES[name])
    exact = _written_out(x, weights, gates, 0.5)
    for impl in (None, "reference", "pytorch"):
        torch.testing.assert_close(focal_context(x, weights, gates, scale=0.5, impl=impl), exact)
    small = [x.float(), [weight.float() for weight in weights], gates.float()]
    torch.testing.assert_close(focal_context(*small, scale=0.5).double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_are_those_of_the_reference(name, layout):
    x, weights, gates = _inputs(*SHAPES[name], layout)
    leaves = [x, gates, *(weight.requires_grad_() for weight in weights)]
    grad = torch.randn(x.shape, dtype=torch.float64)
    law = torch.autograd.grad(reference(x, weights, gates, 0.7), leaves, grad)
    found = torch.autograd.grad(composed(x, weights, gates, 0.7, None), leaves, grad)
    for mine, exact in zip(found, law, strict=True):
        torch.testing.assert_close(mine, exact)


def test_the_sum_differentiates_twice_and_under_transforms():
    levels = [torch.randn(2, 3, 2, 2, dtype=torch.float64).requires_grad_() for _ in range(2)]
    gates = torch.randn(2, 3, 2, 2, dtype=torch.float64).requires_grad_()

    def gathered(gates, *levels):
        return gated_levels(levels, gates, 0.5)

    assert torch.autograd.gradcheck(gathered, (gates, *levels))
    assert torch.autograd.gradgradcheck(gathered, (gates, *levels))
    many = torch.vmap(gathered)(*(torch.stack([each, 2 * each]) for each in (gates, *levels)))
    torch.testing.assert_close(many[1], gathered(2 * gates, *(2 * each for each in levels)))


def test_sizes_that_do_not_fit_are_refused():
    x, weights, gates = torch.randn(2, 3, 4, 5), [torch.randn(3, 1, 3, 3)], torch.randn(2, 2, 4, 5)
    for told, words in {
        (x[0], tuple(weights), gates): r"x \(3, 4, 5\), allowed: \(N, C, H, W\)",
        (x, (), gates): "no weights, allowed: 1 or more",
        (x, (weights[0][:2],), gates): r"weight \(2, 1, 3, 3\), allowed: \(3, 1, odd, odd\)",
        (x, (weights[0][..., :2],), gates): r"weight \(3, 1, 3, 2\), allowed: \(3, 1, odd, odd\)",
        (x, tuple(weights), gates[:, :1]): r"gates \(2, 1, 4, 5\), allowed: \(2, 2, 4, 5\)",
        (x, (*weights, *weights), gates): r"gates \(2, 2, 4, 5\), allowed: \(2, 3, 4, 5\)",
    }.items():
        with pytest.raises(ValueError, match=f"^focal_context: {words}"):
            focal_context(*told)
    with pytest.raises(ValueError, match=r"^focal_context: impl 'triton' for torch\.float32 on cpu"):
        focal_context(x, weights, gates, impl="triton")


class Net(torch.nn.Module):
    """A context whose gates are its own map's first channels."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.ParameterList(torch.randn(8, 1, side, side) / side for side in (3, 5))

    def forward(self, x):
        return focal_context(x, list(self.weights), x[:, :3], scale=0.5)


def test_export_sees_plain_convolutions_of_any_size():
    size = {2: torch.export.Dim("height", min=2, max=64), 3: torch.export.Dim("width", min=2, max=64)}
    net, x = Net(), torch.randn(1, 8, 6, 5)
    program = torch.export.export(net, (x,), dynamic_shapes=(size,))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called.count("aten.conv2d.default") == 2
    assert all(name.startswith(("aten.", "<built-in function")) for name in called)
    other = torch.randn(1, 8, 3, 9)
    torch.testing.assert_close(program.module()(other), net(other))


def test_onnx_computes_the_same(tmp_path):
    import onnxruntime

    net, x = Net().eval(), torch.randn(1, 8, 6, 5)
    torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x).detach(), rtol=1e-4, atol=1e-5)


def test_compiled_without_a_break_and_on_the_meta_device():
    net, x = Net(), torch.randn(2, 8, 4, 4, requires_grad=True)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), net(x))
    (found,), (exact,) = (torch.autograd.grad(each(x).square().sum(), [x]) for each in (compiled, net))
    torch.testing.assert_close(found, exact)
    there = net.to("meta")(x.detach().to("meta"))
    assert (there.shape, there.device.type) == (x.shape, "meta")


def test_under_autocast_levels_are_held_in_its_dtype():
    net, x = Net(), torch.randn(2, 8, 4, 4)
    exact = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x.requires_grad_())
        (grad,) = torch.autograd.grad(found.square().sum(), [x])
    assert grad.dtype == torch.float32
    assert float((found - exact).detach().norm() / exact.detach().norm()) < 0.02
