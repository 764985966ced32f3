"""The kernels as PyTorch operators, so that they differentiate and compile, and how their tensors lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ops.deformable_sampling.window import Window
from ops.dispatch import DEVICES
from ops.double_backward import second_backward

LARGEST = 1 << 31
"""Elements of a tensor from which its offsets are beyond 32 bits."""
FARTHEST = 1 << 19
"""Pixels of a side beyond which places are cut off."""
Gradients = tuple[Tensor, Tensor, Tensor]


def takes(*tensors: Tensor) -> bool:
    """Whether there is a kernel for tensors of these shapes, the map first."""
    return all(0 < t.numel() < LARGEST for t in tensors) and max(tensors[0].shape[1:3]) < FARTHEST


def kernel_sampling(
    value: Tensor,
    places: Tensor,
    weight: Tensor | None,
    window: Window | None,
    groups: int,
    scale: float,
    softmax: bool,
) -> Tensor:
    """Sample value [N, H, W, C] at places [N, Ho, Wo, G * P * 2] with weight [N, Ho, Wo, G * P] -> [N, Ho, Wo, C].

    Places are shifts of the window's taps, or without a window pixels. Without `weight`, places are DCNv4's one tensor.
    All are of one dtype. See `ops.dcnv3`, `ops.dcnv4`.
    """
    return sample(value, places, weight, _numbers(window), groups, scale, softmax)


def _numbers(window: Window | None) -> list[int]:
    """Return a window as operators take it; without one, none."""
    if window is None:
        return []
    return [*window.kernel, *window.stride, *window.padding, *window.dilation, int(window.without_center)]


def window_of(numbers: Sequence[int]) -> Window | None:
    """Return the window of `_numbers`."""
    if not numbers:
        return None
    a, b, c, d, e, f, g, h, center = numbers
    return Window((a, b), (c, d), (e, f), (g, h), bool(center))


@torch.library.custom_op("nas_ops::window_sampling", mutates_args=(), device_types=DEVICES)
def sample(
    value: Tensor,
    places: Tensor,
    weight: Tensor | None,
    window: Sequence[int],
    groups: int,
    scale: float,
    softmax: bool,
) -> Tensor:
    """Sample as `kernel_sampling` does."""
    from ops.deformable_sampling.kernel import forward

    return forward(value, places, weight, window_of(window), groups, scale, softmax)


@torch.library.custom_op("nas_ops::window_sampling_backward", mutates_args=(), device_types=DEVICES)
def sample_backward(
    grad: Tensor, value: Tensor, places: Tensor, weight: Tensor | None, out: Tensor, window: Sequence[int],
    groups: int, scale: float, softmax: bool,
) -> Gradients:  # fmt: skip
    """Return the gradients of value, places and weight (without elements where weights are among the places)."""
    from ops.deformable_sampling.kernel import backward

    return backward(grad, value, places, weight, out, window_of(window), groups, scale, softmax)


@sample.register_fake
def _(
    value: Tensor,
    places: Tensor,
    weight: Tensor | None,
    window: Sequence[int],
    groups: int,
    scale: float,
    softmax: bool,
) -> Tensor:
    del weight, window, groups, scale, softmax
    return value.new_empty(*places.shape[:3], value.shape[3])


@sample_backward.register_fake
def _(
    grad: Tensor, value: Tensor, places: Tensor, weight: Tensor | None, out: Tensor, window: Sequence[int],
    groups: int, scale: float, softmax: bool,
) -> Gradients:  # fmt: skip
    del grad, out, window, groups, scale, softmax
    return (
        value.new_empty(value.shape),
        places.new_empty(places.shape),
        places.new_empty(0 if weight is None else weight.shape),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, places, weight, *ctx.options = inputs
    ctx.save_for_backward(value, places, weight, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, places, weight, out = ctx.saved_tensors
    d_value, d_places, d_weight = sample_backward(grad, value, places, weight, out, *ctx.options)
    return d_value, d_places, None if weight is None else d_weight, None, None, None, None


sample.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    grad, value, places, weight, _, *ctx.options = inputs
    ctx.save_for_backward(grad, value, places, weight)


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the gradients of the plain form; the kept output is a function of the other tensors."""
    from ops.deformable_sampling.shifted import plain

    window, *options = ctx.options

    def law(value: Tensor, places: Tensor, weight: Tensor | None = None) -> Tensor:
        return plain(value, places, weight, window_of(window), *options)

    grad, *inputs = (t for t in ctx.saved_tensors if t is not None)
    found = second_backward(law, grad, inputs, grads[: len(inputs)])
    return *found[:3], found[3] if len(found) > 3 else None, None, None, None, None, None


sample_backward.register_autograd(_second_backward, setup_context=_keep_all)
