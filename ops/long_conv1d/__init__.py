"""Long convolution: a causal convolution as long as its sequence, by Fourier transforms."""

# ruff: noqa: N803

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.fourier import transform_length
from ops.shapes import expect

__all__ = ["long_conv1d"]


def long_conv1d(u: Tensor, kernel: Tensor, D: Tensor | None = None, *, ahead: Tensor | None = None) -> Tensor:
    """Convolve each channel with its own causal kernel, y_t = sum_(j <= t) kernel_j u_(t - j), and add D * u.

    With `ahead`, add sum_j ahead_j u_(t + 1 + j): a second kernel for what comes, which starts at the next position, so
    that none is taken twice.

    Shapes:  u [B, H, L], kernel and ahead [H, K], D [H] -> [B, H, L]; any strides, K may be shorter or longer than L.
    Dtypes:  output as u; computed in the widest of all dtypes, at least fp32.
    Cost:    O((L + K) log(L + K)) a channel; no products of matrices.
    Raises:  ValueError if a shape differs.
    Source:  the convolutional form of S4, arXiv:2111.00396, sec. 2.4; both directions as in state-spaces/s4@e757cef;
             implementation our own.
    """
    expect("long_conv1d", "u", u, ("B", "H", "L"))
    width, length = u.shape[1:]
    dtype = u.dtype
    for name, taps in (("kernel", kernel), ("ahead", ahead)):
        if taps is not None:
            expect("long_conv1d", name, taps, (width, "K"))
            dtype = torch.promote_types(dtype, taps.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    values, taps = u.to(dtype), kernel[:, :length].to(dtype)
    later = None if ahead is None else ahead[:, :length].to(dtype)
    size = transform_length(length + max(taps.shape[1], 0 if later is None else later.shape[1]))
    if later is not None:
        # what lies before position 0 is the end of the circle
        taps = F.pad(taps, (0, size - taps.shape[1])) + F.pad(later.flip(1), (size - later.shape[1], 0))
    spectrum = torch.fft.rfft(values, n=size) * torch.fft.rfft(taps, n=size)
    out = torch.fft.irfft(spectrum, n=size)[..., :length]
    if D is not None:
        expect("long_conv1d", "D", D, (width,))
        out = out + D.to(dtype)[:, None] * values
    return out.to(u.dtype)
