"""Layers with parameters that several families share. Feature maps are [N, C, H, W], best in channels_last memory.

Weights start as in ConvNeXt, InceptionNeXt and the MetaFormer baselines: convolutions and linear layers normal with
deviation 0.02, biases 0, so that no network needs an initialisation pass of its own.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from ops import depthwise_conv2d, global_response_norm, layer_norm2d
from space.cost import Size

INITIAL_DEVIATION = 0.02

Ratio = Annotated[float, Field(gt=0, le=16)]
"""Hidden width over width; the hidden width is rounded down and at least 1."""


def odd(value: int) -> int:
    """Return an odd kernel side. Raises ValueError, which pydantic reports, for an even one."""
    if value % 2 == 0:
        raise ValueError(f"must be odd to keep height and width; nearest are {value - 1} and {value + 1}")
    return value


OddKernel = Annotated[int, Field(ge=3, le=61), AfterValidator(odd)]
"""Side of a kernel that keeps height and width, in pixels."""


def share(width: int, ratio: float) -> int:
    """Return `ratio` of the channels, rounded down as published code does, and at least 1."""
    return max(1, int(width * ratio))


def _initialise(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.trunc_normal_(layer.weight, std=INITIAL_DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Conv2d(nn.Conv2d):
    """A convolution whose weights start normal with deviation 0.02, its bias 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        (tall, wide), (down, across), around = self.kernel_size, self.dilation, self.padding
        self.by_ours = (  # asked here and not at each call, which would take longer than a small map
            groups == in_channels == out_channels
            and down == across
            and self.stride[0] == self.stride[1]
            and tall % 2 == wide % 2 == 1
            and around == (down * (tall // 2), across * (wide // 2))
        )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        _initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve; a depthwise convolution with half its odd kernel as border by our own operator."""
        if self.by_ours:
            return depthwise_conv2d(input, self.weight, self.bias, dilation=self.dilation[0], stride=self.stride[0])
        return super().forward(input)


class Linear(nn.Linear):
    """A linear layer whose weights start normal with deviation 0.02, its bias 0."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        _initialise(self)


class OwnStart:
    """A layer whose weights start in a way of its own, whatever the network's `init` (see `space.initial`)."""


class Pointwise(Linear):
    """A linear layer over the channels of each position: [N, C, H, W] -> [N, width, H, W], weight [width, C].

    Works on a view in channels_last order, which costs no copy there and is as fast as a 1x1 convolution or faster.
    `convolution` says that its authors wrote one; only its initial weights may differ (see `space.initial`).
    """

    def __init__(self, in_width: int, width: int, *, bias: bool = True, convolution: bool = False) -> None:
        self.convolution = convolution
        super().__init__(in_width, width, bias=bias)  # pyright: ignore[reportUnknownMemberType]

    def forward(self, input: Tensor) -> Tensor:
        """Mix the channels of each position."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def out_side(side: int, kernel_size: int, stride: int, padding: int) -> int:
    """Return the pixels along one side that a `Reducing` convolution leaves of `side` pixels, at least 1."""
    return max(side + 2 * padding - kernel_size, 0) // stride + 1


def out_size(size: Size, kernel_size: int, stride: int, padding: int) -> Size:
    """Return the size of the map that a `Reducing` convolution writes."""
    return out_side(size[0], kernel_size, stride, padding), out_side(size[1], kernel_size, stride, padding)


class Reducing(Conv2d):
    """A strided convolution that also takes maps smaller than its kernel, filled up with zeros below and right.

    [N, C, H, W] -> [N, width, h, w] with (h, w) = out_size((H, W), ...). With `fan_in` weights start as PyTorch's
    own convolutions do (uniform, bounded by the square root of 1 / fan-in), bias included.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        kernel_size: int,
        stride: int,
        padding: int,
        *,
        groups: int = 1,
        bias: bool = True,
        fan_in: bool = False,
    ) -> None:
        self.fan_in = fan_in
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            in_width, width, kernel_size, stride, padding, groups=groups, bias=bias
        )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        if self.fan_in:
            nn.Conv2d.reset_parameters(self)
        else:
            super().reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """Fill up where needed, then convolve."""
        below, right = (
            max(k - 2 * int(p) - side, 0)
            for k, p, side in zip(self.kernel_size, self.padding, input.shape[2:], strict=True)
        )
        if below or right:
            input = F.pad(input, (0, right, 0, below))
        return super().forward(input)


