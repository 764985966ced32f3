"""Proofs that kernels are right and fast where there is no GPU: interpreted, traced, compiled ahead of time.

They rest on private names of Triton 3.8's interpreter and compiler. Each of them has a test in tests/ops/proof that
plants the fault it must report.
"""

from __future__ import annotations

from ops.proof.interpreter import Run, interpreted
from ops.proof.memory import MemoryFault
from ops.proof.operators import on_cpu

__all__ = ["MemoryFault", "Run", "interpreted", "on_cpu"]
