"""Selective scan: a state-space recurrence whose step sizes and matrices depend on the input."""

# the paper's capitals are the names everybody knows these tensors by
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Literal, overload

import torch
from torch import Tensor

from ops.dispatch import DEVICES, Impl, implementation
from ops.selective_scan.associative import associative
from ops.selective_scan.chunks import chunks, pays
from ops.selective_scan.native import native
from ops.selective_scan.reference import finish, read, spread, steps, terms
from ops.selective_scan.registered import kernel_selective_scan, takes
from ops.shapes import expect

__all__ = ["selective_scan", "selective_scan_step"]


@overload
def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None = ..., z: Tensor | None = ..., delta_bias: Tensor | None = ...,
    *, delta_softplus: bool = ..., return_last_state: Literal[False] = ..., impl: Impl | None = ...,
) -> Tensor:  # fmt: skip
    """Return the output alone."""


@overload
def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None = ..., z: Tensor | None = ..., delta_bias: Tensor | None = ...,
    *, delta_softplus: bool = ..., return_last_state: Literal[True], impl: Impl | None = ...,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the output and the last state."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    impl: Impl | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan each channel of a sequence with N states: x_t = exp(delta_t A) x_(t-1) + delta_t B_t u_t, y_t = <C_t, x_t>.

    Step sizes are `delta + delta_bias`, through softplus if asked; the output is `(y + D * u) * silu(z)`, each only
    where given. VMamba's four routes are one call with 4 * D channels and B, C in 4 groups.

    Shapes:  u, delta, z [B, D, L], A [D, N], D, delta_bias [D]; B and C each [B, N, L], or [B, G, N, L] where group g
             serves the D / G channels from g * D / G on, or [D, N] for all positions -> [B, D, L]; on request also the
             last state [B, D, N]. Any strides.
             With complex A a state stands for a conjugate pair, y = 2 Re <C, x>, and B, C by position hold real and
             imaginary parts in turn along a last axis of 2 L.
    Dtypes:  output as u; computed, and the last state returned, in the widest of all dtypes, at least fp32.
    Impl:    see `ops.dispatch`; without one the fastest. The kernel takes up to 16 states. `reference` here is the
             form that is traced, `associative`.
    Cost:    no products of matrices; memory for training linear in L where B and C go by position and A is real.
    Raises:  ValueError if a shape differs or `impl` cannot be had.
    Source:  Mamba, arXiv:2312.00752, sec. 3.2 and algorithm 2 (B is discretised by Euler's rule, not zero-order hold);
             implementation our own.
    """
    _expect(u, delta, A, B, C, D, z, delta_bias)
    if u.device.type in DEVICES:
        given = u, delta, A, B, C, D, z, delta_bias
        if implementation("selective_scan", impl, *given, kernel=lambda: takes(u, A, B, C)) == "triton":
            out, last = kernel_selective_scan(*given, delta_softplus=delta_softplus)
            return (out, last) if return_last_state else out
    out_dtype = u.dtype
    u, delta, A, B, C, D, z, delta_bias = _widened(u, delta, A, B, C, D, z, delta_bias)
    delta = steps(delta, delta_bias, delta_softplus=delta_softplus)
    y, last = _form(impl, u, delta, A, B, C)(u, delta, A, B, C)
    out = finish(y, u, D, z).to(out_dtype)
    return (out, last) if return_last_state else out


def _form(asked: Impl | None, *core: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the form of the scan that takes these tensors."""
    chosen, (_, _, A, B, C) = implementation("selective_scan", asked, *core), core
    by_position = not A.is_complex() and B.ndim > 2 and C.ndim > 2
    if chosen == "native" and by_position:
        return native
    return chunks if chosen != "reference" and pays(A, B, C) else associative


def selective_scan_step(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
) -> tuple[Tensor, Tensor]:
    """Take one position of `selective_scan` from a state; returns the output and the state after it.

    Shapes:  state [B, D, N], u, delta, z [B, D], A [D, N], D, delta_bias [D]; B and C each [B, N] or [B, G, N]
             -> [B, D] and [B, D, N]. Real A only.
    Dtypes:  output as u, state as the one given; computed in the widest of all dtypes, at least fp32.
    Raises:  ValueError if a shape differs or A is complex.
    """
    if A.is_complex():
        raise ValueError("selective_scan_step: A is complex, allowed: real")
    expect("selective_scan_step", "u", u, ("B", "D"))
    for name, values in (("B", B), ("C", C)):
        expect("selective_scan_step", name, values, (len(u), A.shape[-1]), (len(u), "G", A.shape[-1]))
    u, delta = u[..., None], delta[..., None]
    B, C, z = B[..., None], C[..., None], None if z is None else z[..., None]
    _expect(u, delta, A, B, C, D, z, delta_bias)
    expect("selective_scan_step", "state", state, (*u.shape[:2], A.shape[1]))
    dtypes = u.dtype, state.dtype
    state, u, delta, A, B, C, D, z, delta_bias = _widened(state, u, delta, A, B, C, D, z, delta_bias)
    decay, entering = terms(u, steps(delta, delta_bias, delta_softplus=delta_softplus), A, spread(B, A, u))
    state = decay[:, :, 0] * state + entering[:, :, 0]
    y = finish(read(state, spread(C, A, u)[:, :, 0])[..., None], u, D, z)
    return y[..., 0].to(dtypes[0]), state.to(dtypes[1])


def _widened(*tensors: Tensor | None) -> tuple[Any, ...]:
    """Bring all to the widest of their dtypes, at least fp32, complex where they are complex."""
    widest = reduce(torch.promote_types, (t.dtype for t in tensors if t is not None), torch.float32)
    real = {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(widest, widest)
    return tuple(t if t is None else t.to(widest if t.is_complex() else real) for t in tensors)


def _expect(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, delta_bias: Tensor | None,
) -> None:  # fmt: skip
    where = "selective_scan"
    expect(where, "u", u, ("B", "D", "L"))
    batch, channels, length = u.shape
    expect(where, "delta", delta, (batch, channels, length))
    expect(where, "A", A, (channels, "N"))
    states, places = A.shape[1], length * (2 if A.is_complex() else 1)
    for name, values in (("B", B), ("C", C)):
        expect(
            where, name, values, (channels, states), (batch, states, places), (batch, "G", states, places)
        )  # fmt: skip
        if values.ndim == 4 and channels % values.shape[1]:
            raise ValueError(f"{where}: {name} has {values.shape[1]} groups, allowed: divisors of {channels} channels")
    if z is not None:
        expect(where, "z", z, (batch, channels, length))
    for name, vector in (("D", D), ("delta_bias", delta_bias)):
        if vector is not None:
            expect(where, name, vector, (channels,))
