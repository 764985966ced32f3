"""Gated product: a map times another, each activated."""

from __future__ import annotations

from torch import Tensor

from ops.dispatch import Impl, implementation
from ops.gated_product.reference import ACTIVATIONS, Activation, reference
from ops.gated_product.registered import multiply, takes
from ops.shapes import expect

__all__ = ["gated_product"]


def gated_product(
    gate: Tensor,
    value: Tensor,
    *,
    act: Activation = "identity",
    value_act: Activation = "identity",
    scale: float = 1.0,
    impl: Impl | None = None,
) -> Tensor:
    """Return act(gate) * value_act(value) * scale, in one pass over the maps where a kernel takes them.

    Shapes:  gate and value [N, C, H, W] -> [N, C, H, W]; any strides, some of the channels of a wider map among them.
    Dtypes:  those of PyTorch. The kernel takes maps of one dtype, computes in float32 and returns that dtype.
    Impl:    see `ops.dispatch`.
    Raises:  ValueError if shapes differ, an activation is unknown, or `impl` cannot be had.
    Source:  gated linear units, arXiv:2002.05202; SiLU on both sides as in MogaNet, arXiv:2211.03295, eq. 5; scaled
             products one after the other as in gnConv, arXiv:2207.14284, eq. 3; implementation our own.
    """
    if value.shape != gate.shape or gate.ndim != 4:
        expect("gated_product", "gate", gate, ("N", "C", "H", "W"))
        expect("gated_product", "value", value, tuple(gate.shape))
    for name in (act, value_act):
        if name not in ACTIVATIONS:
            raise ValueError(f"gated_product: activation {name!r}, allowed: {', '.join(ACTIVATIONS)}")
    if implementation("gated_product", impl, gate, value, kernel=lambda: takes(gate, value)) == "triton":
        return multiply(gate, value, act, value_act, scale)
    return reference(gate, value, act, value_act, scale)
