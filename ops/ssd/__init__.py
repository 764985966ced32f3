"""State-space duality (Mamba-2): a scan whose decay is one number a head, computed by products of matrices."""

# the paper's capitals are the names everybody knows these tensors by
# ruff: noqa: N803, N806

from __future__ import annotations

from functools import reduce
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.shapes import expect
from ops.ssd.chunks import chunks
from ops.ssd.reference import reference

__all__ = ["ssd", "ssd_discrete", "ssd_step"]


@overload
def ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None = ..., z: Tensor | None = ..., dt_bias: Tensor | None = ..., initial_state: Tensor | None = ...,
    *, chunk: int = ..., dt_softplus: bool = ..., return_last_state: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None = ..., z: Tensor | None = ..., dt_bias: Tensor | None = ..., initial_state: Tensor | None = ...,
    *, chunk: int = ..., dt_softplus: bool = ..., return_last_state: Literal[True],
) -> tuple[Tensor, Tensor]: ...  # fmt: skip
def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_state: Tensor | None = None,
    *,
    chunk: int = 64,
    dt_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan P channels a head with N states: s_t = exp(dt_t A) s_(t-1) + dt_t x_t B_t^T, y_t = s_t C_t.

    Step sizes are `dt + dt_bias`, through softplus if asked; the output is `(y + D * x) * silu(z)`, each only where
    given. The result does not depend on `chunk`, only the time it takes.

    Shapes:  x and z [B, T, H, P], dt [B, T, H], A and dt_bias [H], B and C [B, T, G, N] where group g serves the H / G
             heads from g * H / G on, D [H] or [H, P], initial_state [B, H, P, N] -> [B, T, H, P]; on request also the
             last state [B, H, P, N]. Any strides.
    Dtypes:  output as x; computed, and the last state returned, in the widest of all dtypes, at least fp32, under
             autocast too.
    Cost:    c = ceil(T / chunk) chunks of Q positions: B * c * (G * Q * Q * N + H * (Q * Q * P + 2 * Q * N * P)) MACs.
    Raises:  ValueError if a shape differs.
    Source:  Mamba-2, arXiv:2405.21060, sec. 6 and listing 1; implementation our own.
    """
    expect("ssd", "dt", dt, tuple(x.shape[:3]))
    _expect("ssd", x, B, C, initial_state)
    _expect_heads("ssd", x, A, D, z, dt_bias)
    out_dtype = x.dtype
    x, dt, A, B, C, D, z, dt_bias, initial_state = _widened(x, dt, A, B, C, D, z, dt_bias, initial_state)
    dt = _steps(dt, dt_bias, dt_softplus=dt_softplus)
    y, last = _unhalved(x * dt[..., None], dt * A, B, C, initial_state, chunk)
    out = _finish(y, x, D, z).to(out_dtype)
    return (out, last) if return_last_state else out


def ssd_discrete(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None = None, *, chunk: int = 64
) -> tuple[Tensor, Tensor]:
    """Scan inputs that are already times their step sizes: s_t = exp(a_t) s_(t-1) + x_t B_t^T, y_t = s_t C_t.

    Shapes:  x [B, T, H, P], log_decay a [B, T, H], B and C [B, T, G, N], initial_state [B, H, P, N]
             -> [B, T, H, P] and the last state [B, H, P, N]. Any strides.
    Dtypes, cost, errors and source as `ssd`.
    """
    expect("ssd_discrete", "log_decay", log_decay, tuple(x.shape[:3]))
    _expect("ssd_discrete", x, B, C, initial_state)
    out_dtype = x.dtype
    x, log_decay, B, C, initial_state = _widened(x, log_decay, B, C, initial_state)
    y, last = _unhalved(x, log_decay, B, C, initial_state, chunk)
    return y.to(out_dtype), last


def ssd_step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_softplus: bool = False,
) -> tuple[Tensor, Tensor]:
    """Take one position of `ssd` from a state; returns the output and the state after it.

    Shapes:  state [B, H, P, N], x and z [B, H, P], dt [B, H], A and dt_bias [H], B and C [B, G, N], D [H] or [H, P]
             -> [B, H, P] and [B, H, P, N].
    Dtypes:  output as x, state as the one given; computed in the widest of all dtypes, at least fp32.
    Raises:  ValueError if a shape differs.
    """
    expect("ssd_step", "x", x, ("B", "H", "P"))
    x, B, C, z = x[:, None], B[:, None], C[:, None], None if z is None else z[:, None]
    expect("ssd_step", "dt", dt, (x.shape[0], x.shape[2]))
    _expect("ssd_step", x, B, C, state)
    _expect_heads("ssd_step", x, A, D, z, dt_bias)
    dtypes = x.dtype, state.dtype
    state, x, dt, A, B, C, D, z, dt_bias = _widened(state, x, dt[:, None], A, B, C, D, z, dt_bias)
    dt = _steps(dt, dt_bias, dt_softplus=dt_softplus)
    y, state = reference(x * dt[..., None], dt * A, B, C, state)
    return _finish(y, x, D, z)[:, 0].to(dtypes[0]), state.to(dtypes[1])


def _steps(dt: Tensor, dt_bias: Tensor | None, *, dt_softplus: bool) -> Tensor:
    dt = dt if dt_bias is None else dt + dt_bias
    return F.softplus(dt) if dt_softplus else dt


def _finish(y: Tensor, x: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    if D is not None:
        y = y + x * (D[:, None] if D.ndim == 1 else D)
    return y if z is None else y * F.silu(z)


def _unhalved(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None, chunk: int
) -> tuple[Tensor, Tensor]:
    """Scan without autocast, which would take the products' digits."""
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return chunks(x, log_decay, B, C, initial_state, chunk)
    with torch.autocast(x.device.type, enabled=False):
        return chunks(x, log_decay, B, C, initial_state, chunk)


def _widened(*tensors: Tensor | None) -> tuple[Any, ...]:
    """Bring all to the widest of their dtypes, at least fp32."""
    dtype = reduce(torch.promote_types, (t.dtype for t in tensors if t is not None), torch.float32)
    return tuple(t if t is None else t.to(dtype) for t in tensors)


def _expect(where: str, x: Tensor, B: Tensor, C: Tensor, state: Tensor | None) -> None:
    expect(where, "x", x, ("B", "T", "H", "P"))
    batch, length, heads, width = x.shape
    expect(where, "B", B, (batch, length, "G", "N"))
    expect(where, "C", C, tuple(B.shape))
    if heads % B.shape[2]:
        raise ValueError(f"{where}: B has {B.shape[2]} groups, allowed: divisors of {heads} heads")
    if state is not None:
        expect(where, "state", state, (batch, heads, width, B.shape[3]))


def _expect_heads(where: str, x: Tensor, A: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None) -> None:
    heads, width = x.shape[2:]
    expect(where, "A", A, (heads,))
    if D is not None:
        expect(where, "D", D, (heads,), (heads, width))
    if z is not None:
        expect(where, "z", z, tuple(x.shape))
    if dt_bias is not None:
        expect(where, "dt_bias", dt_bias, (heads,))
