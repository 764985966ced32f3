"""Kernels as PyTorch operators without a GPU: the operators of a device, run by the interpreter on CPU tensors."""

from __future__ import annotations

from typing import Any

from torch._library.custom_ops import CustomOpDef

from ops.proof.interpreter import interpreted

_registered: set[int] = set()


def on_cpu(*operators: CustomOpDef) -> None:
    """Let operators made for GPUs take CPU tensors in this process, their kernels interpreted.

    So autograd, double backward, autocast, `opcheck` and torch.compile are tested as they are on a device. Public
    functions still choose by the device: call what they call there.
    """
    for operator in operators:
        if id(operator) not in _registered:
            operator.register_kernel("cpu", _interpreted(operator._init_fn))
            _registered.add(id(operator))


def _interpreted(function: Any) -> Any:
    def run(*arguments: Any, **named: Any) -> Any:
        with interpreted(count=False):
            return function(*arguments, **named)

    return run
