"""Our native library: C++ in this folder, called through a plain C interface, for float32 tensors on a CPU.

It is built when it is first needed, in seconds, by the compiler of the machine (the environment's CXX, else c++, g++
or clang++), for this processor's vectors, and kept under the user's cache folder. Without a compiler there is none, and
the operators take PyTorch's own functions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import torch
from torch import Tensor

from ops.native.build import NoLibrary, built

__all__ = ["NoLibrary", "call", "library", "missing"]

_building = Lock()


def library() -> ctypes.CDLL:
    """Return the library, built and loaded at the first call. Raises NoLibrary, at once after the first time."""
    with _building:
        found = _loaded()
    if isinstance(found, str):
        raise NoLibrary(found)
    return found


@torch.compiler.assume_constant_result
def missing() -> str | None:
    """Say why there is no library; None where there is one."""
    try:
        library()
    except NoLibrary as error:
        return str(error)
    return None


@lru_cache(maxsize=1)
def _loaded() -> ctypes.CDLL | str:
    try:
        path = built()
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            return f"{path} does not load: {error}"
    except NoLibrary as error:
        return str(error)


def call(name: str, sizes: Sequence[int], *tensors: Tensor | None) -> None:
    """Run a function of the library on float32 tensors as they lie in memory. Raises MemoryError without room."""
    numbers = (ctypes.c_int64 * len(sizes))(*sizes)
    places = (ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors)
    if getattr(library(), name)(numbers, *places):
        raise MemoryError(f"{name}: no memory for its buffers")
