"""A large kernel decomposed into a small, a dilated depthwise convolution (the context of VAN's attention)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import Conv2d, OddKernel


class DecomposedKernel(nn.Module):
    """A depthwise convolution, then a dilated one. [N, C, H, W] -> the same."""

    def __init__(self, width: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        local, reach = 2 * dilation - 1, dilation * (kernel_size // 2)
        self.local = Conv2d(width, width, local, padding=local // 2, groups=width)
        self.dilated = Conv2d(width, width, kernel_size, padding=reach, dilation=dilation, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each channel, near ones first."""
        return self.dilated(self.local(x))


class LargeKernelAttention(TokenMixer):
    """Large kernel attention's decomposition of a K x K kernel (VAN, arXiv:2202.09741, sec. 3.1).

    A (2d - 1)-sided depthwise convolution and one of dilation d. The pointwise layer after them and the product with
    their source are those of a `gated` mixer with `mix_context` and the gate `identity`.
    """

    kind: Literal["large_kernel_attention"] = "large_kernel_attention"
    kernel_size: OddKernel = 7
    """Side of the dilated kernel in taps, odd."""
    dilation: Annotated[int, Field(ge=2, le=5)] = 3
    """Pixels between its taps, d."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return DecomposedKernel(width, self.kernel_size, self.dilation)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        local = convolution(width, width, 2 * self.dilation - 1, size, groups=width)
        return local + convolution(width, width, self.kernel_size, size, groups=width)
