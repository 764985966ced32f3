"""The selective scan is the recorded one; its fast and its traced form are the reference, outputs and gradients."""

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from ops import selective_scan, selective_scan_step
from ops.selective_scan.associative import associative
from ops.selective_scan.chunks import chunks
from ops.selective_scan.reference import reference

RECORDED = "ops_selective_scan"
FAST = import_module("ops.selective_scan.chunks")
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


def _inputs(batch=2, width=6, length=21, states=3, groups=2, dtype=torch.float64, step=1.0):
    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64).to(dtype).requires_grad_()

    delta = (step * torch.rand(batch, width, length, dtype=torch.float64)).to(dtype).requires_grad_()
    rates = (-1 - torch.arange(states).repeat(width, 1)).to(dtype).requires_grad_()
    b, c = (normal(batch, groups, states, length) for _ in range(2))
    return {
        "u": normal(batch, width, length), "delta": delta, "A": rates, "B": b, "C": c,
        "D": normal(width), "z": normal(batch, width, length), "delta_bias": normal(width),
    }  # fmt: skip


def _core(**changes):
    """The five tensors of the bare recurrence."""
    return list(_inputs(**changes).values())[:5]


def _gradients(function, inputs):
    outputs = function(*inputs)
    directions = [torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view(o.shape) for o in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, directions, materialize_grads=True)]


def _error(found, exact):
    found, exact = found.detach(), exact.detach()
    return float((found.double() - exact.double()).abs().max() / exact.double().abs().max())


@pytest.mark.parametrize("function", [selective_scan, reference])
def test_outputs_and_gradients_are_the_recorded_ones(case, function):
    options = {} if function is reference else {"return_last_state": True}
    out, last = function(*map(case.get, NAMES), delta_softplus=case.config["delta_softplus"], **options)
    case.agrees(out=out, last_state=last)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3), width=st.sampled_from([1, 2, 5]), length=st.integers(1, 70),
    states=st.integers(1, 5), groups=st.integers(1, 3),
)  # fmt: skip
def test_fast_and_traced_forms_are_the_reference(batch, width, length, states, groups):
    inputs = _core(batch=batch, width=groups * width, length=length, states=states, groups=groups)
    law = _gradients(reference, inputs)
    for form in (chunks, associative):
        for mine, expected in zip(_gradients(form, inputs), law, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)


def test_any_strides_and_mixed_groups():
    u, delta, a, b, c = _core(groups=2, states=4)
    strange = [
        u.transpose(0, 1).contiguous().transpose(0, 1),
        delta.flip(2),
        a.t().contiguous().t(),
        b[:, :1],
        c[..., ::1],
    ]
    assert not strange[0].is_contiguous()
    law = _gradients(reference, strange)
    for mine, expected in zip(_gradients(chunks, strange), law, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)


