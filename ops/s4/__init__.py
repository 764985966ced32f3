"""S4: state-space models with a normal plus low-rank matrix, as convolution kernels and step by step."""

# the papers' capitals are the names everybody knows these tensors by
# ruff: noqa: N803, N806

from __future__ import annotations

from functools import reduce
from math import cosh, exp, log, pi, sinh
from typing import NamedTuple

import torch
from torch import Tensor

from ops.fourier import transform_length
from ops.pairs import Pair, over, parts, polar, times
from ops.s4.reference import bilinear, dense, paired
from ops.shapes import expect

__all__ = ["s4_kernel", "s4_step", "s4_truncated", "s4_untruncated"]


ALIAS = 1e-8
"""Share of what follows the first L positions that the kernel of an untruncated C takes for its own."""


def s4_kernel(
    Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, dt: Tensor, *, length: int, truncated: bool = True
) -> Tensor:
    """Return the first L positions of the convolution kernel of x' = A x + B u, y = 2 Re <C, x>, by the bilinear rule.

    A = diag(Lambda) - sum_r P_r P_r^H on all N states; of each conjugate pair the first half is given, as `nplr` does.
    C is the truncated one, (I - dA^L)^T C, which the published model learns: `s4_truncated` gives it. The kernel's
    generating function is summed at the L-th roots of unity; the formula has no singular root, also for even L.

    With `truncated` false C is the model's own, the same for any length: the function is summed on a circle so much
    smaller that what comes L positions later is added 1e-8 times, about as much as the rounding of fp64 comes to there.

    Shapes:  Lambda, B [H, n], P [rank, H, n], C [H, n] or [M, H, n] for M outputs, dt [H] -> [H, L] or [M, H, L].
    Dtypes:  real fp32 or fp64 by the widest input; computed in fp64.
    Cost:    memory O(n L) a channel; 2 n (M + rank) (1 + rank) * 2 (L // 2 + 1) MACs a channel, real.
    Raises:  ValueError if a shape differs.
    Source:  S4, arXiv:2111.00396, appendix C.3; the smaller circle after J. Abate and W. Whitt, "Numerical inversion of
             probability generating functions", 1992; implementation our own.
    """
    _expect("s4_kernel", Lambda, P, C, dt, length)
    expect("s4_kernel", "B", B, tuple(Lambda.shape))
    out_dtype, shape = _real(Lambda, P, B, C, dt), (*C.shape[:-1], length)
    step = dt.double()[:, None]
    # programs that run elsewhere may round more; over twice the length that grows by 1 / sqrt(ALIAS) only
    size = transform_length(2 * length) if torch.compiler.is_exporting() and not truncated else length
    shrink = 0.0 if truncated else -log(ALIAS) / size
    circle = _Circle.of(size, shrink, step)
    low_rank, enter, leave = parts(P), parts(B), parts(C.reshape(-1, *B.shape))
    sums = _sums(
        (torch.cat((leave[0], low_rank[0])), torch.cat((leave[1], -low_rank[1]))),
        (torch.cat((enter[0][None], low_rank[0])), torch.cat((enter[1][None], low_rank[1]))),
        (step * parts(Lambda)[0], step * parts(Lambda)[1]),
        circle,
    )
    outputs, turn = len(leave[0]), (2 * step * circle.cosh[0], 2 * step * circle.cosh[1])
    direct, out_of_low = _part(sums, slice(outputs), 0), _part(sums, slice(outputs), slice(1, None))
    into_low, low = _part(sums, slice(outputs, None), 0), _part(sums, slice(outputs, None), slice(1, None))
    through = times(out_of_low, _mixed(times(turn, low), into_low))
    through = times(turn, (through[0].sum(1), through[1].sum(1)))
    spectrum = times(circle.half, (direct[0] - through[0], direct[1] - through[1]))
    kernel = torch.fft.irfft(torch.complex(2 * step * spectrum[0], 2 * step * spectrum[1]), n=size)[..., :length]
    if shrink:
        kernel = kernel * (shrink * torch.arange(length, dtype=step.dtype, device=step.device)).exp()
    return kernel.reshape(shape).to(out_dtype)


