"""Which implementation computes an operator: one rule for all of them, one variable that overrides it.

While a program is exported it is always the reference, plain PyTorch that every runtime knows. Otherwise, in this
order: what the caller asks for; what the environment's NAS_OPS asks for; on a CPU the native library for float32
tensors, where there is a compiler to build it; and else the best way through PyTorch's own functions.
"""

from __future__ import annotations

import os
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from ops.native import missing

Impl = Literal["reference", "pytorch", "native"]
"""`reference`: the law, in plain PyTorch. `pytorch`: the best way without code of our own. `native`: our C++."""
VARIABLE = "NAS_OPS"


def implementation(operator: str, asked: Impl | None, *tensors: Tensor | None) -> Impl:
    """Return which implementation takes these tensors; the first one says on which device.

    Raises ValueError if the caller or the environment asks for what cannot be had: an unknown name, or the native
    library for other tensors (as an argument only) or on a machine without a compiler.
    """
    if torch.compiler.is_exporting():
        return "reference"
    wanted = asked or _of_environment()
    if wanted is not None and wanted not in get_args(Impl):
        source = "impl" if asked else VARIABLE
        raise ValueError(f"{operator}: {source} {wanted!r}, allowed: {', '.join(get_args(Impl))}")
    if wanted in ("reference", "pytorch"):
        return wanted
    fitting = _fits(*tensors)
    if asked == "native" and not fitting:
        first = next(t for t in tensors if t is not None)
        raise ValueError(f"{operator}: impl 'native' for {first.dtype} on {first.device}, allowed: float32 on cpu")
    if not fitting:
        return "pytorch"
    reason = missing()
    if wanted == "native" and reason:
        raise ValueError(f"{operator}: no native library, {reason}; allowed: reference, pytorch")
    return "pytorch" if reason else "native"


@torch.compiler.assume_constant_result
def _of_environment() -> Impl | None:
    return cast("Impl | None", os.environ.get(VARIABLE) or None)


def _fits(*tensors: Tensor | None) -> bool:
    """Whether the native library takes these tensors, outside of functional transforms."""
    if any(t is not None and (t.dtype != torch.float32 or t.device.type != "cpu") for t in tensors):
        return False
    # no public name asks this
    return torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active()