def test_a_batch_in_parts_is_the_same(monkeypatch):
    inputs = _core(batch=5, length=40)
    whole = _gradients(chunks, inputs)
    monkeypatch.setattr(FAST, "BUFFER", 2 * 16 * 6 * 3)
    for mine, expected in zip(_gradients(chunks, inputs), whole, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


def test_images_of_a_batch_do_not_meet():
    inputs = _inputs(batch=4)
    alone = {name: tensor[1:2] if tensor.ndim > 2 else tensor for name, tensor in inputs.items()}
    torch.testing.assert_close(selective_scan(**inputs)[1:2], selective_scan(**alone), rtol=0, atol=1e-13)


@pytest.mark.parametrize("length", [1, 19])
def test_derivatives_are_those_of_finite_differences(length):
    inputs = tuple(_inputs(batch=2, width=2, length=length, states=2, groups=1).values())

    def scan(*tensors):
        return selective_scan(*tensors, delta_softplus=True, return_last_state=True)

    assert torch.autograd.gradcheck(scan, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(scan, inputs, fast_mode=True)


@pytest.mark.parametrize("step", [1e-5, 1e-2, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("form", [chunks, associative])
def test_long_sequences_and_extreme_steps_in_single_precision(step, form):
    exact = _core(batch=1, width=4, length=3136, states=4, step=step)
    single = [tensor.detach().float().requires_grad_() for tensor in exact]
    exact = [tensor.detach().double().requires_grad_() for tensor in single]
    # 3e-6 of the largest value: sums over 3136 positions of numbers rounded to 6e-8
    for mine, law in zip(_gradients(form, single), _gradients(chunks, exact), strict=True):
        assert torch.isfinite(mine).all()
        assert _error(mine, law) < 3e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_is_rounded_once(dtype, tolerance):
    half = _inputs(length=300, dtype=dtype, step=0.1)
    half["A"] = half["A"].detach().float().requires_grad_()
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in half.items()}
    out, last = selective_scan(**half, delta_softplus=True, return_last_state=True)
    law, law_last = selective_scan(**exact, delta_softplus=True, return_last_state=True)
    assert (out.dtype, last.dtype) == (dtype, torch.float32)
    assert _error(out, law) < tolerance
    assert _error(last, law_last) < 1e-6
    found = torch.autograd.grad(out.float().sum(), list(half.values()))
    for mine, expected in zip(found, torch.autograd.grad(law.sum(), list(exact.values())), strict=True):
        assert _error(mine, expected) < 2 * tolerance


def test_autocast_changes_nothing():
    inputs = _inputs(dtype=torch.float32)
    out = selective_scan(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(**inputs), out)


def test_steps_are_the_scan():
    inputs = _inputs(groups=3)
    out, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True)
    state, outputs = torch.zeros_like(last), []
    for position in range(out.shape[-1]):
        here = {name: t[..., position] if t.ndim > 2 else t for name, t in inputs.items()}
        y, state = selective_scan_step(state, **here, delta_softplus=True)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, -1), out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_training_keeps_memory_linear_in_length():
    inputs = _core(batch=1, width=8, length=512, states=16, dtype=torch.float32)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = selective_scan(*inputs, return_last_state=True)
    assert out[0].requires_grad
    states = 4 * 8 * 512 * 16
    assert sum(kept.values()) < states


def test_without_training_nothing_is_kept(monkeypatch):
    rooms = []
    scan = FAST._scan
    monkeypatch.setattr(
        FAST,
        "_scan",
        lambda inputs, rates, starts, *out: (rooms.append(len(starts)), scan(inputs, rates, starts, *out)),
    )
    inputs = _core(length=40)
    selective_scan(*inputs)
    with torch.no_grad():
        selective_scan(*inputs)
    selective_scan(*(tensor.detach() for tensor in inputs))
    assert rooms == [2, 0, 0]


def test_meta_tensors_have_shapes_gradients_and_no_matrix_products():
    inputs = {name: t.detach().to("meta").requires_grad_() for name, t in _inputs(length=3136).items()}
    with FlopCounterMode(display=False) as counter:
        out, last = selective_scan(**inputs, return_last_state=True)
        out.sum().backward()
    assert (out.shape, last.shape) == ((2, 6, 3136), (2, 6, 3))
    assert inputs["B"].grad.shape == inputs["B"].shape
    assert counter.get_total_flops() == 0


class _Scan(torch.nn.Module):
    def forward(self, u, delta, a, b, c):
        return selective_scan(u, delta, a, b, c, delta_softplus=True)


def test_compiled_and_exported_graphs_grow_with_the_logarithm_of_length():
    inputs = tuple(tensor.detach() for tensor in _core(length=37))
    expected = _Scan()(*inputs)
    compiled = torch.compile(_Scan(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), expected, rtol=1e-12, atol=1e-12)
    program = torch.export.export(_Scan(), inputs)
    torch.testing.assert_close(program.module()(*inputs), expected, rtol=1e-12, atol=1e-12)
    long = torch.export.export(_Scan(), tuple(tensor.detach() for tensor in _core(length=3136)))
    targets = [str(node.target) for node in long.graph.nodes if node.op == "call_function"]
    assert len(targets) < 12 * 25
    assert all(target.startswith(("aten.", "<built-in function")) for target in targets)


def test_functional_transforms_go_through():
    inputs = [tensor.detach() for tensor in _core(batch=3)]
    single = torch.func.vmap(lambda u, d, b, c: selective_scan(u[None], d[None], inputs[2], b[None], c[None])[0])
    u, delta, _, b, c = inputs
    torch.testing.assert_close(single(u, delta, b, c), selective_scan(*inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("u", (6, 21), r"u \(6, 21\), allowed: \(B, D, L\)"),
        ("delta", (2, 6, 20), r"delta \(2, 6, 20\), allowed: \(2, 6, 21\)"),
        ("A", (5, 3), r"A \(5, 3\), allowed: \(6, N\)"),
        ("B", (2, 3, 20), r"B \(2, 3, 20\), allowed: \(6, 3\) or \(2, 3, 21\) or \(2, G, 3, 21\)"),
        ("C", (2, 4, 3, 21), "C has 4 groups, allowed: divisors of 6 channels"),
        ("D", (6, 1), r"D \(6, 1\), allowed: \(6,\)"),
        ("z", (2, 6, 1), r"z \(2, 6, 1\), allowed: \(2, 6, 21\)"),
    ],
)
def test_other_shapes_are_refused(name, shape, words):
    inputs = _inputs()
    inputs[name] = torch.ones(shape)
    with pytest.raises(ValueError, match=f"^selective_scan: {words}$"):
        selective_scan(**inputs)


def test_steps_refuse_complex_rates_and_other_states():
    u, a, b = torch.randn(2, 6), -torch.rand(6, 3), torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"^selective_scan_step: state \(2, 6, 4\), allowed: \(2, 6, 3\)$"):
        selective_scan_step(torch.zeros(2, 6, 4), u, u, a, b, b)
    with pytest.raises(ValueError, match=r"^selective_scan_step: A is complex, allowed: real$"):
        selective_scan_step(torch.zeros(2, 6, 3), u, u, a.to(torch.complex64), b, b)
