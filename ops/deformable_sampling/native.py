"""The same sums by the native library, registered with PyTorch so that they differentiate and compile.

A vector holds channels of one group; nothing but the inputs is kept for the backward pass. Where there are at least as
many points as pixels, maps are rearranged first and points are taken cell by cell; else both stay where they lie.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops.deformable_sampling.reference import reference
from ops.double_backward import apart
from ops.native import call

LARGEST_MAP = 1 << 23
"""Positions of a map up to which single precision numbers its cells."""
LARGEST_IMAGE = 1 << 31
"""Elements of a map from which its cells are beyond 32 bits."""

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("nas_ops::deformable_sampling", mutates_args=(), device_types="cpu")
def native(value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Sum weighted samples as the reference does; float32 on a CPU."""
    out = value.new_empty(*x.shape[:3], value.shape[4])
    inputs = [tensor.contiguous() for tensor in (value, x, y, weight)]
    call(_named("sampling_forward", value, x), _sizes(value, x), *inputs, out)
    return out


@torch.library.custom_op("nas_ops::deformable_sampling_backward", mutates_args=(), device_types="cpu")
def native_backward(grad: Tensor, value: Tensor, x: Tensor, y: Tensor, weight: Tensor, of_value: bool) -> Gradients:
    """Return the gradients of value (without elements where not asked for), x, y and weight."""
    found = _gradients(value, x, of_value)
    inputs = [tensor.contiguous() for tensor in (grad, value, x, y, weight)]
    name = _named("sampling_backward", value, x)
    if of_value and name.startswith("sparse"):
        found[0].zero_()
    call(name, _sizes(value, x), *inputs, found[0] if of_value else None, *found[1:])
    return found


def _named(function: str, value: Tensor, x: Tensor) -> str:
    """Name the form of a function: maps are only rearranged where that is less than what it saves."""
    return function if x.shape[1] * x.shape[3] >= value.shape[1] * value.shape[2] else f"sparse_{function}"


def _sizes(value: Tensor, x: Tensor) -> list[int]:
    """Sizes in the order of `Sizes` in sampling.cpp."""
    return [*value.shape, x.shape[1], x.shape[3], torch.get_num_threads()]


def _gradients(value: Tensor, x: Tensor, of_value: bool) -> Gradients:
    d_value = value.new_empty(value.shape if of_value else 0)
    return d_value, x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty(x.shape)


@native.register_fake
def _(value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    del y, weight
    return value.new_empty(*x.shape[:3], value.shape[4])


@native_backward.register_fake
def _(grad: Tensor, value: Tensor, x: Tensor, y: Tensor, weight: Tensor, of_value: bool) -> Gradients:
    del grad, y, weight
    return _gradients(value, x, of_value)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad
    found = native_backward(grad, *ctx.saved_tensors, wanted[0])
    return tuple(each if want else None for each, want in zip(found, wanted, strict=True))


native.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    *tensors, ctx.of_value = inputs
    ctx.save_for_backward(*tensors)


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the reference's gradients."""
    with torch.enable_grad():
        grad, *inputs = leaves = apart(*ctx.saved_tensors)
        first = torch.autograd.grad(reference(*inputs), inputs, grad, create_graph=True)
        skipped = 0 if ctx.of_value else 1
        second = torch.autograd.grad(
            first[skipped:], leaves, grads[skipped:], create_graph=True, materialize_grads=True
        )
    return *second, None


native_backward.register_autograd(_second_backward, setup_context=_keep_all)
