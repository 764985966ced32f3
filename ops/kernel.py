"""How an operator gets a Triton kernel, and what every kernel file declares about its kernels.

An operator is a package; `ops/layer_norm2d` is the smallest complete one:

    __init__.py    the public function: checks shapes, asks `ops.dispatch` and calls one of the others
    reference.py   the law, plain PyTorch: any device and dtype, differentiable twice, exportable
    kernel.py      @triton.jit functions, their launchers `forward` and `backward`, CONFIGURATIONS and MOVEMENTS;
                   a second kernel file is called kernel_<what>.py
    registered.py  the launchers as `torch.library.custom_op`s for "cuda" (which ROCm is, too) and "xpu":
                   register_fake returns the strides that the kernel writes, register_autograd's backward is a
                   second custom operator, whose own autograd goes through the reference (`ops.double_backward`)

Only kernel files import triton, and they are imported inside the custom operators' bodies, so that everything else
works without it. A launcher allocates with torch.empty, takes a `Configuration` from a table by a pure function
`configuration(...)` of shape and dtype, and calls its `launch`. The same object is compiled ahead of time for the
report and run by the interpreter in the tests, so what is proven is what is launched:

*   There is nothing to autotune: what can be chosen is listed in CONFIGURATIONS, and everything listed can be chosen.
*   Triton compiles anew where an integer is 1 or divisible by 16 or a pointer is aligned. So that what is launched is
    what was declared, integers are listed in @triton.jit(do_not_specialize=[...]), a constexpr says what is divisible
    (`if VECTOR: width = width // 16 * 16` gives 128-bit loads), and pointers are aligned: `aligned(x)`.
*   Products of float32 are not those of the reference unless tl.dot has input_precision="ieee" or "tf32x3".
*   A masked load without `other` returns anything; the interpreter returns NaN there.
*   Mixed types: what is read in bf16 is computed in float32 after `.to(tl.float32)` and rounded at the store.
*   No libdevice: write tanh(x) as 2 * sigmoid(2 * x) - 1, and use tl.exp2, tl.erf.

The proofs, for every kernel (`tests/ops/test_layer_norm2d_kernel.py` is the pattern):

1.  `with interpreted() as run:` runs launchers on CPU tensors: inputs by `run.guarded(x)`, outputs against the
    reference in float64. An access outside of an argument's own elements, a write beside a buffer, and programs that
    touch what another one wrote raise MemoryFault. `run.traffic` counts bytes.
2.  `python benchmarks/kernel_report.py` compiles CONFIGURATIONS for every target and writes registers, spills and
    instructions to benchmarks/kernel_report.md, and the bytes of MOVEMENTS; tests hold them to `limits` and `most`.
3.  `on_cpu(*operators)` lets the custom operators take CPU tensors, interpreted: `opcheck`, gradients, double
    backward, autocast and compile; shapes and strides of the device's path under FakeTensorMode with device="cuda".
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = [
    "CONVOLUTION",
    "POINTERS",
    "REGISTER_TILED",
    "STREAMING",
    "Configuration",
    "Limits",
    "Movement",
    "aligned",
    "discovered",
    "movements",
    "no_triton",
]

POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
"""The dtypes of kernels, as Triton writes pointers to them."""


@dataclass(frozen=True)
class Limits:
    """What a compiled kernel must keep; none may spill a byte on any target."""

    name: str
    registers: int
    """Most registers of a thread on NVIDIA's targets. AMD's have four times as many for wavefronts twice as wide: the
    limit there is 256, two wavefronts on each SIMD, for all kernels."""
    products_per_load: float = 0.0
    """Least FFMA instructions per load instruction from global memory, unless tensor cores multiply."""


STREAMING = Limits("streaming", 128)
"""Kernels that are bound by memory: four blocks of 128 threads on each multiprocessor keep enough bytes in flight."""
REGISTER_TILED = Limits("register-tiled", 168)
"""Kernels that keep a tile of results in registers."""
CONVOLUTION = Limits("convolution", 168, 7.0)
"""Register-tiled convolutions: each value that is loaded is used many times."""


@dataclass(frozen=True, eq=False)
class Configuration:
    """One way to compile a kernel: what it is launched with, reported with and interpreted with."""

    name: str
    """Unique within the operator, e.g. "forward bf16 128x32"."""
    kernel: Any
    """The @triton.jit function."""
    types: Mapping[str, str]
    """Triton's type of each argument that is not constexpr, e.g. {"x": "*bf16", "width": "i32", "eps": "fp32"}."""
    constants: Mapping[str, Any]
    """The constexpr arguments."""
    limits: Limits
    num_warps: int = 4
    num_stages: int = 1
    wavefronts: int = 0
    """Warps of a program on AMD, whose have 64 threads instead of 32; 0: as many."""
    registers: int | None = None
    """Most registers of a thread that NVIDIA's assembler may take; it spends more on loads far ahead of their use."""
    divisible: tuple[str, ...] = ()
    """Integers that the launcher guarantees to be divisible by 16, as it does the addresses of all tensors."""
    vector_bits: int = 128
    """Width of the instructions that move most of the bytes from and to global memory; 0: any."""

    def launch(self, grid: tuple[int, ...], *arguments: Tensor | float | None) -> None:
        """Run the kernel; arguments in its order, without the constants, which are its last."""
        device = next(each.device for each in arguments if isinstance(each, Tensor))
        with nullcontext() if device.type == "cpu" else torch.get_device_module(device).device(device):
            self.kernel[grid](*arguments, **self.constants, **self.options("hip" if torch.version.hip else "cuda"))

    def options(self, backend: str) -> dict[str, int]:
        """Return what the compiler is told for devices of one of Triton's backends."""
        warps = (self.wavefronts if backend == "hip" else 0) or self.num_warps
        options = {"num_warps": warps, "num_stages": self.num_stages}
        return options | ({"maxnreg": self.registers} if backend == "cuda" and self.registers else {})


