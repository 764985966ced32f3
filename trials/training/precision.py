"""Half precision, only where the device gains from it."""

from __future__ import annotations

import torch


def half_type(device: str) -> torch.dtype | None:
    """Return the half-precision type worth using on `device`: bf16, else fp16 on CUDA, None elsewhere."""
    if torch.device(device).type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: str, amp: bool) -> torch.autocast:
    """Return the context in which the network computes: half precision if asked for and worth it, else none."""
    dtype = half_type(device) if amp else None
    return torch.autocast(torch.device(device).type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
