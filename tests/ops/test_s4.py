"""S4's kernel is the recorded one, and its steps are the recurrence that the kernel stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import long_conv1d, nplr, s4_kernel, s4_step, s4_truncated, s4_untruncated
from ops.s4.reference import reference

RECORDED = "ops_s4"


def _model(measure="legs", states=16, width=2, dtype=torch.complex128):
    form = nplr(measure, states)
    rates = torch.complex(form.Lambda.real.clamp(max=-1e-4), form.Lambda.imag)
    spread = [t.expand(*t.shape[:-1], width, states // 2) if t.ndim == 1 else t[:, None].expand(-1, width, -1) for t in
              (rates, form.P, form.B)]  # fmt: skip
    c = torch.randn(width, states // 2, dtype=torch.complex128) / states**0.5
    dt = torch.logspace(-3, -1, width, dtype=torch.float64)
    return *(t.to(dtype) for t in (*spread, c)), dt.to(dtype.to_real())


def test_kernels_outputs_and_gradients_are_the_recorded_ones(case):
    decay = case.leaf("A_real", (-case["Lambda"].real).log())
    frequency = case.leaf("A_imag", -case["Lambda"].imag)
    rates = torch.complex(-decay.exp(), -frequency)
    dt = case.leaf("inv_dt", case["dt"].log()[:, None]).exp()[:, 0]
    p, b, c = map(case.get, ("P", "B", "C_tilde"))
    kernel = s4_kernel(rates, p, b, c, dt, length=case.config["L"])
    # fout's constant mode decays by 1e-4 only, and what moves that decay cancels to eight digits
    case.agrees(K=kernel, tolerance=1e-8 if case.config["init"] == "fout" else 1e-12)
    y = long_conv1d(case["u"], kernel.detach(), case["D"])
    assert float((y - case["y"]).abs().max()) < 1e-10 * float(case["y"].abs().max())
    given = (case["Lambda"], case["P"], case["C"], case["dt"])
    truncated = s4_truncated(*given, length=case.config["L"])
    assert float((truncated - case["C_tilde"]).abs().max()) < 1e-9 * float(case["C_tilde"].abs().max())


def test_steps_give_the_recorded_outputs(case):
    rates, p, b, c, dt = (case[key] for key in ("Lambda", "P", "B", "C", "dt"))
    state, outputs = torch.zeros(1, *rates.shape, dtype=rates.dtype), []
    for position in range(case["u"].shape[-1]):
        y, state = s4_step(state, case["u"][..., position], rates, p, b, c, dt)
        outputs.append(y + case["D"] * case["u"][..., position])
    y = torch.stack(outputs, -1)
    assert float((y - case["y"]).abs().max()) < 1e-10 * float(case["y"].abs().max())


@settings(max_examples=30, deadline=None)
@given(measure=st.sampled_from(["legs", "legt", "fout"]), states=st.sampled_from([2, 4, 10]), length=st.integers(1, 40))
def test_any_length_is_the_recurrence(measure, states, length):
    rates, p, b, c, dt = _model(measure, states)
    truncated = s4_truncated(rates, p, c, dt, length=length)
    law = reference(rates, p, b, c, dt, length)
    torch.testing.assert_close(s4_kernel(rates, p, b, truncated, dt, length=length), law, rtol=1e-8, atol=1e-9)
    again = s4_untruncated(rates, p, truncated, dt, length=length)
    torch.testing.assert_close(again, c, rtol=1e-5, atol=1e-6)


def test_several_outputs_and_derivatives():
    rates, p, b, c, dt = (tensor.detach().clone() for tensor in _model(states=4))
    both = torch.stack((c, 2 * c))
    out = s4_kernel(rates, p, b, both, dt, length=6)
    torch.testing.assert_close(out[1], 2 * s4_kernel(rates, p, b, c, dt, length=6))
    inputs = [tensor.requires_grad_() for tensor in (rates, p, b, both, dt)]
    assert torch.autograd.gradcheck(lambda *t: s4_kernel(*t, length=6), inputs, fast_mode=True)


def test_long_sequences_in_single_precision():
    """65,536 positions: the kernel of fp32 parameters, and the whole convolution."""
    single = _model(states=64, dtype=torch.complex64)
    rates, p, b, c, dt = (t.to(torch.complex128) if t.is_complex() else t.double() for t in single)
    truncated = s4_truncated(rates, p, c, dt, length=65536)
    law = s4_kernel(rates, p, b, truncated, dt, length=65536)
    found = s4_kernel(single[0], single[1], single[2], truncated.to(torch.complex64), single[4], length=65536)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    # the truncated C is rounded to fp32
    assert float((found.double() - law).abs().max() / law.abs().max()) < 1e-5
    head = reference(rates, p, b, c, dt, 100)
    torch.testing.assert_close(law[:, :100], head, rtol=1e-7, atol=1e-8)
    u = torch.randn(1, 2, 65536)
    y, exact = long_conv1d(u, found), long_conv1d(u.double(), law)
    assert float((y.double() - exact).abs().max() / exact.abs().max()) < 1e-5


class _Kernel(torch.nn.Module):
    def forward(self, rates, p, b, c, dt, u):
        return long_conv1d(u, s4_kernel(rates, p, b, c, dt, length=32))


def test_traced_compiled_and_without_data():
    inputs = (*_model("legt", 8), torch.randn(3, 2, 32, dtype=torch.float64))
    expected = _Kernel()(*inputs)
    torch.testing.assert_close(torch.compile(_Kernel(), fullgraph=True, backend="eager")(*inputs), expected)
    torch.testing.assert_close(torch.export.export(_Kernel(), inputs).module()(*inputs), expected)
    assert _Kernel()(*(tensor.to("meta") for tensor in inputs)).shape == expected.shape


def test_other_shapes_are_refused():
    rates, p, b, c, dt = _model()
    with pytest.raises(ValueError, match=r"^s4_kernel: P \(2, 8\), allowed: \(rank, 2, 8\)$"):
        s4_kernel(rates, p[0], b, c, dt, length=4)
    with pytest.raises(ValueError, match=r"^s4_kernel: length 0, allowed: at least 1$"):
        s4_kernel(rates, p, b, c, dt, length=0)
    with pytest.raises(ValueError, match=r"^s4_step: state \(2, 8\), allowed: \(1, 2, 8\)$"):
        s4_step(rates, torch.ones(1, 2), rates, p, b, c, dt)


@settings(max_examples=30, deadline=None)
@given(measure=st.sampled_from(["legs", "legt", "fout"]), states=st.sampled_from([2, 16]), length=st.integers(8, 300))
def test_an_untruncated_kernel_is_the_recurrence(measure, states, length):
    rates, p, b, c, dt = _model(measure, states)
    law = reference(rates, p, b, c, dt, 2 * length)
    found = s4_kernel(rates, p, b, c, dt, length=length, truncated=False)
    assert float((found - law[:, :length]).abs().max() / law.abs().max()) < 5e-8


def test_other_ranks_and_derivatives_of_an_untruncated_kernel():
    rates, _, b, c, dt = (tensor.detach().clone() for tensor in _model(states=4))
    p = 0.5 * torch.randn(3, 2, 2, dtype=torch.complex128)
    law = reference(rates, p, b, c, dt, 24)
    found = s4_kernel(rates, p, b, c, dt, length=24, truncated=False)
    assert float((found - law).abs().max() / law.abs().max()) < 5e-8
    truncated = s4_truncated(rates, p, c, dt, length=24)
    torch.testing.assert_close(s4_kernel(rates, p, b, truncated, dt, length=24), law, rtol=1e-8, atol=1e-9)
    inputs = [tensor.requires_grad_() for tensor in (rates, p[:2].clone(), b, c, dt)]
    assert torch.autograd.gradcheck(
        lambda *t: s4_kernel(*t, length=6, truncated=False), inputs, fast_mode=True, atol=1e-4
    )
