"""Deformable sampling: weighted sums of bilinear samples at free places, the core of DCNv3 and DCNv4."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from ops.deformable_sampling.bags import bags, pays
from ops.deformable_sampling.grids import grids
from ops.deformable_sampling.native import LARGEST_IMAGE, LARGEST_MAP, native
from ops.deformable_sampling.reference import reference
from ops.deformable_sampling.registered import kernel_sampling, takes
from ops.dispatch import Impl, implementation
from ops.shapes import expect

__all__ = ["deformable_sampling"]


def deformable_sampling(value: Tensor, x: Tensor, y: Tensor, weight: Tensor, *, impl: Impl | None = None) -> Tensor:
    """Sum P weighted bilinear samples of a map for each query and group of channels; zeros lie beyond the border.

    A place (x, y) stands in pixels, pixel centres at whole numbers, x to the right and y down; it contributes while
    -1 < x < W and -1 < y < H. On a whole number the slope is that to the right or downward.

    Shapes:  value [N, H, W, G, D], x, y and weight [N, Q, G, P] -> [N, Q, G, D]; any strides.
    Dtypes:  output as value; computed in the widest of all dtypes, at least fp32.
    Impl:    see `ops.dispatch`; without one the fastest. While a program is traced, PyTorch's grid_sample is plain.
    Cost:    no products of matrices are counted; on a CPU, memory for training no more than the inputs.
    Raises:  ValueError if a shape differs or `impl` cannot be had.
    Source:  DCNv4, arXiv:2401.06197, sec. 3.1; implementation our own.
    """
    expect("deformable_sampling", "value", value, ("N", "H", "W", "G", "D"))
    expect("deformable_sampling", "x", x, (value.shape[0], "Q", value.shape[3], "P"))
    for name, points in (("y", y), ("weight", weight)):
        expect("deformable_sampling", name, points, tuple(x.shape))
    dtype = reduce(torch.promote_types, (value.dtype, x.dtype, y.dtype, weight.dtype), torch.float32)
    inputs = value.to(dtype), x.to(dtype), y.to(dtype), weight.to(dtype)
    return _form(impl, *inputs)(*inputs).to(value.dtype)


def _form(asked: Impl | None, *inputs: Tensor) -> Callable[..., Tensor]:
    """Return the form that takes these tensors."""
    chosen, value = implementation("deformable_sampling", asked, *inputs, kernel=lambda: takes(*inputs)), inputs[0]
    if chosen == "triton":
        return _by_kernel
    if chosen == "native" and value.shape[1] * value.shape[2] <= LARGEST_MAP and value[0].numel() < LARGEST_IMAGE:
        return native
    if chosen == "reference" and not torch.compiler.is_compiling():
        return reference
    return bags if pays(value) else grids


def _by_kernel(value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Sample at pixels rather than at shifts of a window, all queries in a row."""
    places = torch.stack((x, y), -1).flatten(2)[:, None]
    out = kernel_sampling(value.flatten(3), places, weight.flatten(2)[:, None], None, value.shape[3], 1.0, False)
    return out[:, 0].unflatten(-1, (value.shape[3], -1))
