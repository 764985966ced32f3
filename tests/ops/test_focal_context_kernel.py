"""Focal contexts by our kernels: interpreted against the reference in float64, and as PyTorch sees them."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import focal_context
from ops.focal_context import kernel_levels, kernel_mean, kernel_weight
from ops.focal_context.kernel import backward, forward
from ops.focal_context.reference import reference
from ops.focal_context.registered import gather, gather_backward, kernel_focal_context, kernels_of, takes
from ops.proof import interpreted, on_cpu

on_cpu(gather, gather_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 6e-4}
"""Largest errors of a pass."""
CHAINED = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1.2e-3}
"""And of all together, where each level is rounded before the next reads it, unless PyTorch's own chain errs more."""
CASES = {
    "four levels": ((1, 8, 17, 3), (3, 5, 3, 3), "channels_last", 1.0),
    "one level, two blocks of channels": ((2, 40, 3, 5), (3,), "contiguous", 0.5),
    "two levels of a part of a map": ((1, 16, 2, 11), (3, 7), "part", 0.25),
    "kernels larger than the map": ((1, 8, 1, 3), (11, 9), "channels_last", 1.0),
    "one pixel": ((2, 8, 1, 1), (5, 11), "contiguous", 2.0),
    "whole vectors": ((1, 8, 4, 8), (3,), "contiguous", 1.0),
}
"""Map, kernels, layout, scale."""


def _map(shape, dtype, layout):
    if layout == "part":
        whole = torch.randn(shape[0], 2 * shape[1], *shape[2:]).to(dtype)
        return whole.contiguous(memory_format=torch.channels_last)[:, shape[1] :]
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    return torch.randn(shape).to(dtype, memory_format=form)


def _inputs(dtype, shape, sides, layout):
    x, grad, gates = _map(shape, dtype, layout), torch.randn(shape), torch.randn(shape[0], len(sides) + 1, *shape[2:])
    taps = torch.cat([torch.randn(side * side, shape[1]) / side for side in sides])
    gates = gates.to(dtype, memory_format=torch.channels_last if layout != "contiguous" else torch.contiguous_format)
    return grad.to(dtype), x, taps.to(dtype), gates


def _law(grad, x, taps, gates, sides, scale, dtype=torch.float64):
    wide = [each.to(dtype, copy=True).requires_grad_() for each in (x, taps, gates)]
    y = reference(wide[0], kernels_of(wide[1], sides), wide[2], scale)
    return [y.detach(), *torch.autograd.grad(y, wide, grad.to(dtype))]


def _error(found, exact):
    return ((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-30)).item()


@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_both_passes_are_those_of_the_reference(dtype):
    launched = []
    for number, (name, (shape, sides, layout, scale)) in enumerate(CASES.items()):
        tensors = _inputs(dtype, shape, sides, layout)
        with interpreted(count=False, reverse=number % 2 == 1) as run:
            grad, *guarded = (run.guarded(each) for each in tensors)
            y, mean, kept = forward(*guarded, sides, scale, keep=True)
            found = y, *backward(grad, *guarded, mean, kept, sides, scale)
        launched += run.launched
        plain = _law(*tensors, sides, scale, dtype)
        for mine, exact, theirs in zip(found, _law(*tensors, sides, scale), plain, strict=True):
            assert mine.dtype == (torch.float32 if mine is found[2] else dtype)
            most = CHAINED[dtype] if dtype == torch.float32 else max(CHAINED[dtype], _error(theirs, exact))
            assert _error(mine, exact) <= most, (name, _error(mine, exact), most)
    files = kernel_levels, kernel_mean, kernel_weight
    offered = [each for file in files for each in file.CONFIGURATIONS if str(dtype)[6:] in each.name.split()]
    assert set(launched) == set(offered)


def _rows(x):
    return x.permute(0, 2, 3, 1).contiguous()


