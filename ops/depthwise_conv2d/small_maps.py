"""The same function on a CPU and small maps, where PyTorch's weight gradient is slow.

Taps that never meet a map are left out: a kernel of 31 on 4 x 4 positions has 7 x 7 taps that count. Where the taps are
many against the positions, each channel's convolution is then one [positions, positions] matrix, and three products of
matrices replace forward pass and both gradients. Both steps are exact but for the order of sums.

Measured (1 thread, AVX2, fp32, forward and backward, batch 64): 48 channels at 4 x 4, kernel 7: 5.5 -> 1.4 ms;
kernel 31: 51 -> 1.5 ms; 192 channels at 1 x 1, kernel 7: 16 -> 0.2 ms; 64 channels at 14 x 14, kernel 21: 187 -> 61 ms.
Dilated kernels, batch 32: 64 channels at 4 x 4, kernel 7 at dilation 3: 11 -> 1.4 ms; 32 at 8 x 8: 13 -> 2.2 ms.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.depthwise_conv2d.reference import reference

LARGEST_MAP = 256
"""Positions beyond which a matrix of all pairs is no gain."""
PAYS = 1.3
"""A matrix pays while the positions are fewer than so many times the taps; measured between 1.2 and 1.6."""


TINY_MAP, SMALL_MAP, MANY_TAPS = 16, 64, 25
"""Positions up to which a dilated kernel pays as a matrix whatever its taps, and with that many taps or more."""


def small_maps(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1) -> Tensor:
    """Convolve as the reference does, by the cheaper of two ways. See the public function."""
    height, width = x.shape[2:]
    if dilation > 1:
        if height * width > (SMALL_MAP if weight.shape[2] * weight.shape[3] >= MANY_TAPS else TINY_MAP):
            return reference(x, weight, bias, dilation)
        weight = spread(weight, dilation)
    weight = reachable(weight, height, width)
    positions, taps = height * width, weight.shape[2] * weight.shape[3]
    if positions > LARGEST_MAP or (positions >= PAYS * taps and positions > 1):
        return reference(x, weight, bias)
    out = x * weight.view(1, -1, 1, 1) if positions == 1 else _as_matrices(x, weight)
    return out if bias is None else out + bias.view(1, -1, 1, 1)


def spread(weight: Tensor, dilation: int) -> Tensor:
    """Return kernels [C, 1, K, L] of that dilation as ordinary ones with zeros between the taps."""
    sides = (dilation * (weight.shape[2] - 1) + 1, dilation * (weight.shape[3] - 1) + 1)
    out = weight.new_zeros(*weight.shape[:2], *sides)
    out[:, :, ::dilation, ::dilation] = weight
    return out


def reachable(weight: Tensor, height: int, width: int) -> Tensor:
    """Return the taps of [C, 1, K, L] that can meet a map: at most 2 * height - 1 by 2 * width - 1."""
    down, across = max(weight.shape[2] // 2 - height + 1, 0), max(weight.shape[3] // 2 - width + 1, 0)
    return weight[:, :, down : weight.shape[2] - down, across : weight.shape[3] - across]


def _as_matrices(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply each channel's positions by its matrix. x [N, C, H, W], weight [C, 1, K, L] -> [N, C, H, W]."""
    count, channels, height, width = x.shape
    positions = height * width
    taps = F.pad(weight.reshape(channels, -1), (0, 1)).t()
    matrices = taps.index_select(0, _tap_of(height, width, weight.shape[2], weight.shape[3]))
    matrices = matrices.view(positions, positions, channels).permute(2, 0, 1)
    rows = x.permute(1, 0, 2, 3).reshape(channels, count, positions)
    out = torch.bmm(rows, matrices)
    return out.permute(1, 2, 0).reshape(count, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _tap_of(height: int, width: int, tall: int, wide: int) -> Tensor:
    """Return for each pair (input position, output position) the tap that joins them; tall * wide: none does."""
    down = torch.arange(height)[:, None] - torch.arange(height)[None, :] + tall // 2
    across = torch.arange(width)[:, None] - torch.arange(width)[None, :] + wide // 2
    joined = ((down >= 0) & (down < tall))[:, None, :, None] & ((across >= 0) & (across < wide))[None, :, None, :]
    taps = down[:, None, :, None] * wide + across[None, :, None, :]
    return torch.where(joined, taps, tall * wide).flatten()
