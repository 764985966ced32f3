"""Memory of interpreted kernels: accesses outside of arguments, races, canaries, poisoned allocations.

A kernel sees each tensor at an address of its own far from all others, so that every pointer says which argument it
was computed from; only elements of that argument are allowed, gaps of a strided tensor are not. Buffers lie between
canaries, bytes that nobody may change. What torch.empty returns is full of NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ops.proof.traffic import Kind, Traffic

CANARY = 0xFF
"""A byte that makes NaN in every dtype of floats."""
GUARD = 4096
"""Bytes of canaries on either side of a buffer."""
ALIGNMENT = 128
SHIFT, MIDDLE = 48, 1 << 47
EMPTY = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
ZEROS = ("zeros", "zeros_like", "new_zeros")


class MemoryFault(Exception):
    """A kernel touched memory that it may not touch."""


class Buffer(NamedTuple):
    """Bytes with canaries among them; `canaries` tells which."""

    raw: np.ndarray
    canaries: np.ndarray
    what: str


class Argument(NamedTuple):
    """A tensor that a kernel was given."""

    name: str
    address: int
    size: int
    own: np.ndarray
    """Which of the positions from the first element to the last are elements."""
    writer: np.ndarray
    """For each position the program that wrote it in this launch, counted from 1."""
    reader: np.ndarray
    """For each position the program that read it last in this launch, counted from 1."""


class Memory(TorchDispatchMode):
    """Guards what is allocated while it is active, and checks accesses of kernels."""

    def __init__(self, traffic: Traffic | None = None) -> None:
        super().__init__()
        self.traffic = traffic
        self._buffers: list[Buffer] = []
        self._arguments: list[Argument] = []
        self._program = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in EMPTY + ZEROS or type(out) is not Tensor or out.device.type != "cpu":
            return out
        made = self._guarded(out)
        if name in ZEROS:
            made.zero_()
        elif made.is_floating_point():
            made.fill_(torch.nan)
        return made

    def guarded(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor, of the same strides, between canaries."""
        return self._guarded(tensor).copy_(tensor)

    def _guarded(self, tensor: Tensor) -> Tensor:
        inside = _positions(tensor)
        size = inside.size * tensor.element_size()
        raw = np.full(2 * GUARD + ALIGNMENT + size, CANARY, np.uint8)
        start = GUARD + -(raw.ctypes.data + GUARD) % ALIGNMENT
        canaries = np.ones(raw.size, bool)
        canaries[start : start + size] = ~np.repeat(inside, tensor.element_size())
        self._buffers.append(Buffer(raw, canaries, f"{tuple(tensor.shape)} {tensor.dtype}"))
        flat = torch.from_numpy(raw[start : start + size]).view(tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.stride())

    def check(self) -> None:
        """Raise MemoryFault if a canary has changed."""
        for raw, canaries, what in self._buffers:
            changed = int((canaries & (raw != CANARY)).sum())
            if changed:
                raise MemoryFault(f"{changed} bytes beside the elements of a buffer {what} have changed")

    def launch(self) -> None:
        """Begin a launch: forget the arguments of the one before."""
        self._arguments, self._program = [], 0
        if self.traffic is not None:
            self.traffic.launch()

    def program(self) -> None:
        """Begin another program of the launch."""
        self._program += 1
        if self.traffic is not None:
            self.traffic.program()

    def argument(self, name: str, tensor: Tensor) -> int:
        """Return the address at which the kernel sees a tensor."""
        own = _positions(tensor)
        writer, reader = np.zeros(own.size, np.int32), np.zeros(own.size, np.int32)
        for other in self._arguments:  # the same tensor under two names
            if (other.address, other.own.size) == (tensor.data_ptr(), own.size):
                writer, reader = other.writer, other.reader
        self._arguments.append(Argument(name, tensor.data_ptr(), tensor.element_size(), own, writer, reader))
        return (len(self._arguments) << SHIFT) + MIDDLE + tensor.data_ptr() % ALIGNMENT

    def access(self, kind: Kind, pointers: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the true addresses of pointers. Raises MemoryFault at the first that leads outside or is a race."""
        pointers, mask = np.broadcast_arrays(pointers, mask.astype(bool))
        addresses = np.zeros(pointers.shape, np.uint64)
        which = (pointers >> np.uint64(SHIFT)).astype(np.int64)
        for number in np.unique(which[mask]):
            if not 1 <= number <= len(self._arguments):
                raise MemoryFault(f"{kind} by program {self._program}: a pointer that comes from no argument")
            argument = self._arguments[number - 1]
            lanes = mask & (which == number)
            base = (int(number) << SHIFT) + MIDDLE + argument.address % ALIGNMENT
            offsets = (pointers[lanes] - np.uint64(base)).view(np.int64)
            self._check(kind, argument, offsets)
            addresses[lanes] = (offsets + argument.address).view(np.uint64)
            if self.traffic is not None:
                held = argument.writer[offsets // argument.size] == self._program if kind == "load" else None
                self.traffic.see(kind, offsets + argument.address, argument.size, held)
        return addresses

    def _check(self, kind: Kind, argument: Argument, offsets: np.ndarray) -> None:
        where, rest = np.divmod(offsets, argument.size)
        inside = (where >= 0) & (where < argument.own.size) & (rest == 0)
        inside[inside] = argument.own[where[inside]]
        if not inside.all():
            found = f"{where[~inside][0]} of {argument.own.size}"
            raise MemoryFault(
                f"out-of-bounds {kind} by program {self._program}: {argument.name}, element {found}, "
                f"{(~inside).sum()} lanes"
            )
        if kind == "atomic":
            return
        others = [argument.writer] if kind == "load" else [argument.writer, argument.reader]
        if any(((seen[where] != 0) & (seen[where] != self._program)).any() for seen in others):
            raise MemoryFault(f"race: {kind} by program {self._program}: {argument.name}, met by another program")
        (argument.reader if kind == "load" else argument.writer)[where] = self._program


def _positions(tensor: Tensor) -> np.ndarray:
    """Tell for each position from a tensor's first element to its last whether it is an element."""
    if tensor.numel() == 0:
        return np.zeros(0, bool)
    strides = tensor.stride()
    inside = np.zeros(1 + sum((n - 1) * s for n, s in zip(tensor.shape, strides, strict=True)), bool)
    view = np.lib.stride_tricks.as_strided(inside, tuple(tensor.shape), strides)
    view[...] = True
    return inside
