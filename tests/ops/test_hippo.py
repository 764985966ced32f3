"""HiPPO matrices are the recorded ones, and their normal plus low-rank form puts them together again."""

import numpy as np
import pytest
import torch

from ops import hippo, nplr, s4d_spectrum

RECORDED = "ops_hippo"
MEASURES = ("legs", "legt", "fout")


def test_matrices_are_the_recorded_ones(case):
    measure, _, states = case.name.partition("_")
    if measure not in MEASURES:
        with pytest.raises(ValueError, match=f"^hippo: '{measure}.*', allowed: 'legs', 'legt', 'fout'$"):
            hippo(case.name.rpartition("_")[0], int(case["B"].numel()))
        return
    a, b = hippo(measure, int(states))
    case.agrees(A=a, B=b, tolerance=1e-14)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("states", [2, 4, 8, 64, 128])
def test_the_form_puts_the_matrix_together(measure, states):
    a, b = hippo(measure, states)
    form = nplr(measure, states)
    assert (form.Lambda.imag[1:] >= form.Lambda.imag[:-1]).all()
    assert (form.Lambda.imag <= 1e-9).all()
    assert form.P.shape == (2 if measure == "legt" else 1, states // 2)
    vectors, low = (torch.cat((t, t.conj()), -1) for t in (form.V, form.P))
    rates, enter = (torch.cat((t, t.conj())) for t in (form.Lambda, form.B))
    whole = vectors @ (torch.diag(rates) - low.T @ low.conj()) @ vectors.mH
    torch.testing.assert_close(whole, a.to(whole.dtype), rtol=0, atol=1e-11 * states)
    torch.testing.assert_close((vectors @ enter[:, None])[:, 0], b.to(whole.dtype), rtol=0, atol=1e-11 * states)


def test_first_components_are_real_and_positive():
    for measure in MEASURES:
        vectors = nplr(measure, 16).V
        first = vectors.gather(0, (vectors.abs() > 1e-9).int().argmax(0)[None])
        assert first.real.min() > 0
        assert first.imag.abs().max() < 1e-15


@pytest.mark.parametrize(("measure", "recorded"), [
    ("legs", "legs_N64_L256"), ("legt", "legt_N16_L64"), ("fout", "fout_N16_L65"),
])  # fmt: skip
def test_the_form_is_the_one_that_s4_starts_from(measure, recorded, request):
    with np.load(request.path.parents[1] / "golden" / "ops" / "ops_s4.npz") as file:
        rates, p, b = (torch.from_numpy(file[f"{recorded}.{key}"][..., 0, :]) for key in ("Lambda", "P", "B"))
    form = nplr(measure, 2 * len(rates))
    clipped = torch.complex(form.B.real, form.B.imag.clamp(-2, 2))
    # published models keep a decay of at least 1e-4
    torch.testing.assert_close(form.Lambda.imag, rates.imag, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(form.Lambda.real, rates.real, rtol=0, atol=1.1e-4)
    # an eigenvector's sign is free, and with it B's and P's
    signs = (clipped * b.conj()).real.sign()
    torch.testing.assert_close(clipped * signs, b, rtol=0, atol=1e-11)
    torch.testing.assert_close(form.P * signs, p, rtol=0, atol=1e-11)


def test_odd_states_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"^nplr: 7 states, allowed: an even number$"):
        nplr("legs", 7)
    with pytest.raises(ValueError, match=r"^s4d_spectrum: 'log', allowed: 'lin', 'inv', 'legs', 'real'$"):
        s4d_spectrum("log", 8)
    assert hippo("legs", 7)[0].shape == (7, 7)
    assert s4d_spectrum("real", 7)[0].tolist() == [-1, -2, -3, -4, -5, -6, -7]
