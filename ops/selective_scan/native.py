"""The same scan by the native library, registered with PyTorch so that it differentiates and compiles.

A vector holds channels of one group, and exponentials are computed where they are needed; as in `chunks`, only the
states before each chunk of positions are kept for the backward pass.
"""

# ruff: noqa: N803, N806

from __future__ import annotations

from math import lcm
from typing import Any

import torch
from torch import Tensor

from ops.double_backward import apart
from ops.native import call, library
from ops.selective_scan.associative import associative

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def native(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Scan with ready step sizes; returns the output [B, D, L] before skip and gate, and the last state [B, D, N].

    Takes float32 on a CPU, real A, and B and C by position.
    """
    B, C = (values[:, None] if values.ndim == 3 else values for values in (B, C))
    groups = lcm(B.shape[1], C.shape[1])
    B, C = (
        values if values.shape[1] == groups else values.repeat_interleave(groups // values.shape[1], dim=1)
        for values in (B, C)
    )
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (u, delta, A, B, C))
    y, last, _ = native_scan(u, delta, A, B, C, trains)
    return y, last


@torch.library.custom_op("nas_ops::selective_scan", mutates_args=(), device_types="cpu")
def native_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, trains: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan; B and C [B, G, N, L]. Returns output, last state and, for training, what the backward pass starts from."""
    y, last, starts = _outputs(u, A, B, trains)
    u, delta, B, C = u.contiguous(), delta.contiguous(), _laid(B), _laid(C)
    call("scan_forward", _sizes(u, B, C), u, delta, A.contiguous(), B, C, y, last, starts if trains else None)
    return y, last, starts


@torch.library.custom_op("nas_ops::selective_scan_backward", mutates_args=(), device_types="cpu")
def native_scan_backward(
    d_y: Tensor, d_last: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, starts: Tensor
) -> Gradients:
    """Return the gradients of u, delta, A, B and C."""
    found = _empty(u, delta, A, B, C)
    u, delta, B, C = u.contiguous(), delta.contiguous(), _laid(B), _laid(C)
    by_image = A.new_empty(len(u), *A.shape)
    d_u, d_delta, d_rates, d_b, d_c = found
    call(
        "scan_backward", _sizes(u, B, C), d_y.contiguous(), d_last.contiguous(), u, delta, A.contiguous(), B, C,
        starts, d_u, d_delta, by_image, d_b, d_c,
    )  # fmt: skip
    torch.sum(by_image, 0, out=d_rates)
    return found


def _laid(values: Tensor) -> Tensor:
    """Return B or C with positions side by side."""
    return values if values.stride(3) == 1 else values.contiguous()


def _sizes(u: Tensor, B: Tensor, C: Tensor) -> list[int]:
    """Sizes and strides in the order of `Sizes` in scan.cpp."""
    groups, states = B.shape[1:3]
    return [*u.shape, states, groups, torch.get_num_threads(), *B.stride()[:3], *C.stride()[:3]]


def _outputs(u: Tensor, A: Tensor, B: Tensor, trains: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the output, the last state and the states before each chunk."""
    (batch, channels, length), (groups, states) = u.shape, B.shape[1:3]
    lanes, chunk = library().scan_lanes(), library().scan_chunk()
    kept = (batch, groups, -(-(channels // groups) // lanes), -(-length // chunk), states, lanes) if trains else (0,)
    return u.new_empty(u.shape), u.new_empty(batch, *A.shape), u.new_empty(kept)


def _empty(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Gradients:
    return (
        u.new_empty(u.shape),
        delta.new_empty(u.shape),
        A.new_empty(A.shape),
        B.new_empty(B.shape),
        C.new_empty(C.shape),
    )


@native_scan.register_fake
def _(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, trains: bool) -> tuple[Tensor, Tensor, Tensor]:
    del delta, C
    return _outputs(u, A, B, trains)


@native_scan_backward.register_fake
def _(
    d_y: Tensor, d_last: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, starts: Tensor
) -> Gradients:
    del d_y, d_last, starts
    return _empty(u, delta, A, B, C)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.mark_non_differentiable(output[2])


def _backward(ctx: Any, d_y: Tensor, d_last: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    found = native_scan_backward(d_y, d_last, *ctx.saved_tensors)
    return *(each if want else None for each, want in zip(found, ctx.needs_input_grad[:5], strict=True)), None


native_scan.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    ctx.save_for_backward(*inputs[:7])


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the gradients of the form that keeps every state."""
    with torch.enable_grad():
        inputs = apart(*ctx.saved_tensors)
        d_y, d_last, *core = inputs
        outputs = associative(*core)
        first = torch.autograd.grad(outputs, core, (d_y, d_last), create_graph=True, materialize_grads=True)
        second = torch.autograd.grad(first, inputs, grads, create_graph=True, materialize_grads=True)
    return *second, None


native_scan_backward.register_autograd(_second_backward, setup_context=_keep_all)
