"""The one check of shapes: what stands there, what is allowed."""

from __future__ import annotations

from torch import Tensor

Shape = tuple[int | str, ...]
"""Sizes in order; a word stands for any size from 1."""


def expect(operator: str, name: str, tensor: Tensor, *allowed: Shape) -> None:
    """Raise ValueError unless `tensor` has one of the allowed shapes."""
    found = tuple(tensor.shape)
    for shape in allowed:
        if len(found) == len(shape) and all(
            size >= 1 if isinstance(want, str) else size == want for size, want in zip(found, shape, strict=True)
        ):
            return
    choices = " or ".join(
        "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")" for shape in allowed
    )
    raise ValueError(f"{operator}: {name} {found}, allowed: {choices}")
