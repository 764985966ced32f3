"""What a layer costs, by formula: learnable parameters, multiply-accumulates and activations of one image.

MACs are those of convolutions, linear layers and matrix products (a bias, a norm or an element-wise product is not
counted), which is what `torch.utils.flop_counter` counts, halved. Activations are the elements that the same operations
write (RegNet, arXiv:2003.13678, sec. 3.3, counts those of convolutions).
"""

from __future__ import annotations

from typing import NamedTuple

Size = tuple[int, int]
"""Height and width of a feature map in pixels."""


class Cost(NamedTuple):
    """Cost of one image: learnable scalars, multiply-accumulates, elements written."""

    params: int = 0
    macs: int = 0
    activations: int = 0

    def __add__(self, other: object) -> Cost:
        """Add two costs field by field."""
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(self.params + other.params, self.macs + other.macs, self.activations + other.activations)

    def __mul__(self, times: object) -> Cost:
        """Cost of `times` equal layers."""
        if not isinstance(times, int):
            return NotImplemented
        return Cost(self.params * times, self.macs * times, self.activations * times)


def convolution(
    in_width: int, width: int, kernel: int | Size, out_size: Size, *, groups: int = 1, bias: bool = True
) -> Cost:
    """Cost of a convolution that writes a map of `out_size`."""
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    weight = width * (in_width // groups) * kh * kw
    pixels = out_size[0] * out_size[1]
    return Cost(weight + width * bias, weight * pixels, width * pixels)


def linear(in_width: int, width: int, positions: int = 1, *, bias: bool = True) -> Cost:
    """Cost of a linear layer applied at each of `positions`."""
    return Cost(in_width * width + width * bias, in_width * width * positions, width * positions)


def matrix_product(rows: int, inner: int, columns: int, batch: int = 1) -> Cost:
    """Cost of `batch` products [rows, inner] x [inner, columns]."""
    return Cost(0, batch * rows * inner * columns, batch * rows * columns)