def aligned(x: Tensor) -> Tensor:
    """Return the tensor, or a copy of it if its address is not divisible by 16."""
    return x.clone() if x.data_ptr() % 16 else x


@torch.compiler.assume_constant_result
@lru_cache(maxsize=1)
def no_triton() -> str | None:
    """Say why there is no Triton; None where it can be imported."""
    try:
        import_module("triton")
    except ImportError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Movement:
    """A pass of an operator whose bytes are counted: `most` times the least is allowed."""

    name: str
    run: Callable[[Callable[[Tensor], Tensor]], int]
    """Launch the pass on CPU tensors, which the function that it is given puts between canaries; return the least
    bytes: each input read once, each output written once. Called under the interpreter."""
    most: float
    counted: Literal["requested", "per_program", "compulsory"] = "requested"
    """Which bytes: see `ops.proof.traffic`."""


def discovered() -> dict[str, tuple[Configuration, ...]]:
    """Return the configurations of every operator that has kernels, by the operator's name. Needs triton."""
    return _joined("CONFIGURATIONS")


def movements() -> dict[str, tuple[Movement, ...]]:
    """Return the movements of every operator that has kernels, by the operator's name. Needs triton."""
    return _joined("MOVEMENTS")


def _joined(name: str) -> dict[str, tuple[Any, ...]]:
    """Return what the kernel files of each operator call so; files of parts that others use need not have it."""
    found: dict[str, tuple[Any, ...]] = {}
    for operator in pkgutil.iter_modules(import_module("ops").__path__):
        if not operator.ispkg or operator.name == "proof":
            continue
        for module in pkgutil.iter_modules(import_module(f"ops.{operator.name}").__path__):
            if module.name == "kernel" or module.name.startswith("kernel_"):
                file = import_module(f"ops.{operator.name}.{module.name}")
                found[operator.name] = found.get(operator.name, ()) + tuple(getattr(file, name, ()))
    return found