class _Circle(NamedTuple):
    """Points z = e^(-2 h), h = (shrink + i angle) / 2, of half a circle; all are pairs [L // 2 + 1].

    1 - z = 2 e^-h sinh h and 1 + z = 2 e^-h cosh h, so that z itself is never taken from 1.
    """

    sinh: Pair
    cosh: Pair
    half: Pair
    """e^h."""

    @classmethod
    def of(cls, length: int, shrink: float, like: Tensor) -> _Circle:
        angle = torch.arange(length // 2 + 1, dtype=like.dtype, device=like.device) * (pi / length)
        cos, sin = polar(torch.ones_like(angle), angle)
        across, along = sinh(shrink / 2), cosh(shrink / 2)
        grown = exp(shrink / 2)
        return cls((across * cos, along * sin), (along * cos, across * sin), (grown * cos, grown * sin))


def _sums(left: Pair, right: Pair, rates: Pair, circle: _Circle) -> Pair:
    """Return e^-h sum_n left_n right_n / (2 (1 - z) - (1 + z) rates_n) over all N states.

    left [K, H, n], right [J, H, n], rates [H, n] -> [K, J, H, w]. A conjugate pair's two fractions have one
    denominator, whose numerator is real but for z.
    """
    weights = times((left[0][:, None], left[1][:, None]), right)
    rated = weights[0] * rates[0] + weights[1] * rates[1]
    rows = 2 * torch.stack((weights[0], rated)).flatten(0, 2).transpose(0, 1)
    plain, mixed, square = (
        times(circle.sinh, circle.sinh), times(circle.sinh, circle.cosh), times(circle.cosh, circle.cosh)
    )  # fmt: skip
    decay, size = -4 * rates[0][..., None], (rates[0] * rates[0] + rates[1] * rates[1])[..., None]
    real, imaginary = (
        torch.addcmul(torch.addcmul(4 * a, b, decay), c, size) for a, b, c in zip(plain, mixed, square, strict=True)
    )
    scale = 1 / torch.addcmul(real * real, imaginary, imaginary)
    inverse = torch.cat((real * scale, -imaginary * scale), -1)
    found = (rows @ inverse).transpose(0, 1).unflatten(0, (2, *weights[0].shape[:2]))
    (a, b), (c, d) = (values.chunk(2, -1) for values in found)
    first, second = times(circle.sinh, (a, b)), times(circle.cosh, (c, d))
    return first[0] - second[0] / 2, first[1] - second[1] / 2


def _part(values: Pair, rows: slice, columns: slice | int) -> Pair:
    return values[0][rows, columns], values[1][rows, columns]


def _mixed(low: Pair, into: Pair) -> Pair:
    """Solve (I + low) x = into, low [rank, rank, H, w] and into [rank, H, w]; ranks 1 and 2 in real arithmetic."""
    if len(low[0]) == 1:
        return over(into, (1 + low[0][0], low[1][0]))
    if len(low[0]) > 2:
        system = torch.complex(*low).permute(2, 3, 0, 1)
        one = torch.eye(len(low[0]), dtype=system.dtype, device=system.device)
        found = torch.linalg.solve(one + system, torch.complex(*into).permute(1, 2, 0)[..., None])[..., 0]
        return parts(found.permute(2, 0, 1))
    (a, b), (c, d) = (
        ((low[0][i, 0] + (i == 0), low[1][i, 0]), (low[0][i, 1] + (i == 1), low[1][i, 1])) for i in (0, 1)
    )
    first, second = (into[0][0], into[1][0]), (into[0][1], into[1][1])
    whole = _difference(times(a, d), times(b, c))
    solved = (
        over(_difference(times(d, first), times(b, second)), whole),
        over(_difference(times(a, second), times(c, first)), whole),
    )
    return torch.stack((solved[0][0], solved[1][0])), torch.stack((solved[0][1], solved[1][1]))


def _difference(a: Pair, b: Pair) -> Pair:
    return a[0] - b[0], a[1] - b[1]


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
