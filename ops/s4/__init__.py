"""S4: state-space models with a normal plus low-rank matrix, as convolution kernels and step by step."""

# the papers' capitals are the names everybody knows these tensors by
# ruff: noqa: N803, N806

from __future__ import annotations

from functools import reduce
from math import pi

import torch
from torch import Tensor

from ops.s4.reference import bilinear, dense, paired
from ops.shapes import expect

__all__ = ["s4_kernel", "s4_step", "s4_truncated", "s4_untruncated"]


def s4_kernel(Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, dt: Tensor, *, length: int) -> Tensor:
    """Return the first L positions of the convolution kernel of x' = A x + B u, y = 2 Re <C, x>, by the bilinear rule.

    A = diag(Lambda) - sum_r P_r P_r^H on all N states; of each conjugate pair the first half is given, as `nplr` does.
    C is the truncated one, (I - dA^L)^T C, which the published model learns: `s4_truncated` gives it. The kernel's
    generating function is summed at the L-th roots of unity; the formula has no singular root, also for even L.

    Shapes:  Lambda, B [H, n], P [rank, H, n], C [H, n] or [M, H, n] for M outputs, dt [H] -> [H, L] or [M, H, L].
    Dtypes:  real fp32 or fp64 by the widest input; computed in fp64.
    Cost:    memory O(n L) a channel; 2 n (M + rank) (1 + rank) * 2 (L // 2 + 1) MACs a channel, real.
    Raises:  ValueError if a shape differs.
    Source:  S4, arXiv:2111.00396, appendix C.3; implementation our own.
    """
    _expect("s4_kernel", Lambda, P, C, dt, length)
    expect("s4_kernel", "B", B, tuple(Lambda.shape))
    out_dtype = _real(Lambda, P, B, C, dt)
    shape = (*C.shape[:-1], length)
    Lambda, P, B, C = (tensor.to(torch.complex128) for tensor in (Lambda, P, B, C))
    C, step = C.reshape(-1, *B.shape), dt.double()[:, None]
    angle = torch.arange(length // 2 + 1, dtype=step.dtype, device=step.device) * (-2 * pi / length)
    root = torch.polar(torch.ones_like(angle), angle)
    away, toward = 2 * (1 - root), 1 + root
    sums = _sums(torch.cat((C, P.conj())), torch.cat((B[None], P)), step * Lambda, away, toward)
    outputs, turn = len(C), toward * step
    direct, into_low = sums[:outputs, 0], sums[outputs:, 0]
    out_of_low, low = sums[:outputs, 1:], sums[outputs:, 1:]
    if len(P) == 1:
        mixed = into_low / (1 + turn * low[0])
    else:
        one = torch.eye(len(P), dtype=low.dtype, device=low.device)
        system = one + (turn * low).permute(2, 3, 0, 1)
        mixed = torch.linalg.solve(system, into_low.permute(1, 2, 0)[..., None])[..., 0].permute(2, 0, 1)
    spectrum = 2 * step * (direct - turn * (out_of_low * mixed).sum(1))
    return torch.fft.irfft(spectrum, n=length).view(shape).to(out_dtype)


def _sums(left: Tensor, right: Tensor, rates: Tensor, away: Tensor, toward: Tensor) -> Tensor:
    """Return sum_n left_n right_n / (away - toward rates_n) over all N states, [K, H, n] and [J, H, n] -> [K, J, H, w].

    A pair's two fractions have one denominator, whose numerator is real but for `away` and `toward`.
    """
    weights = left[:, None] * right
    inverse = 1 / (
        away * away - away * toward * 2 * rates.real[..., None] + toward * toward * rates.abs().square()[..., None]
    )
    rows = torch.stack((2 * weights.real, 2 * (weights * rates.conj()).real)).flatten(0, 2).transpose(0, 1)
    found = rows @ torch.view_as_real(inverse).flatten(-2)
    found = torch.view_as_complex(found.unflatten(-1, (-1, 2)))
    plain, rated = found.transpose(0, 1).unflatten(0, (2, *weights.shape[:2]))
    return away * plain - toward * rated


def s4_truncated(Lambda: Tensor, P: Tensor, C: Tensor, dt: Tensor, *, length: int) -> Tensor:
    """Return (I - dA^L)^T C, with which `s4_kernel` is the first L positions and nothing wraps around.

    Shapes:  Lambda [H, n], P [rank, H, n], C [H, n] or [M, H, n], dt [H] -> as C, in its dtype; computed in fp64.
    Raises:  ValueError if a shape differs.
    """
    _expect("s4_truncated", Lambda, P, C, dt, length)
    loss = _loss(Lambda, P, dt, length)
    whole = (loss.mT @ paired(C.to(loss.dtype))[..., None])[..., 0]
    return whole[..., : Lambda.shape[1]].to(C.dtype)


def s4_untruncated(Lambda: Tensor, P: Tensor, C: Tensor, dt: Tensor, *, length: int) -> Tensor:
    """Undo `s4_truncated`: a learned C as `s4_step` takes it, or to be truncated at another length.

    Shapes, dtypes and errors as there.
    """
    _expect("s4_untruncated", Lambda, P, C, dt, length)
    loss = _loss(Lambda, P, dt, length)
    whole = torch.linalg.solve(loss.mT, paired(C.to(loss.dtype))[..., None])[..., 0]
    return whole[..., : Lambda.shape[1]].to(C.dtype)


def s4_step(
    state: Tensor, u: Tensor, Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, dt: Tensor
) -> tuple[Tensor, Tensor]:
    """Take one position from a state in O(n); from zero, the outputs are the convolution with `s4_kernel`.

    Shapes:  state [N, H, n] complex, u [N, H], Lambda, B and C [H, n], P [rank, H, n], dt [H] -> [N, H] and the state
             after it. C is not truncated.
    Dtypes:  output as u, state as the one given; computed in fp64.
    Raises:  ValueError if a shape differs.
    """
    _expect("s4_step", Lambda, P, C, dt, 1)
    for name, tensor in (("B", B), ("C", C)):
        expect("s4_step", name, tensor, tuple(Lambda.shape))
    expect("s4_step", "u", u, ("N", Lambda.shape[0]))
    expect("s4_step", "state", state, (u.shape[0], *Lambda.shape))
    dtypes = u.dtype, state.dtype
    state, Lambda, P, B, C = (tensor.to(torch.complex128) for tensor in (state, Lambda, P, B, C))
    half = dt.double()[:, None] / 2
    ranks = P.movedim(0, -1)  # [H, n, rank]

    def low(values: Tensor) -> Tensor:
        """P2^H times [..., H, n] and its conjugate, real: [..., H, rank]."""
        return 2 * (values[..., None] * ranks.conj()).real.sum(-2)

    entering = state + half * (
        Lambda * state - (ranks * low(state)[..., None, :]).sum(-1) + 2 * B * u.double()[..., None]
    )
    share = 1 / (1 - half * Lambda)
    one = torch.eye(len(P), dtype=half.dtype, device=half.device)
    system = one + half[..., None] * 2 * ((ranks.conj() * share[..., None]).mT @ ranks).real
    mixed = torch.linalg.solve(system, low(share * entering)[..., None])[..., 0]
    after = share * (entering - half * (ranks * mixed[..., None, :]).sum(-1))
    return 2 * (C * after).sum(-1).real.to(dtypes[0]), after.to(dtypes[1])


def _loss(Lambda: Tensor, P: Tensor, dt: Tensor, length: int) -> Tensor:
    """Return I - dA^L, [H, N, N]."""
    keep, _ = bilinear(dense(Lambda.to(torch.complex128), P.to(torch.complex128)), dt.double())
    one = torch.eye(keep.shape[-1], dtype=keep.dtype, device=keep.device)
    return one - torch.linalg.matrix_power(keep, length)


def _real(*tensors: Tensor) -> torch.dtype:
    """The widest real dtype, at least fp32."""
    widest = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(widest, widest)


def _expect(where: str, Lambda: Tensor, P: Tensor, C: Tensor, dt: Tensor, length: int) -> None:
    expect(where, "Lambda", Lambda, ("H", "n"))
    expect(where, "P", P, ("rank", *Lambda.shape))
    expect(where, "C", C, tuple(Lambda.shape), ("M", *Lambda.shape))
    expect(where, "dt", dt, (Lambda.shape[0],))
    if length < 1:
        raise ValueError(f"{where}: length {length}, allowed: at least 1")
