"""S4D's kernel is the recorded one, and its steps are the recurrence that the kernel stands for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import long_conv1d, s4d_kernel, s4d_spectrum, s4d_step
from ops.long_conv1d.reference import reference as convolved
from ops.s4d.reference import reference

RECORDED = "ops_s4d"


def test_kernels_outputs_and_gradients_are_the_recorded_ones(case):
    if case.name.startswith("minimal"):
        case.agrees(y=_minimal_layer(case))
        return
    rates = -case.leaf("A_real", (-case["Lambda"].real).log()).exp()
    if case["Lambda"].is_complex():
        rates = torch.complex(rates, -case.leaf("A_imag", -case["Lambda"].imag))
    dt = case.leaf("inv_dt", case["dt"].log()[:, None]).exp()[:, 0]
    kernel = s4d_kernel(
        rates, case.get("B"), case.get("C"), dt, length=case.config["L"], discretization=case.config["disc"]
    )  # fmt: skip
    case.agrees(K=kernel)
    if "y" in case.arrays:
        y = long_conv1d(case["u"], kernel.detach())
        assert float((y - case["y"]).abs().max()) < 1e-12 * float(case["y"].abs().max())


def _minimal_layer(case):
    """The published one-file S4D: frequencies are positive, B is in C, and a gated linear layer follows."""
    rates = torch.complex(-case.get("kernel.log_A_real").exp(), case.get("kernel.A_imag"))
    dt, c = case.get("kernel.log_dt").exp(), torch.view_as_complex(case.get("kernel.C"))
    u = case.get("u")
    kernel = s4d_kernel(rates, torch.ones_like(rates), c, dt, length=case.config["L"])
    torch.testing.assert_close(kernel, case["K"], rtol=1e-11, atol=1e-11)
    y = F.gelu(long_conv1d(u, kernel, case.get("D")))
    return F.glu(F.conv1d(y, case.get("output_linear.0.weight"), case.get("output_linear.0.bias")), dim=-2)


@pytest.mark.parametrize(("spectrum", "recorded"), [
    ("lin", "lin_zoh_N16_L64"), ("inv", "inv_zoh_N64_L256"), ("legs", "legs_zoh_N64_L64"), ("real", "real_zoh_N8_L64"),
])  # fmt: skip
def test_spectra_are_the_recorded_ones(spectrum, recorded, request):
    with np.load(request.path.parents[1] / "golden" / "ops" / "ops_s4d.npz") as file:
        rates, enter = (torch.from_numpy(file[f"{recorded}.{key}"][0]) for key in ("Lambda", "B"))
    states = int(recorded.partition("_N")[2].partition("_")[0])
    ours, b = s4d_spectrum(spectrum, states)
    # the published models keep all frequencies from 1e-4 on
    torch.testing.assert_close(ours, rates, rtol=1e-10, atol=1.1e-4)
    # the recorded B went through fp32; an eigenvector's sign is free, and with it B's
    signs = enter.real.sign() * b.real.sign()
    torch.testing.assert_close(b * signs, enter, rtol=1e-5, atol=1e-5)


def _model(states=4, width=3, dtype=torch.complex128):
    rates, b = s4d_spectrum("lin", 2 * states)
    c = torch.randn(width, states, dtype=dtype)
    return (
        rates.expand(width, -1).to(dtype),
        b.expand(width, -1).to(dtype),
        c,
        torch.rand(width).to(dtype.to_real()) + 0.01,
    )


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), states=st.integers(1, 4), rule=st.sampled_from(["zoh", "bilinear"]))
def test_any_length_is_the_recurrence_and_its_steps(length, states, rule):
    rates, b, c, dt = _model(states)
    kernel = s4d_kernel(rates, b, c, dt, length=length, discretization=rule)
    torch.testing.assert_close(kernel, reference(rates, b, c, dt, length, rule), rtol=1e-11, atol=1e-11)
    u = torch.randn(2, 3, length, dtype=torch.float64)
    state, outputs = torch.zeros(2, *rates.shape, dtype=rates.dtype), []
    for position in range(length):
        y, state = s4d_step(state, u[..., position], rates, b, c, dt, discretization=rule)
        outputs.append(y)
    torch.testing.assert_close(long_conv1d(u, kernel), torch.stack(outputs, -1), rtol=1e-10, atol=1e-10)


def test_several_outputs_and_derivatives():
    rates, b, c, dt = (tensor.detach().clone() for tensor in _model(2))
    both = torch.stack((c, 2 * c))
    assert torch.equal(s4d_kernel(rates, b, both, dt, length=5)[1], 2 * s4d_kernel(rates, b, c, dt, length=5))
    inputs = [tensor.requires_grad_() for tensor in (rates, b, both, dt)]
    for rule in ("zoh", "bilinear", "dss"):
        function = lambda *t, rule=rule: s4d_kernel(*t, length=5, discretization=rule)  # noqa: E731
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("dt", [1e-7, 1e-3, 0.1, 1e3])
@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_long_sequences_and_extreme_steps_in_single_precision(dt, rule):
    """65,536 positions; a phase of 2e4 turns keeps its digits, for exponents are formed in fp64."""
    single = _model(32, width=1, dtype=torch.complex64)[:3]
    step = torch.tensor([dt])
    found = s4d_kernel(*single, step, length=65536, discretization=rule)
    exact = s4d_kernel(*(t.to(torch.complex128) for t in single), step.double(), length=65536, discretization=rule)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert float((found.double() - exact).abs().max() / exact.abs().max()) < 1e-6
    law = reference(*(t.to(torch.complex128) for t in single), step.double(), 50, rule)
    torch.testing.assert_close(exact[:, :50], law, rtol=1e-9, atol=1e-9 * float(law.abs().max()))


def test_zero_rates_and_states_that_keep_nothing():
    zero, one, dt = torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1)
    assert s4d_kernel(zero, one, one, dt, length=3).tolist() == [[2, 2, 2]]
    assert s4d_kernel(-2 * one, one, one, dt, length=3, discretization="bilinear").tolist() == [[1, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 30), taps=st.integers(1, 40))
def test_long_convolutions_are_pytorchs(length, taps):
    u, kernel = torch.randn(2, 3, length, dtype=torch.float64), torch.randn(3, taps, dtype=torch.float64)
    torch.testing.assert_close(long_conv1d(u, kernel), convolved(u, kernel), rtol=1e-11, atol=1e-11)
    skip = torch.randn(3, dtype=torch.float64)
    torch.testing.assert_close(long_conv1d(u, kernel, skip), convolved(u, kernel) + skip[:, None] * u)
    half = long_conv1d(u.bfloat16(), kernel.bfloat16())
    assert half.dtype == torch.bfloat16


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 20), taps=st.integers(1, 25), later=st.integers(1, 25))
def test_a_kernel_ahead_starts_at_the_next_position(length, taps, later):
    u, kernel, ahead = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 3, length), (3, taps), (3, later)))
    expected = convolved(u, kernel)
    back = convolved(u.flip(2), ahead).flip(2)
    expected[..., :-1] += back[..., 1:]
    torch.testing.assert_close(long_conv1d(u, kernel, ahead=ahead), expected, rtol=1e-11, atol=1e-11)


class _Kernel(torch.nn.Module):
    def forward(self, rates, b, c, dt, u):
        return long_conv1d(u, s4d_kernel(rates, b, c, dt, length=32))


def test_traced_compiled_and_without_data():
    inputs = (*_model(), torch.randn(2, 3, 32, dtype=torch.float64))
    expected = _Kernel()(*inputs)
    torch.testing.assert_close(torch.compile(_Kernel(), fullgraph=True, backend="eager")(*inputs), expected)
    torch.testing.assert_close(torch.export.export(_Kernel(), inputs).module()(*inputs), expected)
    assert _Kernel()(*(tensor.to("meta") for tensor in inputs)).shape == expected.shape


def test_other_shapes_and_rules_are_refused():
    rates, b, c, dt = _model()
    with pytest.raises(ValueError, match=r"^s4d_kernel: C \(3, 3\), allowed: \(3, 4\) or \(M, 3, 4\)$"):
        s4d_kernel(rates, b, c[:, :3], dt, length=4)
    with pytest.raises(ValueError, match=r"^s4d_kernel: discretization 'euler', allowed: 'zoh', 'bilinear', 'dss'$"):
        s4d_kernel(rates, b, c, dt, length=4, discretization="euler")
    with pytest.raises(ValueError, match=r"^s4d_step: discretization 'dss', allowed: 'zoh', 'bilinear'$"):
        s4d_step(rates, dt, rates, b, c, dt, discretization="dss")
    with pytest.raises(ValueError, match=r"^long_conv1d: kernel \(3,\), allowed: \(3, K\)$"):
        long_conv1d(torch.ones(1, 3, 4), torch.ones(3))
