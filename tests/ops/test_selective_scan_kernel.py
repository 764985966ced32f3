"""The selective scan's kernels: interpreted against the law in float64, and as PyTorch sees them."""

from importlib import import_module

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import selective_scan, selective_scan_2d
from ops.proof import interpreted, on_cpu
from ops.selective_scan.registered import called as kernel_scan
from ops.selective_scan.registered import kernel_selective_scan, law, scanned, scanned_backward
from ops.selective_scan_2d.reference import reference as law_2d

FORWARD = import_module("ops.selective_scan.kernel")
BACKWARD = import_module("ops.selective_scan.kernel_backward")
on_cpu(scanned, scanned_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
CASES = (
    # batch, channels, length, states, groups, layout, routes, width of the map
    (1, 8, 9, 1, 1, "channels", "", 1),
    (2, 2, 7, 1, 2, "channels", "", 1),
    (1, 6, 7, 3, 2, "channels", "", 1),
    (1, 3, 5, 16, 1, "channels", "", 1),
    (2, 1, 8, 1, 1, "positions", "", 1),
    (1, 3, 4, 2, 3, "positions", "", 1),
    (1, 2, 4, 16, 1, "positions", "", 1),
    (1, 8, 6, 1, 1, "channels", "cross", 3),
    (1, 2, 4, 1, 2, "positions", "rotation", 2),
    (1, 2, 3, 3, 1, "channels", "bidirectional", 3),
    (1, 1, 2, 5, 1, "channels", "unidirectional", 1),
    (1, 1, 1, 1, 1, "positions", "cross", 1),
)
LONG = (
    (1, 1, 193, 2, 1, "channels", "", 1),
    (1, 7, 36, 1, 1, "positions", "", 1),
    (1, 2, 21, 1, 1, "channels", "cross", 7),
)


def _inputs(batch, channels, length, states, groups, layout, routes, width, dtype=torch.float32, gate=True):
    """u, delta, A, B, C, D, delta_bias and z; z only without routes, where there is one."""
    count = 4 if routes else 1

    def laid(x):
        return x.transpose(-1, -2).contiguous().transpose(-1, -2) if layout == "channels" else x

    maps = [laid(torch.randn(batch, channels, length)), laid(torch.randn(batch, count, channels, length) - 1)]
    told = [torch.randn(batch, count * groups, length, states + 1)[..., 1:].transpose(2, 3) for _ in range(2)]
    u, delta, b, c = (x.to(dtype) for x in (*maps, *told))
    z = laid(torch.randn(batch, channels, length)).to(dtype) if gate and not routes else None
    rates = -3 * torch.rand(count * channels, states)
    return [u, delta, rates, b, c, torch.randn(count * channels), torch.randn(count * channels), z]


def _error(found, exact):
    return ((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-3)).item()


def _exact(inputs, grads, routes, width, softplus=True):
    wide = [None if x is None else x.double().requires_grad_() for x in inputs]
    found = law(*wide, softplus, routes, width)
    leaves = [x for x in wide if x is not None]
    return *found, *torch.autograd.grad(found, leaves, [g.double() for g in grads], materialize_grads=True)


def _check(case, dtype, *, reverse=False, softplus=True, gate=True):
    routes, width, states = case[6], case[7], case[3]
    inputs = _inputs(*case, dtype=dtype, gate=gate)
    if not softplus:
        inputs[1], inputs[6] = inputs[1].abs(), inputs[6].abs()
    with interpreted(count=False, reverse=reverse) as run:
        guarded = [None if x is None else run.guarded(x) for x in inputs]
        out, last, starts = FORWARD.forward(*guarded, softplus, routes, width, True)
        grads = torch.randn(out.shape).to(out.dtype), torch.randn(last.shape)
        found = BACKWARD.backward(*map(run.guarded, grads), *guarded, starts, softplus, routes, width)
    found = [grad for grad, x in zip(found, inputs, strict=True) if x is not None]
    exact = _exact(inputs, grads, routes, width, softplus)
    names = ("out", "last", "u", "delta", "A", "B", "C", "D", "delta_bias", "z")
    for name, mine, law_s in zip(names, (out, last, *found), exact, strict=False):
        most = MOST[dtype] if mine.dtype == dtype else MOST[torch.float32]
        assert mine.shape == law_s.shape
        assert _error(mine, law_s) <= most, f"{case}, {name} of {states} states: {_error(mine, law_s):.1e}"
    return run.launched


@pytest.mark.parametrize("dtype", MOST, ids=str)
def test_both_passes_are_the_law_in_every_configuration(dtype):
    launched = []
    for number, case in enumerate(CASES):
        launched += _check(case, dtype, reverse=number % 2 == 1, softplus=number != 2)
    kind = launched[0].types["u"]
    offered = [c for c in (*FORWARD.CONFIGURATIONS, *BACKWARD.CONFIGURATIONS) if c.types["u"] == kind]
    assert {c.name for c in launched} == {c.name for c in offered}


@pytest.mark.parametrize("sizes", LONG, ids=str)
def test_more_than_one_chunk(sizes):
    _check(sizes, torch.float32, gate=sizes[2] < 100)


@pytest.mark.parametrize("size", [1e-6, 100.0])
def test_tiny_and_huge_steps_stay_finite(size):
    case = (1, 4, 20, 1, 1, "channels", "", 1)
    u, delta, rates, b, c, *_ = _inputs(*case)
    delta = torch.rand_like(delta) * size
    rates = torch.full_like(rates, -1.0)
    inputs, grads = [u, delta, rates, b, c, None, None, None], (torch.randn(u.shape), torch.randn(1, 1, 1, 4))
    with interpreted(count=False):
        out, last, starts = FORWARD.forward(*inputs, False, "", 1, True)
        found = BACKWARD.backward(*grads, *inputs, starts, False, "", 1)
    assert [tuple(x.shape) for x in found[5:]] == [(0,)] * 3
    for mine, law_s in zip((out, last, *found[:5]), _exact(inputs, grads, "", 1, softplus=False), strict=True):
        assert mine.isfinite().all()
        assert _error(mine, law_s) <= 1e-6


def test_misaligned_and_expanded_tensors_are_laid_out_anew():
    u, delta, rates, b, c, skip, bias, z = _inputs(1, 4, 8, 1, 1, "positions", "", 1)
    u = torch.randn(1, 4, 12)[:, :, 3:11]
    delta = delta[:, :, :1].expand(1, 1, 4, 8)
    inputs = [u, delta, rates, b, c, skip, bias, z]
    grads = torch.ones(1).expand(u.shape), torch.zeros(1, 1, 1, 4)
    with interpreted(count=False):
        out, _, starts = FORWARD.forward(*inputs, True, "", 1, True)
        found = BACKWARD.backward(*grads, *inputs, starts, True, "", 1)
    exact = _exact(inputs, grads, "", 1)
    assert _error(out, exact[0]) <= 1e-6
    assert max(map(_error, found, exact[2:])) <= 1e-6


@pytest.mark.parametrize("routes", ["", "cross"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_on_a_gpu_shapes_and_strides_are_those_that_the_kernels_write(dtype, routes):
    case = (1, 3, 4, 1 if routes else 3, 1, "positions", routes, 2)
    inputs = _inputs(*case, dtype=dtype)
    with interpreted(count=False):
        made = FORWARD.forward(*inputs, True, routes, 2, True)
        grads = torch.randn(made[0].shape).to(made[0].dtype), torch.randn(made[1].shape)
        found = BACKWARD.backward(*grads, *inputs, made[2], True, routes, 2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = [None if x is None else torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda")
                for x in inputs]  # fmt: skip
        told = scanned(*fake, True, routes, 2, True)
        handed = [torch.empty_like(x, device="cuda") for x in (*grads, made[2])]
        back = scanned_backward(*handed[:2], *fake, handed[2], True, routes, 2)
    for real, sham in zip((*made, *found), (*told, *back), strict=True):
        assert (real.shape, real.stride(), real.dtype) == (sham.shape, sham.stride(), sham.dtype)


def test_on_a_gpu_the_public_functions_take_the_kernels():
    with FakeTensorMode():
        u = torch.empty(2, 4, 8, device="cuda", dtype=torch.bfloat16)
        rates, told = torch.empty(4, 3, device="cuda"), torch.empty(2, 3, 8, device="cuda", dtype=torch.bfloat16)
        u.requires_grad_()
        y, last = selective_scan(u, u, rates, told, told, return_last_state=True)
        assert "selective_scan_kernel" in str(last.grad_fn.next_functions[0][0].next_functions[0][0].next_functions)
        assert (y.dtype, tuple(last.shape), last.dtype) == (torch.bfloat16, (2, 4, 3), torch.float32)
        assert selective_scan(
            u, u, torch.empty(4, 17, device="cuda"), *[torch.empty(2, 17, 8, device="cuda")] * 2
        ).shape
        x = torch.empty(2, 4, 3, 5, device="cuda", dtype=torch.bfloat16)
        told, weight = torch.empty(2, 4, 8, 3, 5, device="cuda"), torch.empty(4, 4, 2, device="cuda")
        y = selective_scan_2d(x, told, weight, torch.empty(16, 3, device="cuda"), impl="triton")
        assert (y.shape, y.dtype) == (x.shape, torch.bfloat16)
        with pytest.raises(
            ValueError, match=r"^selective_scan: impl 'triton' for \(2, 4, 8\), allowed: what its kernel"
        ):
            selective_scan(u, u, rates, rates, rates, impl="triton")


def test_the_operators_are_what_pytorch_expects():
    inputs = [x.requires_grad_() for x in _inputs(1, 2, 4, 1, 1, "positions", "", 1)]
    opcheck(scanned, (*inputs, True, "", 1, True))
    plain = [None if n > 4 else x.detach() for n, x in enumerate(inputs)]
    opcheck(scanned, (*plain, False, "", 1, False), test_utils=("test_schema", "test_faketensor"))
    starts = torch.randn(1, 0, 1, 1, 2)
    grads = torch.randn(1, 2, 4), torch.randn(1, 1, 1, 2)
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(scanned_backward, (*grads, *inputs, starts, True, "", 1), test_utils=quick)


@pytest.mark.parametrize("routes", ["", "rotation"])
def test_gradients_of_gradients_are_those_of_the_law(routes):
    inputs = [x for x in _inputs(1, 2, 4, 1, 1, "channels", routes, 2) if x is not None]

    def second(function, dtype):
        leaves = [x.to(dtype).requires_grad_() for x in inputs]
        out, last = function(*leaves, *[None] * (8 - len(leaves)), True, routes, 2)
        first = torch.autograd.grad(out.square().sum() + last.sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), leaves)

    found, exact = second(kernel_scan, torch.float32), second(law, torch.float64)
    assert max(map(_error, found, exact)) < 1e-5


def test_compiled_without_a_break_and_under_autocast():
    u, delta, rates, b, c, skip, bias, z = _inputs(1, 2, 4, 1, 1, "positions", "", 1)
    inputs = [x.requires_grad_() for x in (u, delta[:, 0], rates, b, c, skip, z, bias)]

    def function(*tensors):
        return kernel_selective_scan(*tensors, delta_softplus=True)[0] * 2

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    plain = function(*inputs)
    outs = compiled(*inputs), plain
    for mine, other in zip(*((out, *torch.autograd.grad(out.sum(), inputs)) for out in outs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(function(*inputs), plain)


@pytest.mark.parametrize("routes", ["cross", "unidirectional", "bidirectional", "rotation"])
def test_the_map_s_scan_is_cross_scan_scan_and_merge(routes):
    """The operator's own orders of positions, against the sequences that are made of copies."""
    x, weight = torch.randn(2, 3, 2, 4), torch.randn(4, 3, 2)
    told, rates = torch.randn(2, 4, 4, 2, 4), -torch.rand(12, 1)
    skip, bias = torch.randn(2, 12).unbind()
    steps, b, c = told.flatten(3).split([2, 1, 1], 2)
    y, _ = law(x.flatten(2), weight @ steps, rates, b, c, skip, bias, None, True, routes, 4)
    exact = law_2d(x, told, weight, rates, skip, bias, True, routes)
    torch.testing.assert_close(y.view(x.shape), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        selective_scan_2d(x, told, weight, rates, skip, bias, delta_softplus=True, routes=routes), exact,
        rtol=1e-5, atol=1e-5,
    )  # fmt: skip


def test_what_cannot_be_scanned_along_routes_is_refused():
    x, told, weight, rates = torch.ones(1, 2, 3, 3), torch.ones(1, 4, 5, 3, 3), torch.ones(4, 2, 3), torch.ones(8, 1)
    with pytest.raises(ValueError, match=r"^selective_scan_2d: routes 'zigzag', allowed: 'cross', 'unidirectional'"):
        selective_scan_2d(x, told, weight, rates, routes="zigzag")
    with pytest.raises(ValueError, match=r"^selective_scan_2d: told \(1, 4, 6, 3, 3\), allowed: \(1, 4, 5, 3, 3\)$"):
        selective_scan_2d(x, torch.ones(1, 4, 6, 3, 3), weight, rates)
    with pytest.raises(ValueError, match=r"^selective_scan_2d: A is complex, allowed: real$"):
        selective_scan_2d(x, told, weight, rates.to(torch.complex64))


def test_the_map_s_scan_is_exported_for_any_batch_and_known_on_meta():
    x, told, weight, rates = (
        torch.randn(2, 3, 2, 4),
        torch.randn(2, 4, 4, 2, 4),
        torch.randn(4, 3, 2),
        -torch.rand(12, 1),
    )

    class Net(torch.nn.Module):
        def forward(self, x, told):
            return selective_scan_2d(x, told, weight, rates, delta_softplus=True)

    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(Net(), (x, told), dynamic_shapes=(batch, batch))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("nas_ops" in name for name in called)
    more = torch.cat((x, x)), torch.cat((told, told))
    torch.testing.assert_close(program.module()(*more), Net()(*more), rtol=1e-5, atol=1e-5)
    meta = (each.to("meta") for each in (x, told, weight, rates))
    assert selective_scan_2d(*meta).shape == x.shape
