"""The kernels as PyTorch operators, so that they differentiate and compile; what they return, by shape and strides.

One pair of operators serves a scan of a sequence and one along four routes through a map: u [B, C, L], delta
[B, K, C, L] for K routes of which each reads the map in its own order, A [K * C, N], B and C [B, K * G, N, L].
"""

# the paper's capitals are the names everybody knows these tensors by
# ruff: noqa: N803, N806

from __future__ import annotations

from functools import reduce
from math import lcm
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.cross_scan.reference import ROUTES
from ops.cross_scan.reference import scan as routed
from ops.dispatch import DEVICES
from ops.double_backward import second_backward
from ops.selective_scan.associative import associative
from ops.selective_scan.reference import finish, steps

UNIT = 4
"""Positions that are loaded together where they lie side by side."""
MOST_STATES = 16
"""States of a channel that the forward kernel holds in registers."""
Outputs = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def takes(u: Tensor, A: Tensor, B: Tensor, C: Tensor) -> bool:
    """Whether the kernels compute a scan of this shape: real states, B and C by position, offsets within 32 bits."""
    return (
        not A.is_complex()
        and B.ndim > 2
        and C.ndim > 2
        and A.shape[1] <= MOST_STATES
        and 0 < u[0].numel() < 1 << 31
        and len(u) < 1 << 16
    )


def unit(u: Tensor, routes: str) -> int:
    """Return how many positions lie side by side, in units; 0: the channels of a position do."""
    length = u.shape[2]
    along = not routes and length % UNIT == 0 and u.stride(2) == 1 and (u.stride(1) != 1 or u.shape[1] == 1)
    return UNIT if along else 0


def laid(x: Tensor, side_by_side: int) -> Tensor:
    """Return [..., C, L] with channels or positions side by side, others at any distance, of positions in units."""
    if side_by_side == 0:
        return x if x.stride(-2) == 1 else x.transpose(-1, -2).contiguous().transpose(-1, -2)
    fits = x.stride(-1) == 1 and all(stride % side_by_side == 0 for stride in x.stride()[:-1])
    return x if fits else x.contiguous()


