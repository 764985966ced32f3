"""Stems: from an image to the first feature map, all members of the family."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, convolution, linear
from space.families import Norm, Stem
from space.layers import INITIAL_DEVIATION, Conv2d, Pointwise, Reducing, out_size
from space.norms import BatchNorm, LayerNorm, NoNorm


class ConvNorm(nn.Module):
    """A strided convolution, then a norm."""

    def __init__(self, conv: Reducing, norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise."""
        return self.norm(self.conv(x))


class Patchify(Stem):
    """A convolution over patches that do not overlap, then a norm (ConvNeXt, arXiv:2201.03545, sec. 2.2)."""

    kind: Literal["patchify"] = "patchify"
    patch: Annotated[int, Field(ge=1, le=32)] = 4
    """Side of a patch in pixels, and the stride. Pixels left over at the lower and right edge are not seen."""
    norm: Norm = LayerNorm()

    def build(self, in_channels: int, width: int) -> nn.Module:
        """Return a module [N, in_channels, H, W] -> [N, width, H // patch, W // patch]."""
        return ConvNorm(Reducing(in_channels, width, self.patch, self.patch, 0), self.norm.build(width))

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for an image of (H, W)."""
        return out_size(size, self.patch, self.patch, 0)

    def cost(self, in_channels: int, width: int, size: Size) -> Cost:
        """Return the cost on an image of `size`."""
        return convolution(in_channels, width, self.patch, self.out_size(size)) + self.norm.cost(width)


class OverlappingPatch(Stem):
    """A convolution whose kernel is larger than its stride, then a norm (PoolFormer, arXiv:2111.11418, sec. 3.2)."""

    kind: Literal["overlapping_patch"] = "overlapping_patch"
    kernel_size: Annotated[int, Field(ge=1, le=61)] = 7
    stride: Annotated[int, Field(ge=1, le=32)] = 4
    padding: Annotated[int, Field(ge=0, le=30)] = 2
    """Zeros added at each edge, in pixels."""
    norm: Norm = LayerNorm()
    init: Literal["normal", "fan_in"] = "normal"
    """How the convolution starts: normal with deviation 0.02, or as PyTorch's own convolutions (PoolFormer)."""

    def build(self, in_channels: int, width: int) -> nn.Module:
        """Return a module [N, in_channels, H, W] -> [N, width, h, w]."""
        fan_in = self.init == "fan_in"
        conv = Reducing(in_channels, width, self.kernel_size, self.stride, self.padding, fan_in=fan_in)
        return ConvNorm(conv, self.norm.build(width))

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for an image of (H, W)."""
        return out_size(size, self.kernel_size, self.stride, self.padding)

    def cost(self, in_channels: int, width: int, size: Size) -> Cost:
        """Return the cost on an image of `size`."""
        return convolution(in_channels, width, self.kernel_size, self.out_size(size)) + self.norm.cost(width)


class ConvStack(nn.Module):
    """Strided convolutions, each with a norm, an activation between two of them."""

    def __init__(self, convs: list[Reducing], norms: list[nn.Module], acts: list[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(norms)
        self.acts = nn.ModuleList(acts)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the map layer by layer."""
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x if index == 0 else self.acts[index - 1](x)))
        return x


class Convolutional(Stem):
    """3x3 convolutions of stride 2 whose widths double up to the first stage's (arXiv:2106.14881, sec. 4)."""

    kind: Literal["convolutional"] = "convolutional"
    layers: Annotated[int, Field(ge=1, le=5)] = 2
    """Number of convolutions; the stride of the stem is 2 to this power."""
    norm: Norm = LayerNorm()
    """The norm after each convolution."""
    act: Activation = "gelu"
    """The activation between two convolutions."""

    def widths(self, width: int) -> list[int]:
        """Return the width after each layer; each is half the next, rounded down, at least 1."""
        return [max(1, width >> (self.layers - 1 - i)) for i in range(self.layers)]

    def build(self, in_channels: int, width: int) -> nn.Module:
        """Return a module [N, in_channels, H, W] -> [N, width, h, w]."""
        widths = self.widths(width)
        convs = [Reducing(a, b, 3, 2, 1) for a, b in zip([in_channels, *widths], widths, strict=False)]
        norms = [self.norm.build(w) for w in widths]
        return ConvStack(convs, norms, [activation(self.act) for _ in widths[1:]])

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for an image of (H, W)."""
        for _ in range(self.layers):
            size = out_size(size, 3, 2, 1)
        return size

    def cost(self, in_channels: int, width: int, size: Size) -> Cost:
        """Return the cost on an image of `size`."""
        total = Cost(activation_params(self.act) * (self.layers - 1))
        for here in self.widths(width):
            size = out_size(size, 3, 2, 1)
            total += convolution(in_channels, here, 3, size) + self.norm.cost(here)
            in_channels = here
        return total


class SeparableStem(nn.Module):
    """Strided convolution, depthwise, pointwise, strided depthwise, each with norm and activation."""

    def __init__(self, convs: list[nn.Module], norms: list[nn.Module], acts: list[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(norms)
        self.acts = nn.ModuleList(acts)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the map twice."""
        for conv, norm, act in zip(self.convs, self.norms, self.acts, strict=True):
            x = act(norm(conv(x)))
        return x


