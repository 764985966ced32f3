"""The length of a Fourier transform, where any that is long enough will do."""

from __future__ import annotations

import torch

__all__ = ["transform_length"]


def transform_length(least: int) -> int:
    """Return `least`, or in a program that is being exported the next power of 2.

    onnxruntime 1.32's transforms keep the digits of their dtype for powers of 2 only; fp32 ones of other lengths were
    off by 5e-5 of the largest value at 392 and by 1e-3 at 6272, inverse fp64 ones by 2e-8.
    """
    return 1 << (least - 1).bit_length() if torch.compiler.is_exporting() else least
