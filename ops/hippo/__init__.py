"""HiPPO matrices: state-space models that remember the past as coefficients of a basis, and their diagonal forms."""

# the papers' capitals are the names everybody knows these matrices by
# ruff: noqa: N806

from __future__ import annotations

from math import pi
from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["Measure", "Nplr", "Spectrum", "hippo", "nplr", "s4d_spectrum"]

Measure = Literal["legs", "legt", "fout"]
"""Legendre polynomials on all of the past, on a window, and Fourier modes on a window."""
Spectrum = Literal["lin", "inv", "legs", "real"]
"""S4D's initial spectra."""


def hippo(measure: Measure, states: int) -> tuple[Tensor, Tensor]:
    """Return A [N, N] and B [N] of x' = A x + B u, float64.

    `legt` carries the factor 1/2 on both that gives all measures the same time scale; `fout` has the frequencies 0, pi,
    2 pi, ... and needs an even N.

    Raises:  ValueError if the measure is unknown or N does not fit.
    Source:  HiPPO, arXiv:2008.07669, appendix D; How to Train Your HiPPO, arXiv:2206.12037; conventions of
             state-spaces/s4@e757cef; implementation our own.
    """
    _known("hippo", measure, states, ("legs", "legt", "fout"), even=measure == "fout")
    n = torch.arange(states, dtype=torch.float64)
    scale = (2 * n + 1).sqrt()
    outer = scale[:, None] * scale
    if measure == "legs":
        return -outer.tril(-1) - torch.diag(n + 1), scale
    if measure == "legt":
        alternating = torch.where((n[:, None] - n) % 2 == 0, 1.0, -1.0)
        return -outer * torch.where(n[:, None] < n, alternating, 1.0) / 2, scale / 2
    B = torch.zeros(states, dtype=torch.float64)
    B[::2] = 2**0.5
    B[0] = 1
    A = -B[:, None] * B
    frequencies = pi * torch.arange(1, states // 2, dtype=torch.float64)
    A.diagonal(1)[2::2] -= frequencies
    A.diagonal(-1)[2::2] += frequencies
    return A, B


class Nplr(NamedTuple):
    """A normal matrix plus a low-rank one: with X2 = [X, conj X], A = V2 (diag(Lambda2) - sum_r P2_r P2_r^H) V2^H."""

    Lambda: Tensor
    """[N / 2] complex: eigenvalues of negative imaginary part, the most negative first."""
    P: Tensor
    """[rank, N / 2] complex."""
    B: Tensor
    """[N / 2] complex."""
    V: Tensor
    """[N, N / 2] complex: eigenvectors."""


def nplr(measure: Measure, states: int) -> Nplr:
    """Return the normal plus low-rank form of a HiPPO matrix, complex128: rank 2 for `legt`, else 1.

    Of each conjugate pair of eigenvalues one is kept. An eigenvector's first component that is not zero is real and
    positive, which fixes B and P; the published initialisation clips the imaginary part of B to [-2, 2] after that.

    Raises:  ValueError if the measure is unknown or N is odd.
    Source:  S4, arXiv:2111.00396, sec. 3 and appendix C; implementation our own.
    """
    _known("nplr", measure, states, ("legs", "legt", "fout"), even=True)
    A, B = hippo(measure, states)
    low = _low_rank(measure, states, B)
    normal = A + low.T @ low
    decay = normal.diagonal().mean()
    skew = normal - decay * torch.eye(states, dtype=A.dtype)
    frequencies, vectors = torch.linalg.eigh(-1j * skew)
    frequencies, V = frequencies[: states // 2].clone(), vectors[:, : states // 2].clone()
    if measure == "fout":
        # the constant mode stands alone: its partner is the state that nothing drives
        frequencies[-1], V[:, -1] = 0, 0
        V[:2, -1] = torch.tensor([1, 1j], dtype=V.dtype) / 2**0.5
    first = (V.abs() > 1e-9).int().argmax(0)
    leading = V.gather(0, first[None])
    V = V * (leading.conj() / leading.abs())
    project = V.mH
    P = (project @ low.T.to(V.dtype)).T
    return Nplr(torch.complex(decay.expand_as(frequencies), frequencies), P, project @ B.to(V.dtype), V)


def s4d_spectrum(spectrum: Spectrum, states: int) -> tuple[Tensor, Tensor]:
    """Return Lambda and B of S4D's initial diagonal models: [N / 2] complex128, or [N] float64 for `real`.

    `lin`: -1/2 - i pi n; `inv`: -1/2 - i N / pi (N / (2 n + 1) - 1); `legs`: the eigenvalues of `nplr` and its B, the
    imaginary part clipped to [-2, 2]; `real`: -(n + 1). B is one but for `legs`.

    Raises:  ValueError if the spectrum is unknown or N does not fit.
    Source:  S4D, arXiv:2206.11893, sec. 4; implementation our own.
    """
    _known("s4d_spectrum", spectrum, states, ("lin", "inv", "legs", "real"), even=spectrum != "real")
    if spectrum == "real":
        n = torch.arange(states, dtype=torch.float64)
        return -(n + 1), torch.ones_like(n)
    if spectrum == "legs":
        form = nplr("legs", states)
        return form.Lambda, torch.complex(form.B.real, form.B.imag.clamp(-2, 2))
    n = torch.arange(states // 2, dtype=torch.float64)
    frequencies = pi * n if spectrum == "lin" else states / pi * (states / (2 * n + 1) - 1)
    Lambda = torch.complex(torch.full_like(n, -0.5), -frequencies)
    return Lambda, torch.ones_like(Lambda)


def _low_rank(measure: Measure, states: int, B: Tensor) -> Tensor:  # noqa: N803 -- as in the papers
    """Return p [rank, N]: A + sum p p^T is normal."""
    n = torch.arange(states, dtype=torch.float64)
    if measure == "fout":
        return B[None]
    if measure == "legs":
        return (n + 0.5).sqrt()[None]
    even = n % 2 == 0
    return torch.stack((~even, even)) * (n + 0.5).sqrt()


def _known(where: str, name: str, states: int, allowed: tuple[str, ...], *, even: bool) -> None:
    if name not in allowed:
        raise ValueError(f"{where}: {name!r}, allowed: {', '.join(map(repr, allowed))}")
    if states < 1 or (even and states % 2):
        raise ValueError(f"{where}: {states} states, allowed: {'an even number' if even else 'at least 1'}")