@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_each_pass_of_a_level_is_right_by_itself(dtype, number):
    shape, other = (2, 8, 3, 4), 9  # taps of another level come first
    grad, x, taps, gates = _inputs(dtype, shape, (3, 5, 3, 3), "part")
    taps, had, d_mean = taps[: other + 25], torch.randn(shape).to(dtype), torch.randn(2, 8)
    wide, kernel = x.double(), kernels_of(taps.double(), (3, 5))[1]
    z = torch.nn.functional.conv2d(wide, kernel, padding=2, groups=8)
    active, gate = torch.nn.functional.gelu(z), gates.double()[:, number : number + 1]
    total = (number > 1) * had.double() + 0.5 * gate * active
    if number % 2:
        total += 0.5 * gates.double()[:, number - 1 : number] * wide
    through = torch.nn.functional.conv_transpose2d(x.double(), kernel, padding=2, groups=8)
    of_level = 0.5 * gate * grad.double()
    leaf = had.double().requires_grad_()
    torch.nn.functional.gelu(leaf).backward(of_level + (d_mean[:, :, None, None] if number == 3 else through))
    of_gate = 0.5 * (grad.double() * torch.nn.functional.gelu(had.double())).sum(1)
    blank = torch.zeros(9 + 25, 8, dtype=torch.float64).requires_grad_()
    law = torch.nn.functional.conv2d(wide, kernels_of(blank, (3, 5))[1], padding=2, groups=8)
    of_taps = torch.autograd.grad(law, blank, grad.double())[0][other:]
    with interpreted(count=False, reverse=number % 2 == 1) as run:
        rows = [run.guarded(_rows(had)), *(torch.empty(2, 3, 4, 8, dtype=dtype) for _ in range(3))]
        common = x, run.guarded(taps), other, 5, run.guarded(gates), number, 0.5
        sums = kernel_levels.level(*common, total=rows[0], y=None, z=rows[1])
        assert kernel_levels.level(*common, total=None, y=rows[2], z=None).numel() == 0
        kernel_levels.turned(_rows(grad), taps, other, 5, rows[3])
        shares = torch.zeros(1, 2, 5, 3, 4)
        d_z = kernel_levels.level_backward(
            None if number == 3 else _rows(x), taps, other, 5, _rows(grad), gates, number, _rows(had), d_mean, shares,
            0.5,
        )  # fmt: skip
        d_taps = kernel_weight.weight_gradient(x, _rows(grad), 5)
    back = torch.nn.functional.conv_transpose2d(grad.double(), kernel, padding=2, groups=8)
    pairs = (rows[0], total), (rows[1], z), (rows[2], active), (rows[3], back), (d_z, leaf.grad)
    errors = [_error(mine.permute(0, 3, 1, 2), exact) for mine, exact in pairs]
    errors += [_error(shares[0, :, number], of_gate), _error(d_taps, of_taps)]
    errors += [_error(sums.sum(1), active.sum((2, 3)))]
    assert max(errors[:5]) <= MOST[dtype], errors
    assert max(errors[5:]) <= 1e-6, errors  # held in float32


@pytest.mark.parametrize("levels", [1, 3, 4])
def test_without_a_backward_pass_nothing_is_kept_and_the_context_is_the_same(levels):
    sides = (3, 5, 3, 3)[:levels]
    grad, *tensors = _inputs(torch.float32, (1, 8, 5, 6), sides, "part")
    with interpreted(count=False) as run:
        y, _, kept = forward(*(run.guarded(each) for each in tensors), sides, 1.0, keep=False)
    assert kept.numel() == 0
    assert _error(y, _law(grad, *tensors, sides, 1.0)[0]) <= 1e-6


def test_other_strides_and_misaligned_tensors_are_laid_out_anew():
    whole = torch.randn(2, 12, 8, 9)
    taps, gates = torch.randn(1 + 9 * 8)[1:].view(9, 8) / 3, torch.randn(2, 8, 9, 2).permute(0, 3, 2, 1)
    for x in (whole[:, :8, ::2, 1:7], whole[:, 4:].permute(0, 1, 3, 2)[:, :, 1:5, 2:8], whole[:, 1:9, 1:5, 3:9]):
        of_map = gates[..., :4, :6] if x.shape[2:] == (4, 6) else gates
        grad = torch.randn(2, 8, 1, 1).expand(x.shape)
        with interpreted(count=False):
            y, mean, kept = forward(x, taps, of_map, (3,), 1.0, keep=True)
            found = y, *backward(grad, x, taps, of_map, mean, kept, (3,), 1.0)
        for mine, exact in zip(found, _law(grad, x, taps, of_map, (3,), 1.0), strict=True):
            assert _error(mine, exact) <= 1e-6


def test_kernels_take_square_ones_of_whole_vectors():
    def taken(width, *kernels):
        weights = [torch.empty(width, 1, *kernel) for kernel in kernels]
        return takes(torch.empty(1, width, 4, 4), weights, torch.empty(1, len(kernels) + 1, 4, 4))

    assert taken(8, (3, 3), (5, 5), (7, 7), (9, 9))
    assert taken(24, (11, 11))
    assert not taken(8, (3, 3), (5, 5), (7, 7), (9, 9), (11, 11))
    assert not taken(12, (3, 3))
    assert not taken(8, (13, 13))
    assert not taken(8, (3, 5))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "part"])
