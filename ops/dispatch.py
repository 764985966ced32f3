"""Which implementation computes an operator: one rule for all of them, one variable that overrides it.

While a program is exported it is always the reference, plain PyTorch that every runtime knows. Otherwise, in this
order: what the caller asks for; what the environment's NAS_OPS asks for; on a GPU our Triton kernel, where the
operator has one for these tensors and Triton can be imported; on a CPU the native library for float32 tensors, where
there is a compiler to build it; and else the best way through PyTorch's own functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from ops.kernel import POINTERS, no_triton
from ops.native import missing

Impl = Literal["reference", "pytorch", "native", "triton"]
"""`reference`: the law, in plain PyTorch. `pytorch`: the best way without code of our own. `native`: our C++ on a CPU.
`triton`: our kernels on a GPU."""
VARIABLE = "NAS_OPS"
DEVICES = ("cuda", "xpu")
"""Where Triton kernels run; ROCm's devices are called cuda."""


def implementation(
    operator: str, asked: Impl | None, *tensors: Tensor | None, kernel: bool | Callable[[], bool] = False
) -> Impl:
    """Return which implementation takes these tensors; the first one says on which device.

    `kernel` says whether the operator has a Triton kernel for tensors of these shapes; a function is asked only on a
    GPU and never while exporting, when a question about a size would fix it. Raises ValueError if the caller
    or the environment asks for what cannot be had: an unknown name, or (as an argument only) the native library or
    Triton for other tensors, or either on a machine without it.
    """
    if torch.compiler.is_exporting():
        return "reference"
    wanted = asked or _of_environment()
    if wanted is not None and wanted not in get_args(Impl):
        source = "impl" if asked else VARIABLE
        raise ValueError(f"{operator}: {source} {wanted!r}, allowed: {', '.join(get_args(Impl))}")
    if wanted in ("reference", "pytorch"):
        return wanted
    found: Impl = "triton" if _on_device(*tensors) else "native"
    kernel = found == "triton" and (kernel() if callable(kernel) else kernel)
    fitting = _fits(*tensors) if found == "native" else kernel and not _transformed()
    if asked and not (fitting and asked == found):
        raise ValueError(f"{operator}: {_refusal(asked, tensors, kernel)}")
    if not fitting or wanted not in (None, found):
        return "pytorch"
    reason = missing() if found == "native" else no_triton()
    if wanted and reason:
        what = "native library" if found == "native" else "triton"
        raise ValueError(f"{operator}: no {what}, {reason}; allowed: reference, pytorch")
    return "pytorch" if reason else found


@torch.compiler.assume_constant_result
def _of_environment() -> Impl | None:
    return cast("Impl | None", os.environ.get(VARIABLE) or None)


def _fits(*tensors: Tensor | None) -> bool:
    """Whether the native library takes these tensors, outside of functional transforms."""
    if any(t is not None and (t.dtype != torch.float32 or t.device.type != "cpu") for t in tensors):
        return False
    return not _transformed()


def _on_device(*tensors: Tensor | None) -> bool:
    """Whether Triton takes tensors of these dtypes and devices."""
    return all(t is None or (t.dtype in POINTERS and t.device.type in DEVICES) for t in tensors)


def _transformed() -> bool:
    # no public name asks this
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def _refusal(asked: Impl, tensors: tuple[Tensor | None, ...], kernel: bool) -> str:
    first = next(t for t in tensors if t is not None)
    allowed = "float32 on cpu" if asked == "native" else f"float32, bfloat16, float16 on {' or '.join(DEVICES)}"
    if asked == "triton" and not kernel and _on_device(*tensors):
        return f"impl 'triton' for {tuple(first.shape)}, allowed: what its kernel takes"
    return f"impl {asked!r} for {first.dtype} on {first.device}, allowed: {allowed}"
