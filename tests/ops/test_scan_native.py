"""The native selective scan is the law in float64, and a citizen of PyTorch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import selective_scan
from ops.native import missing
from ops.selective_scan.associative import associative
from ops.selective_scan.chunks import chunks
from ops.selective_scan.native import native, native_scan, native_scan_backward

pytestmark = pytest.mark.skipif(missing() is not None, reason="no compiler (tests/ops/test_native.py asks for one)")
TOLERANCE = 2e-6
"""Of the largest value, or of what sums of random signs come to where they happen to cancel: decays are to 2e-7."""


def _core(batch=2, width=6, length=21, states=3, groups=2, step=1.0):
    """u, ready step sizes, A, B and C."""
    rates = -1 - torch.arange(states).repeat(width, 1).float()
    shapes = (batch, width, length), (batch, groups, states, length), (batch, groups, states, length)
    u, b, c = (torch.randn(shape) for shape in shapes)
    return [tensor.requires_grad_() for tensor in (u, step * torch.rand(batch, width, length), rates, b, c)]


def _gradients(function, inputs):
    outputs = function(*inputs)
    directions = [torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view(o.shape) for o in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, directions)]


def _check(inputs, tolerance=TOLERANCE, least=1e-20):
    batch, _, length = inputs[0].shape
    exact = _gradients(chunks, [tensor.detach().double().requires_grad_() for tensor in inputs])
    for name, mine, law in zip(("y", "last", *"uδABC"), _gradients(native, inputs), exact, strict=True):
        assert mine.shape == law.shape
        floor = least * (batch * length) ** 0.5 if name == "A" else least
        error = ((mine - law).abs().max() / law.abs().max().clamp(min=floor)).item()
        assert error < tolerance, f"{name}: error {error:.1e}"


@settings(max_examples=50, deadline=None)
@given(
    batch=st.integers(1, 3), width=st.sampled_from([1, 2, 16, 37]), length=st.integers(1, 70),
    states=st.sampled_from([1, 3, 4, 16, 17]), groups=st.integers(1, 3), threads=st.sampled_from([1, 3]),
)  # fmt: skip
def test_output_and_gradients_are_the_law(batch, width, length, states, groups, threads):
    torch.set_num_threads(threads)
    try:
        _check(_core(batch, groups * width, length, states, groups), least=0.3)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("step", [1e-5, 1e-2, 1.0, 100.0, 1e4])
def test_long_sequences_and_extreme_steps(step):
    inputs = _core(batch=1, width=4, length=3136, states=4, step=step)
    _check(inputs, tolerance=4e-6)
    assert all(torch.isfinite(found).all() for found in _gradients(native, inputs))


def test_any_strides_mixed_groups_and_b_without_groups():
    u, delta, a, b, c = (tensor.detach() for tensor in _core(groups=2, states=4))
    told = torch.cat((b, c, b), 2)  # as a projection writes them
    strange = [
        u.transpose(0, 1).contiguous().transpose(0, 1), delta.flip(2), a.t().contiguous().t(), b[:, 0], told[:, :, 4:8],
    ]  # fmt: skip
    assert not any(tensor.is_contiguous() for tensor in (strange[0], strange[2], strange[4]))
    _check([tensor.requires_grad_() for tensor in strange])
    strange[3:] = b.transpose(2, 3).contiguous().transpose(2, 3).detach().requires_grad_(), c.requires_grad_()
    _check(strange)


def test_numbers_that_are_none_spread_forward_in_their_channel_only():
    inputs = [tensor.detach() for tensor in _core()]
    inputs[1][1, 3, 10] = float("nan")
    y = native(*inputs)[0]
    assert y[1, 3, 10:].isnan().all()
    assert y.isnan().sum() == 11


def test_runs_are_the_same_and_without_training_nothing_is_kept():
    inputs = _core(batch=3, length=40)
    first, second = (_gradients(native, inputs) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert native_scan(*inputs, True)[2].numel() > 0
    assert native_scan(*inputs, False)[2].numel() == 0
    with torch.no_grad():
        assert torch.equal(native(*inputs)[0], first[0])


def test_registered_as_pytorch_asks():
    inputs = _core()
    torch.library.opcheck(native_scan, (*inputs, True))
    torch.library.opcheck(native_scan, (*(tensor.detach() for tensor in inputs), False))
    y, last, starts = native_scan(*inputs, True)
    frozen = (torch.randn_like(y), torch.randn_like(last), *(tensor.detach() for tensor in inputs), starts.detach())
    torch.library.opcheck(native_scan_backward, frozen)
    trained = (*(tensor.clone().requires_grad_() for tensor in frozen[:7]), frozen[7])
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")  # tracing every state takes half a minute
    torch.library.opcheck(native_scan_backward, trained, test_utils=quick)


@pytest.mark.parametrize("form", [native, chunks])
def test_second_derivatives_are_those_of_the_law(form):
    """Steps that are told from u, as in Mamba, must not count twice."""

    def second(function, inputs):
        u, delta, *others = inputs
        outputs = function(u, delta * u.sigmoid(), *others)
        first = torch.autograd.grad(sum((o**2).sum() for o in outputs), inputs, create_graph=True)
        return torch.autograd.grad(sum((g**2).sum() for g in first), inputs)

    inputs = _core(length=7)
    exact = second(associative, [tensor.detach().double().requires_grad_() for tensor in inputs])
    for mine, law in zip(second(form, inputs), exact, strict=True):
        assert ((mine - law).abs().max() / law.abs().max()).item() < 1e-5


class _Scan(torch.nn.Module):
    def forward(self, u, delta, a, b, c):
        return selective_scan(u, delta, a, b, c, delta_softplus=True)


def test_compiled_without_a_break_and_exported_as_plain_pytorch(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)
    inputs = _core(length=19)
    compiled = torch.compile(_Scan(), fullgraph=True, backend="aot_eager")
    outs = compiled(*inputs), _Scan()(*inputs)
    for mine, law in zip(*((out, *torch.autograd.grad(out.sum(), inputs)) for out in outs), strict=True):
        torch.testing.assert_close(mine, law, rtol=1e-5, atol=1e-5)
    program = torch.export.export(_Scan(), tuple(tensor.detach() for tensor in inputs))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert not any("nas_ops" in target for target in targets)
    torch.testing.assert_close(program.module()(*inputs), outs[1], rtol=1e-5, atol=1e-5)


def test_what_is_asked_for_is_taken(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)
    inputs = _core()
    ways = {impl: selective_scan(*inputs, impl=impl) for impl in ("reference", "pytorch", "native")}
    names = {impl: type(y.grad_fn).__name__ for impl, y in ways.items()}
    assert "nas_ops_selective_scan" in names["native"]
    assert "nas_ops" not in names["pytorch"] + names["reference"]
    for y in ways.values():
        torch.testing.assert_close(y, ways["native"], rtol=1e-5, atol=1e-5)
    assert torch.equal(selective_scan(*inputs), ways["native"])
    with pytest.raises(ValueError, match=r"^selective_scan: impl 'native' for torch.float64 on cpu, allowed: "):
        selective_scan(*(tensor.double() for tensor in inputs), impl="native")
