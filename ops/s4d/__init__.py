"""S4D: state-space models with a diagonal matrix, as convolution kernels and step by step."""

# the papers' capitals are the names everybody knows these tensors by
# ruff: noqa: N803, N806

from __future__ import annotations

from functools import reduce
from math import isqrt
from typing import Literal

import torch
from torch import Tensor

from ops.pairs import Pair, over, parts, polar, times
from ops.s4d.reference import discrete, grown
from ops.shapes import expect

__all__ = ["Discretization", "s4d_kernel", "s4d_step"]

Discretization = Literal["zoh", "bilinear", "dss"]


def s4d_kernel(
    Lambda: Tensor, B: Tensor, C: Tensor, dt: Tensor, *, length: int, discretization: Discretization = "zoh"
) -> Tensor:
    """Return the convolution kernel of x' = Lambda x + B u, y = 2 Re <C, x>, sampled at steps dt.

    `zoh` holds the input over a step, `bilinear` is the trapezoidal rule; `dss` is that of Diagonal State Spaces,
    normalised over the length and without the factor 2. A state stands for a conjugate pair, so real ones count double.

    Shapes:  Lambda, B [H, n], C [H, n] or [M, H, n] for M outputs, dt [H] -> [H, L] or [M, H, L].
    Dtypes:  real fp32 or fp64 by the widest input; computed in fp64, as phases are products of long times.
    Cost:    memory O(n sqrt(L)) a channel; ceil(L / q) * q * 2 n MACs with q = ceil(sqrt(L)), real, for each output.
    Raises:  ValueError if a shape or the discretization differs.
    Source:  S4D, arXiv:2206.11893, sec. 3; DSS, arXiv:2203.14343, prop. 1; implementation our own.
    """
    _expect("s4d_kernel", Lambda, B, C, dt)
    if discretization not in ("zoh", "bilinear", "dss"):
        raise ValueError(f"s4d_kernel: discretization {discretization!r}, allowed: 'zoh', 'bilinear', 'dss'")
    if length < 1:
        raise ValueError(f"s4d_kernel: length {length}, allowed: at least 1")
    out_dtype = _real(Lambda, B, C, dt)
    dt = dt.double()[:, None]
    if discretization == "zoh":
        exponent, weight = _held(parts(Lambda), times(parts(C), parts(B)), dt)
    else:
        Lambda, B, C = (tensor.to(torch.complex128) for tensor in (Lambda, B, C))
        if discretization == "dss":
            exponent, share = parts(dt * Lambda), _dss(Lambda, dt, length)
        else:
            kept, share = discrete(Lambda, dt, discretization)
            # a state that keeps nothing: its logarithm must stay a number
            exponent = parts(torch.where(kept == 0, 1e-300, kept).log())
        weight = parts(C * B * share)
    # position l = i * q + j: e^(l x) is a product of two factors, so that no [n, L] tensor ever stands in memory
    q = isqrt(length - 1) + 1
    far = torch.arange(-(-length // q), dtype=dt.dtype, device=dt.device)[:, None] * q
    near = torch.arange(q, dtype=dt.dtype, device=dt.device)
    decay, turn = exponent
    steps = polar((decay[:, None, :] * far).exp(), turn[:, None, :] * far)
    real, imaginary = times((weight[0][..., None, :], weight[1][..., None, :]), steps)
    right = polar((decay[:, :, None] * near).exp(), turn[:, :, None] * near)
    kernel = (torch.cat((real, -imaginary), -1) @ torch.cat(right, -2)).flatten(-2)[..., :length]
    return (kernel if discretization == "dss" else 2 * kernel).to(out_dtype)


def _held(rates: Pair, weight: Pair, dt: Tensor) -> tuple[Pair, Pair]:
    """Return x = dt Lambda and C B (e^x - 1) / Lambda, as pairs: zero-order hold."""
    decay, turn = dt * rates[0], dt * rates[1]
    kept, half = decay.exp(), (turn / 2).sin()
    # e^x - 1 without the difference of numbers near 1: (e^a + 1) tanh(a / 2) is e^a - 1, 1 - cos b is 2 sin^2(b / 2)
    lost = (kept + 1) * (decay / 2).tanh()
    gained = lost * (1 - 2 * half * half) - 2 * half * half, kept * turn.sin()
    still = (decay == 0) & (turn == 0)
    grown = over(gained, (torch.where(still, 1, decay), turn))
    share = dt * torch.where(still, 1, grown[0]), dt * torch.where(still, 0, grown[1])
    return (decay, turn), times(weight, share)


def s4d_step(
    state: Tensor,
    u: Tensor,
    Lambda: Tensor,
    B: Tensor,
    C: Tensor,
    dt: Tensor,
    *,
    discretization: Literal["zoh", "bilinear"] = "zoh",
) -> tuple[Tensor, Tensor]:
    """Take one position from a state; from zero, the outputs are the convolution with `s4d_kernel`.

    Shapes:  state [N, H, n] complex, u [N, H], Lambda, B and C [H, n], dt [H] -> [N, H] and the state after it.
    Dtypes:  output as u, state as the one given; computed in fp64.
    Raises:  ValueError if a shape or the discretization differs.
    """
    _expect("s4d_step", Lambda, B, C, dt)
    if discretization not in ("zoh", "bilinear"):
        raise ValueError(f"s4d_step: discretization {discretization!r}, allowed: 'zoh', 'bilinear'")
    expect("s4d_step", "C", C, tuple(Lambda.shape))
    expect("s4d_step", "u", u, ("N", Lambda.shape[0]))
    expect("s4d_step", "state", state, (u.shape[0], *Lambda.shape))
    kept, share = discrete(Lambda.to(torch.complex128), dt.double()[:, None], discretization)
    after = kept * state + share * B * u.double()[..., None]
    return 2 * (C * after).sum(-1).real.to(u.dtype), after.to(state.dtype)


def _dss(Lambda: Tensor, dt: Tensor, length: int) -> Tensor:
    """Return the share of B C in the normalised kernel."""
    x = dt * Lambda
    total = (torch.exp(x * length) - 1) * Lambda
    return grown(x) * x * total.conj() / (total.abs().square() + 1e-7)


def _real(*tensors: Tensor) -> torch.dtype:
    """The widest real dtype, at least fp32."""
    widest = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(widest, widest)


def _expect(where: str, Lambda: Tensor, B: Tensor, C: Tensor, dt: Tensor) -> None:
    expect(where, "Lambda", Lambda, ("H", "n"))
    expect(where, "B", B, tuple(Lambda.shape))
    expect(where, "C", C, tuple(Lambda.shape), ("M", *Lambda.shape))
    expect(where, "dt", dt, (Lambda.shape[0],))