def test_on_a_gpu_shapes_and_strides_are_those_that_the_kernel_writes(layout):
    dtype = torch.bfloat16
    _, x, taps, gates = _inputs(dtype, (2, 8, 3, 4), (3, 5), layout)
    with interpreted(count=False):
        y, mean, kept = forward(x, taps, gates, (3, 5), 1.0, keep=True)
        d_x, d_taps, d_gates = backward(y, x, taps, gates, mean, kept, (3, 5), 1.0)
    with FakeTensorMode():
        there = [torch.empty_strided(t.shape, t.stride(), dtype=dtype, device="cuda") for t in (x, gates)]
        weights = [torch.empty(8, 1, side, side, dtype=dtype, device="cuda").requires_grad_() for side in (3, 5)]
        out = focal_context(there[0].requires_grad_(), weights, there[1].requires_grad_())
        assert "nas_ops_focal_context" in type(out.grad_fn).__name__
        tap = torch.empty(34, 8, dtype=dtype, device="cuda")
        outs = [out, *gather(there[0], tap, there[1], [3, 5], 1.0, True)[1:]]
        outs += gather_backward(out, there[0], tap, there[1], outs[1], outs[2], [3, 5], 1.0)
        for fake, made in zip(outs, (y, mean, kept, d_x, d_taps, d_gates), strict=True):
            assert (fake.shape, fake.stride(), fake.dtype) == (made.shape, made.stride(), made.dtype)
            assert fake.device.type == "cuda"
        assert focal_context(there[0][:, :4], [weight[:4] for weight in weights], there[1]).shape == (2, 4, 3, 4)


SMALL = (1, 8, 2, 3), (3, 5), "channels_last"


def test_the_operators_are_what_pytorch_expects():
    grad, *tensors = _inputs(torch.float32, *SMALL)
    leaves = [each.requires_grad_() for each in tensors]
    opcheck(gather, (*leaves, [3, 5], 0.5, True))
    mean, kept = torch.rand(1, 8), torch.randn(3, 1, 2, 3, 8)
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(gather_backward, (grad.requires_grad_(), *leaves, mean, kept, [3, 5], 0.5), test_utils=quick)


def _kernel(x, taps, gates):
    return kernel_focal_context(x, kernels_of(taps, (3, 5)), gates, 0.5)


def test_gradients_of_gradients_are_those_of_the_reference():
    given = _inputs(torch.float32, *SMALL)

    def second(function, *tensors):
        leaves = [each.clone().requires_grad_() for each in tensors]
        first = torch.autograd.grad(function(*leaves[1:]), leaves[1:], leaves[0], create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), leaves)

    def law(x, taps, gates):
        return reference(x, kernels_of(taps, (3, 5)), gates, 0.5)

    exact = second(law, *(each.double() for each in given))
    assert max(map(_error, second(_kernel, *given), exact)) < 1e-5


def test_autocast_and_mixed_dtypes_return_the_map_s():
    grad, *tensors = _inputs(torch.bfloat16, *SMALL)
    for own in (torch.float32, torch.bfloat16):
        leaves = [each.to(kind).requires_grad_() for each, kind in zip(tensors, (grad.dtype, own, own), strict=True)]
        with torch.autocast("cpu", torch.bfloat16):
            y = _kernel(*leaves)
            found = torch.autograd.grad(y, leaves, grad)
        assert [each.dtype for each in (y, *found)] == [torch.bfloat16, torch.bfloat16, own, own]
        assert max(map(_error, (y, *found), _law(grad, *tensors, (3, 5), 0.5))) < CHAINED[grad.dtype]


def test_compiled_without_a_break_and_gradients_asked_of_what_kept_nothing():
    grad, *tensors = _inputs(torch.float32, *SMALL)
    leaves = [each.requires_grad_() for each in tensors]
    exact = _law(2 * grad, *tensors, (3, 5), 0.5)
    compiled = torch.compile(lambda *given: _kernel(*given) * 2, fullgraph=True, backend="aot_eager")
    y = compiled(*leaves)
    assert _error(y, 2 * exact[0]) < 1e-6
    assert max(map(_error, torch.autograd.grad(y, leaves, grad), exact[1:])) < 1e-6
    y = gather(*leaves, [3, 5], 0.5, False)[0]
    assert max(map(_error, torch.autograd.grad(y, leaves, 2 * grad), exact[1:])) < 1e-6