def room(x: Tensor, side_by_side: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return room for [..., C, L], dense in that layout."""
    *front, channels, length = x.shape
    dtype = dtype or x.dtype
    if side_by_side:
        return x.new_empty(x.shape, dtype=dtype)
    return x.new_empty((*front, length, channels), dtype=dtype).transpose(-1, -2)


def kernel_selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, *, delta_softplus: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Scan as the reference does, on a GPU, what `takes` allows; returns the output, as u, and the last state."""
    B, C = (values[:, None] if values.ndim == 3 else values for values in (B, C))
    groups = lcm(B.shape[1], C.shape[1])
    B, C = (x if x.shape[1] == groups else x.repeat_interleave(groups // x.shape[1], dim=1) for x in (B, C))
    out, last = called(u, delta[:, None], A, B, C, D, delta_bias, z, delta_softplus, "", 1)
    return out.to(u.dtype), last[:, 0, : A.shape[1]].transpose(1, 2)


def called(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None,
    z: Tensor | None, delta_softplus: bool, routes: str, map_width: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Call the operator; what goes by position comes in the widest of its dtypes."""
    widest = reduce(torch.promote_types, (x.dtype for x in (u, delta, B, C, z) if x is not None))
    u, delta, B, C = (x.to(widest) for x in (u, delta, B, C))
    z = None if z is None else z.to(widest)
    tensors = u, delta, A, B, C, D, delta_bias, z
    trains = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    out, last, _ = scanned(*tensors, delta_softplus, routes, map_width, trains)
    return out, last


def save(states: int) -> int:
    """Return after how many positions each the states are kept, from which the backward pass computes all others."""
    return 16 if states == 1 else 128


def whole(states: int) -> int:
    """Return the number of states that a kernel has, of which some may be left unused."""
    return next(count for count in (1, 4, MOST_STATES) if states <= count)


def outputs(u: Tensor, delta: Tensor, A: Tensor, routes: str, trains: bool) -> Outputs:
    """Return room for output, in float32 where routes are summed, for the last state and for what training keeps.

    The last state is [B, K, whole(N), C]; what is kept are the states before each chunk but the first, which are zeros.
    """
    (batch, channels, length), states, count = u.shape, A.shape[1], delta.shape[1]
    out = room(u, unit(u, routes), torch.float32 if routes else u.dtype)
    kept = (batch, -(-length // save(states)) - 1, count, whole(states), channels) if trains else (0,)
    number = torch.float32
    return out, u.new_empty((batch, count, whole(states), channels), dtype=number), u.new_empty(kept, dtype=number)


@torch.library.custom_op("nas_ops::selective_scan_kernel", mutates_args=(), device_types=DEVICES)
def scanned(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None,
    z: Tensor | None, delta_softplus: bool, routes: str, map_width: int, trains: bool,
) -> Outputs:  # fmt: skip
    """Return output, last state [B, K, whole(N), C] and, for training, the states before each chunk but the first."""
    from ops.selective_scan.kernel import forward

    return forward(u, delta, A, B, C, D, delta_bias, z, delta_softplus, routes, map_width, trains)


@torch.library.custom_op("nas_ops::selective_scan_kernel_backward", mutates_args=(), device_types=DEVICES)
def scanned_backward(
    d_out: Tensor, d_last: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, z: Tensor | None, starts: Tensor, delta_softplus: bool, routes: str, map_width: int,
) -> Gradients:  # fmt: skip
    """Return the gradients of u, delta, A, B, C, D, delta_bias and z; without elements of what there is not."""
    from ops.selective_scan.kernel_backward import backward

    return backward(d_out, d_last, u, delta, A, B, C, D, delta_bias, z, starts, delta_softplus, routes, map_width)


@scanned.register_fake
def _(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None,
    z: Tensor | None, delta_softplus: bool, routes: str, map_width: int, trains: bool,
) -> Outputs:  # fmt: skip
    del B, C, D, delta_bias, z, delta_softplus, map_width
    return outputs(u, delta, A, routes, trains)


@scanned_backward.register_fake
def _(
    d_out: Tensor, d_last: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, z: Tensor | None, starts: Tensor, delta_softplus: bool, routes: str, map_width: int,
) -> Gradients:  # fmt: skip
    del d_out, d_last, starts, delta_softplus, map_width
    side_by_side = unit(u, routes)
    vectors = (u.new_empty(len(A) if each is not None else 0, dtype=torch.float32) for each in (D, delta_bias))
    d_skip, d_bias = vectors
    return (
        room(u, side_by_side), room(delta, side_by_side), A.new_empty(A.shape), B.new_empty(B.shape),
        C.new_empty(C.shape), d_skip, d_bias, u.new_empty(0) if z is None else room(z, side_by_side),
    )  # fmt: skip


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    *tensors, ctx.delta_softplus, ctx.routes, ctx.map_width, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.mark_non_differentiable(output[2])


def _backward(ctx: Any, d_out: Tensor, d_last: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, starts = ctx.saved_tensors
    found = scanned_backward(d_out, d_last, *tensors, starts, ctx.delta_softplus, ctx.routes, ctx.map_width)
    wanted = ctx.needs_input_grad
    each = (
        None if tensor is None or not want else grad.to(tensor.dtype)
        for grad, tensor, want in zip(found, tensors, wanted[:8], strict=True)
    )
    return *each, None, None, None, None


scanned.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    *tensors, _, ctx.delta_softplus, ctx.routes, ctx.map_width = inputs
    ctx.save_for_backward(*tensors)


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    d_out, d_last, *inputs = ctx.saved_tensors
    there = [n for n, tensor in enumerate(inputs) if tensor is not None]

    def law_of(*given: Tensor) -> tuple[Tensor, Tensor]:
        wide: list[Tensor | None] = [None] * len(inputs)
        for n, tensor in zip(there, given, strict=True):
            wide[n] = tensor
        u, delta, A, B, C, D, bias, z = cast("Any", wide)
        return law(u, delta, A, B, C, D, bias, z, ctx.delta_softplus, ctx.routes, ctx.map_width)

    found = second_backward(law_of, (d_out, d_last), [inputs[n] for n in there], [grads[n] for n in there])
    second = dict(zip(there, found[2:], strict=True))
    return *found[:2], *(second.get(n) for n in range(len(inputs))), None, None, None, None


scanned_backward.register_autograd(_second_backward, setup_context=_keep_all)


def law(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None,
    z: Tensor | None, delta_softplus: bool, routes: str, map_width: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute the same in plain PyTorch, differentiable twice."""
    (batch, channels, length), count, states = u.shape, delta.shape[1], A.shape[1]
    orders = places(routes, length, map_width, u.device)
    us = torch.stack([u if order is None else u[..., order] for order in orders], 1).flatten(1, 2)
    deltas, bs, cs = (_along(x, orders) for x in (delta.flatten(1, 2), B, C))
    y, last = associative(us, steps(deltas, delta_bias, delta_softplus=delta_softplus), A, bs, cs)
    y = finish(y, us, D, None).unflatten(1, (count, channels))
    out = torch.zeros_like(u) if routes else y[:, 0]
    for order, part in zip(orders, y.unbind(1), strict=True):
        out = out if order is None else out.index_add(2, order, part)
    last = F.pad(last.view(batch, count, channels, states), (0, whole(states) - states))
    return finish(out, u, None, z), last.transpose(2, 3)


def _along(x: Tensor, orders: list[Tensor | None]) -> Tensor:
    """Read [B, K * ..., L] along the routes."""
    parts = x.chunk(len(orders), 1)
    return torch.cat([p if order is None else p[..., order] for p, order in zip(parts, orders, strict=True)], 1)


def places(routes: str, length: int, map_width: int, device: torch.device) -> list[Tensor | None]:
    """Return where each position of each route lies on the map; None: where it is."""
    if not routes:
        return [None]
    on_map = torch.arange(length, device=device).view(1, 1, length // map_width, map_width)
    return list(routed(on_map, routes)[0, :, 0].unbind())


def code(routes: str) -> int:
    """Return the routes in three bits each: transposed, outer axis flipped, inner axis flipped."""
    turns = [
        reading.transposed + 2 * ((-2 in reading.flipped) != backward) + 4 * ((-1 in reading.flipped) != backward)
        for reading, backward in (ROUTES[routes] if routes else ())
    ]
    return sum(turn << (3 * place) for place, turn in enumerate(turns))