class Separable(Stem):
    """A strided convolution, then a depthwise, a pointwise and a strided depthwise one (RepLKNet, arXiv:2203.06717)."""

    kind: Literal["separable"] = "separable"
    norm: Norm = BatchNorm()
    """The norm after each convolution."""
    act: Activation = "relu"
    """The activation after each norm."""

    def build(self, in_channels: int, width: int) -> nn.Module:
        """Return a module [N, in_channels, H, W] -> [N, width, h, w]."""
        convs: list[nn.Module] = [
            Reducing(in_channels, width, 3, 2, 1, bias=False),
            Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            Pointwise(width, width, bias=False, convolution=True),
            Reducing(width, width, 3, 2, 1, groups=width, bias=False),
        ]
        return SeparableStem(convs, [self.norm.build(width) for _ in convs], [activation(self.act) for _ in convs])

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for an image of (H, W): a quarter of it, rounded up twice."""
        return out_size(out_size(size, 3, 2, 1), 3, 2, 1)

    def cost(self, in_channels: int, width: int, size: Size) -> Cost:
        """Return the cost on an image of `size`."""
        half, quarter = out_size(size, 3, 2, 1), self.out_size(size)
        total = convolution(in_channels, width, 3, half, bias=False)
        total += convolution(width, width, 3, half, groups=width, bias=False)
        total += linear(width, width, half[0] * half[1], bias=False)
        total += convolution(width, width, 3, quarter, groups=width, bias=False)
        return total + (self.norm.cost(width) + Cost(activation_params(self.act))) * 4


class EmbeddedPatches(nn.Module):
    """Patches in a row, learnable tokens before them, plus what says where each stands. [N, K, H, W] -> [N, C, L, 1].

    `position` holds the embeddings of the tokens, then those of a square grid of patches row by row; images of another
    size read them by bicubic interpolation, as DeiT is brought to larger images (arXiv:2012.12877, sec. 3).
    """

    def __init__(self, conv: Reducing, norm: nn.Module, width: int, tokens: int, grid: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.grid = grid
        self.token = nn.Parameter(torch.empty(tokens, width))
        self.position = nn.Parameter(torch.empty(tokens + grid * grid, width))
        for parameter in (self.token, self.position):
            nn.init.trunc_normal_(parameter, std=INITIAL_DEVIATION)

    def forward(self, x: Tensor) -> Tensor:
        """Embed the patches and put them in a row."""
        x = self.norm(self.conv(x))
        tokens = self.token + self.position[: self.token.shape[0]]
        patches = x.flatten(2).mT + self._positions(x.shape[2], x.shape[3])
        # channels side by side, as every layer after takes them
        return torch.cat([tokens.expand(x.shape[0], -1, -1), patches], dim=1).mT[..., None]

    def _positions(self, height: int, width: int) -> Tensor:
        """Return the embeddings of a grid of patches [height * width, C]."""
        grid = self.position[self.token.shape[0] :]
        if (height, width) == (self.grid, self.grid):
            return grid
        square = grid.T.reshape(1, -1, self.grid, self.grid)
        return F.interpolate(square, (height, width), mode="bicubic", align_corners=False)[0].flatten(1).T


class PatchSequence(Stem):
    """Patches in a row behind class tokens, with learnable position embeddings (ViT, arXiv:2010.11929, eq. 1).

    Its map is a column of positions: the class tokens, then the patches row by row. It keeps one resolution, and suits
    mixers for sequences.
    """

    kind: Literal["patch_sequence"] = "patch_sequence"
    patch: Annotated[int, Field(ge=1, le=32)] = 16
    """Side of a patch in pixels, and the stride. Pixels left over at the lower and right edge are not seen."""
    class_tokens: Annotated[int, Field(ge=0, le=16)] = 1
    """Learnable tokens before the patches: one in ViT, with the distillation token two in DeiT (arXiv:2012.12877)."""
    grid: Annotated[int, Field(ge=1, le=256)] = 14
    """Patches along a side of the images that the position embeddings are for; other sizes interpolate between them."""
    norm: Norm = NoNorm()
    """The norm of the embedded patches."""

    def build(self, in_channels: int, width: int) -> nn.Module:
        """Return a module [N, in_channels, H, W] -> [N, width, class_tokens + h * w, 1]."""
        conv = Reducing(in_channels, width, self.patch, self.patch, 0)
        return EmbeddedPatches(conv, self.norm.build(width), width, self.class_tokens, self.grid)

    def patches(self, size: Size) -> Size:
        """Return the rows and columns of patches in an image of (H, W)."""
        return out_size(size, self.patch, self.patch, 0)

    def out_size(self, size: Size) -> Size:
        """Return (class_tokens + h * w, 1) for an image of (H, W)."""
        height, width = self.patches(size)
        return self.class_tokens + height * width, 1

    def in_a_row(self) -> bool:
        """Return True."""
        return True

    def tokens(self) -> int:
        """Return the number of class tokens."""
        return self.class_tokens

    def cost(self, in_channels: int, width: int, size: Size) -> Cost:
        """Return the cost on an image of `size`."""
        learned = width * (2 * self.class_tokens + self.grid**2)
        return convolution(in_channels, width, self.patch, self.patches(size)) + self.norm.cost(width) + Cost(learned)
