"""The same function by Fourier transforms, where there is no native library and kernels are large.

Products of spectra cost the same for every kernel. PyTorch's weight gradient of a depthwise convolution is slow from
5 x 5 on, its other passes only for larger kernels, so the transform may take the weight gradient alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ops.depthwise_conv2d.reference import reference
from ops.depthwise_conv2d.small_maps import reachable, spread

BUFFER = 1 << 20
"""Elements of a part of the batch's spectra, so that they stay in a CPU's cache."""


def spectral(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1, *, gradient_only: bool = False
) -> Tensor:
    """Convolve as the reference does; with `gradient_only` only the weight gradient goes by transforms."""
    weight = reachable(spread(weight, dilation) if dilation > 1 else weight, *x.shape[2:])
    out = _Spectral.apply(x, weight, gradient_only)
    return out if bias is None else out + bias.view(1, -1, 1, 1)


class _Spectral(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gradient_only: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gradient_only = gradient_only
        if gradient_only:
            return reference(x, weight)
        out, (height, width), size = torch.empty_like(x), x.shape[2:], _sizes(x, weight)
        kernel = torch.fft.rfft2(weight[:, 0], size).conj_physical()
        for images in _parts(x, size):
            out[images] = torch.fft.irfft2(_padded(x[images], weight, size).mul_(kernel), size)[..., :height, :width]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable(grads[0], x, weight, [*ctx.needs_input_grad[:2], False]), None
        of_x, of_weight = ctx.needs_input_grad[:2]
        d_x = _plain(grads[0], x, weight, [True, False, False])[0] if of_x and ctx.gradient_only else None
        return *_gradients(grads[0], x, weight, d_x, of_x, of_weight), None


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, d_x: Tensor | None, of_x: bool, of_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients that are wanted; that of x is taken as it is if given."""
    (height, width), (tall, wide), size = x.shape[2:], weight.shape[2:], _sizes(x, weight)
    by_spectrum = of_x and d_x is None
    d_x = torch.empty_like(x) if by_spectrum else d_x
    kernel = torch.fft.rfft2(weight[:, 0], size) if by_spectrum else None
    total = torch.zeros(())
    for images in _parts(x, size) if by_spectrum or of_weight else ():
        spectrum = torch.fft.rfft2(grad[images].contiguous(), size)
        if of_weight:
            total = total + _padded(x[images], weight, size).mul_(spectrum.conj_physical()).sum(0)
        if by_spectrum and d_x is not None:
            found = torch.fft.irfft2(spectrum.mul_(kernel), size)
            d_x[images] = found[..., tall // 2 : tall // 2 + height, wide // 2 : wide // 2 + width]
    return d_x, torch.fft.irfft2(total, size)[:, None, :tall, :wide] if of_weight else None


def _plain(grad: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor | None, ...]:
    """Return PyTorch's own gradients of x and weight."""
    padding = [side // 2 for side in weight.shape[2:]]
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], x.shape[1], wanted
    )


def _differentiable(grad: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Tensor | None, ...]:
    return _plain(grad, x, weight, wanted)[:2]


def _padded(x: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the spectrum of x [N, C, H, W] with zeros above and to its left, half a kernel of them."""
    return torch.fft.rfft2(F.pad(x.contiguous(), (weight.shape[3] // 2, 0, weight.shape[2] // 2, 0)), size)


def _parts(x: Tensor, size: tuple[int, int]) -> list[slice]:
    step = max(1, BUFFER // (x.shape[1] * size[0] * size[1]))
    return [slice(start, start + step) for start in range(0, len(x), step)]


def _sizes(x: Tensor, weight: Tensor) -> tuple[int, int]:
    """Lengths of the transforms: what wraps around falls on zeros or is cut off."""
    return _fast(x.shape[2] + weight.shape[2] // 2), _fast(x.shape[3] + weight.shape[3] // 2)


@lru_cache(maxsize=256)
def _fast(least: int) -> int:
    """Return the first number from `least` on without prime factors above 5: transforms of such lengths are fast."""
    for length in range(least, 2 * least + 1):
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
    return least
