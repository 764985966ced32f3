"""Long convolution: a causal convolution as long as its sequence, by Fourier transforms."""

# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor

from ops.shapes import expect

__all__ = ["long_conv1d"]


def long_conv1d(u: Tensor, kernel: Tensor, D: Tensor | None = None) -> Tensor:
    """Convolve each channel with its own causal kernel, y_t = sum_(j <= t) kernel_j u_(t - j), and add D * u.

    Shapes:  u [B, H, L], kernel [H, K], D [H] -> [B, H, L]; any strides, K may be shorter or longer than L.
    Dtypes:  output as u; computed in the widest of all dtypes, at least fp32.
    Cost:    O((L + K) log(L + K)) a channel; no products of matrices.
    Raises:  ValueError if a shape differs.
    Source:  the convolutional form of S4, arXiv:2111.00396, sec. 2.4; implementation our own.
    """
    expect("long_conv1d", "u", u, ("B", "H", "L"))
    width, length = u.shape[1:]
    expect("long_conv1d", "kernel", kernel, (width, "K"))
    dtype = torch.promote_types(torch.promote_types(u.dtype, kernel.dtype), torch.float32)
    values, taps = u.to(dtype), kernel[:, :length].to(dtype)
    size = length + taps.shape[1]
    spectrum = torch.fft.rfft(values, n=size) * torch.fft.rfft(taps, n=size)
    out = torch.fft.irfft(spectrum, n=size)[..., :length]
    if D is not None:
        expect("long_conv1d", "D", D, (width,))
        out = out + D.to(dtype)[:, None] * values
    return out.to(u.dtype)