class LayerNorm2d(nn.Module):
    """Normalise the channels of each position, then scale and shift them. [N, C, H, W] -> the same."""

    def __init__(self, width: int, eps: float, *, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position."""
        return layer_norm2d(x, self.weight, self.bias, eps=self.eps)


class RmsNorm2d(nn.Module):
    """Divide the channels of each position by the root of their mean square, then scale. [N, C, H, W] -> the same."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position."""
        y = F.rms_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.eps)
        return y.permute(0, 3, 1, 2)


class MapNorm(nn.Module):
    """Normalise each image's whole map (channels, height and width together). [N, C, H, W] -> the same."""

    def __init__(self, width: int, eps: float, *, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each image."""
        return F.group_norm(x, 1, self.weight, self.bias, self.eps)


class StarReLU(nn.Module):
    """s * relu(x)**2 + b with learnable scalars s, at first 1, and b, at first 0 (arXiv:2210.13452)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply element by element."""
        return self.scale * F.relu(x).square() + self.bias


class SquaredReLU(nn.Module):
    """relu(x)**2 (Primer, arXiv:2109.08668, sec. 4)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply element by element."""
        return F.relu(x).square()


class Grn(nn.Module):
    """Global response normalisation (ConvNeXt V2, arXiv:2301.00808): channels compete by L2 norm.

    x + weight * x * norm / (mean of the norms + 1e-6) + bias, at first the identity. [N, C, H, W] -> the same.
    """

    eps = 1e-6

    def __init__(self, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Compare each channel's norm over the map with the others'."""
        return global_response_norm(x, self.weight, self.bias, eps=self.eps)


class SqueezeExcite(nn.Module):
    """Scale each channel by a number in (0, 1) told from all means (arXiv:1709.01507). [N, C, H, W] -> the same."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down = Pointwise(width, hidden, convolution=True)
        self.up = Pointwise(hidden, width, convolution=True)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze the map to its means, excite the channels."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * self.up(F.relu(self.down(means))).sigmoid()


class Guided(nn.Module):
    """A mixer's module that takes a second map: forward(x, guide=None); None: x guides itself."""


class TwoMaps(nn.Module):
    """A head's module that takes a second map: forward(x, lower), lower being what led into the last stage."""


class OncePerBatch(nn.Module):
    """A module that also works once for all images of a batch, as in making a kernel from its weights."""


class Recurrent(nn.Module):
    """A mixer's module that can also take the positions of its route one after the other, from a state.

    `start(batch)` returns the state before the first position; `step(x, state)` takes the next, [N, C] -> [N, C], and
    returns the state after it.
    """

    def start(self, batch: int) -> Any:
        """Return the state of `batch` sequences before their first position."""
        raise NotImplementedError

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take the next position of each sequence."""
        raise NotImplementedError


class Scale(nn.Module):
    """Multiply each channel by a learnable number: layer and residual scales. [N, C, H, W] -> the same."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel."""
        return x * self.scale[:, None, None]


class DropPath(nn.Module):
    """Set the branch of whole images to 0 at `rate`, the others divided by 1 - rate, in training (arXiv:1603.09382)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop images at random; the identity in eval mode and at rate 0."""
        if not self.training or self.rate == 0:
            return x
        kept = 1 - self.rate
        mask = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(kept)
        return x * (mask / kept if kept > 0 else mask)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate}"
