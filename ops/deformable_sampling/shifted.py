"""Sampling at a window's shifted taps: what DCNv3 and DCNv4 have in common, in both of their layouts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from ops.deformable_sampling import deformable_sampling
from ops.deformable_sampling.reference import reference
from ops.deformable_sampling.registered import kernel_sampling, takes
from ops.deformable_sampling.window import Window
from ops.dispatch import Impl, implementation

Core = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def shifted_sampling(
    operator: str, value: Tensor, places: Tensor, weight: Tensor | None, window: Window, *, groups: int, scale: float,
    softmax: bool, impl: Impl | None,
) -> Tensor:  # fmt: skip
    """Sample value [N, H, W, C] at places [N, Ho, Wo, G * P * 2] with weight [N, Ho, Wo, G * P] -> [N, Ho, Wo, C].

    Without `weight`, places are DCNv4's one tensor. Computed in the widest of all dtypes.
    """
    tensors = [value, places] if weight is None else [value, places, weight]
    chosen = implementation(operator, impl, *tensors, kernel=lambda: takes(*tensors))
    dtype = reduce(torch.promote_types, (t.dtype for t in tensors))
    if chosen == "triton":
        value_, places, *rest = (t.to(dtype) for t in tensors)
        return kernel_sampling(value_, places, rest[0] if rest else None, window, groups, scale, softmax).to(
            value.dtype
        )
    core: Core = lambda *inputs: deformable_sampling(*inputs, impl=impl)  # noqa: E731
    return by(core, value, places, weight, window, groups, scale, softmax)


def plain(
    value: Tensor,
    places: Tensor,
    weight: Tensor | None,
    window: Window | None,
    groups: int,
    scale: float,
    softmax: bool,
) -> Tensor:
    """Sample by the reference, which differentiates any number of times; without a window places are pixels."""
    return by(reference, value, places, weight, window, groups, scale, softmax)


def by(
    core: Core, value: Tensor, places: Tensor, weight: Tensor | None, window: Window | None, groups: int, scale: float,
    softmax: bool,
) -> Tensor:  # fmt: skip
    """Sample by a function of value [N, H, W, G, D] and x, y and weight [N, Q, G, P]."""
    offset, weight = _split(places, weight, window, groups)
    if softmax:
        weight = weight.softmax(-1)
    if window is None:
        at_x, at_y = (scale * offset).flatten(1, 2).unbind(-1)
    else:
        # places need more digits than half precision has
        at_x, at_y = window.places(offset.to(torch.promote_types(offset.dtype, torch.float32)), scale)
    out = core(value.unflatten(-1, (groups, -1)), at_x, at_y, weight.flatten(1, 2))
    return out.reshape(*places.shape[:3], -1)


def _split(places: Tensor, weight: Tensor | None, window: Window | None, groups: int) -> tuple[Tensor, Tensor]:
    """Return offsets [N, Ho, Wo, G, P, 2] and weights [N, Ho, Wo, G, P]."""
    if weight is not None:
        return places.unflatten(-1, (groups, -1, 2)), weight.unflatten(-1, (groups, -1))
    taps = places.shape[3] // (3 * groups) if window is None else len(window.taps)
    offset, weight = places[..., : 3 * groups * taps].unflatten(-1, (groups, -1)).split((2 * taps, taps), -1)
    return offset.unflatten(-1, (taps, 2)), weight
