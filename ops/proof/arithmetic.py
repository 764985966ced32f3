"""Arithmetic of the interpreter as devices do it: bf16, tf32, products, scans and reductions by own functions.

A block of bf16 is held as float32 numbers that are all bf16 numbers: each block that is made is rounded to nearest
even, so that every operation is one of float32 followed by a rounding, and only loads, stores and bitcasts see bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter as stock

Patch = Callable[[Any, str, Any], None]


def to_bits(values: np.ndarray) -> np.ndarray:
    """Return the bits of float32 numbers rounded to bf16, to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """Return bf16 numbers as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_tf32(values: np.ndarray) -> np.ndarray:
    """Return float32 numbers with the ten bits of mantissa that tensor cores read."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


PARTS = {
    ir.INPUT_PRECISION.TF32: (to_tf32, 1),
    ir.INPUT_PRECISION.TF32x3: (to_tf32, 2),
    ir.INPUT_PRECISION.BF16x3: (lambda values: from_bits(to_bits(values)), 2),
    ir.INPUT_PRECISION.BF16x6: (lambda values: from_bits(to_bits(values)), 3),
}
"""How tensor cores get float32 numbers: rounded, by what and into how many parts, each of what the last one left."""


def product(left: np.ndarray, right: np.ndarray, precision: Any) -> np.ndarray:
    """Multiply matrices of float32 by the products of parts that the devices' code adds, the smallest ones first."""
    if precision not in PARTS:
        return np.matmul(left, right)
    rounded, count = PARTS[precision]
    lefts, rights = _split(left, rounded, count), _split(right, rounded, count)
    pairs = sorted(((i, j) for i in range(count) for j in range(count - i)), key=sum, reverse=True)
    total = np.zeros((), np.float32)
    for i, j in pairs:
        total = total + np.matmul(lefts[i], rights[j])
    return total


def _split(values: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray], count: int) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for _ in range(count):
        found.append(rounded(values))
        values = values - found[-1]
    return found


def arithmetic(patch: Patch) -> None:
    """Replace what the interpreter does otherwise than devices, by `patch(owner, name, value)`."""
    _blocks(patch)
    _casts(patch)
    _functions(patch)
    patch(stock.ReduceOps, "generic_reduce", _reduce)
    patch(stock.ScanOps, "generic_scan", _scan)


def _is_bf16(kind: Any) -> bool:
    return not kind.is_ptr() and kind.scalar == tl.bfloat16


def _blocks(patch: Patch) -> None:
    of_type, created = stock._get_np_dtype, stock.TensorHandle.__post_init__

    def held(kind: Any) -> Any:
        return np.dtype(np.float32) if _is_bf16(kind) else of_type(kind)

    def rounded(handle: Any) -> None:
        if _is_bf16(handle.dtype):
            handle.data = from_bits(to_bits(np.asarray(handle.data, np.float32)))
        else:
            created(handle)

    patch(stock, "_get_np_dtype", held)
    patch(stock.TensorHandle, "__post_init__", rounded)
    patch(stock.InterpreterBuilder, "get_bf16", lambda self, value: stock.TensorHandle(np.array([value]), tl.bfloat16))


def _casts(patch: Patch) -> None:
    builder = stock.InterpreterBuilder
    cast_impl, rounding_cast, bitcast = builder.cast_impl, builder.create_fp_to_fp, builder.create_bitcast
    load, store = builder.create_masked_load, builder.create_masked_store

    def cast(self: Any, source: Any, kind: Any) -> Any:
        if _is_bf16(source.dtype) or _is_bf16(kind):
            return stock.TensorHandle(source.data.astype(stock._get_np_dtype(kind)), kind.scalar)
        return cast_impl(self, source, kind)

    def cast_rounded(self: Any, source: Any, kind: Any, rounding: Any) -> Any:
        if not (_is_bf16(source.dtype) or _is_bf16(kind)):
            return rounding_cast(self, source, kind, rounding)
        if rounding == ir.ROUNDING_MODE.RTZ:
            raise NotImplementedError("bf16 rounded towards zero, allowed: to nearest even")
        return cast(self, source, kind)

    def cast_bits(self: Any, source: Any, kind: Any) -> Any:
        if _is_bf16(source.dtype):
            source = stock.TensorHandle(to_bits(source.data), tl.uint16)
        if _is_bf16(kind):
            return stock.TensorHandle(from_bits(source.data.view(np.uint16)), tl.bfloat16)
        return bitcast(self, source, kind)

    def masked_load(self: Any, pointers: Any, mask: Any, other: Any, *rest: Any) -> Any:
        if pointers.get_element_ty() != tl.bfloat16:
            return load(self, pointers, mask, other, *rest)
        bits = np.zeros(pointers.data.shape, np.uint16) if other is None else to_bits(other.data)
        bits = np.ascontiguousarray(np.broadcast_to(bits, pointers.data.shape))
        return stock.TensorHandle(
            from_bits(stock._interpreter.load(pointers.data, mask.data, bits, np.dtype(np.uint16))), tl.bfloat16
        )

    def masked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        if _is_bf16(value.dtype):
            value = stock.TensorHandle(to_bits(value.data), tl.uint16)
        return store(self, pointers, value, mask, *rest)

    patch(builder, "cast_impl", cast)
    patch(builder, "create_fp_to_fp", cast_rounded)
    patch(builder, "create_bitcast", cast_bits)
    patch(builder, "create_masked_load", masked_load)
    patch(builder, "create_masked_store", masked_store)


def _functions(patch: Patch) -> None:
    builder = stock.InterpreterBuilder
    absolute = builder.create_fabs

    def dot(self: Any, a: Any, b: Any, start: Any, precision: Any, imprecise: Any) -> Any:
        del self, imprecise
        left, right = (np.asarray(each.data, np.float32) for each in (a, b))
        exact = ir.INPUT_PRECISION.IEEE if a.dtype.scalar != tl.float32 else precision
        found = product(left, right, exact) + start.data
        return stock.TensorHandle(found.astype(start.data.dtype), start.dtype.scalar)

    def erf(self: Any, values: Any) -> Any:
        del self
        found = torch.erf(torch.from_numpy(values.data.astype(np.float64))).numpy()
        return stock.TensorHandle(found.astype(values.data.dtype), values.dtype.scalar)

    def fabs(self: Any, values: Any) -> Any:
        if _is_bf16(values.dtype):
            return stock.TensorHandle(np.abs(values.data), tl.bfloat16)
        return absolute(self, values)

    patch(builder, "create_dot", dot)
    patch(builder, "create_erf", erf)
    patch(builder, "create_fabs", fabs)


def _steps(self: Any, blocks: Any, axis: int) -> Any:
    """Yield the combined blocks after each position of an axis."""
    arrays = [block.handle.data for block in blocks]
    combined: tuple[Any, ...] | None = None
    for place in range(arrays[0].shape[axis]):
        here = tuple(
            self.to_tensor(np.take(a, [place], axis), block.dtype) for a, block in zip(arrays, blocks, strict=True)
        )
        found = here if combined is None else self.combine_fn(*combined, *here)
        combined = found if isinstance(found, tuple) else (found,)
        yield combined


def _scan(self: Any, blocks: Any) -> Any:
    """Scan a whole line of positions at a time instead of element by element."""
    steps = [[each.handle.data for each in step] for step in _steps(self, blocks, self.axis)]
    joined = (np.concatenate(arrays, self.axis) for arrays in zip(*steps, strict=True))
    return [self.to_tensor(array, block.dtype) for array, block in zip(joined, blocks, strict=True)]


def _reduce(self: Any, blocks: Any) -> Any:
    """Reduce a whole line of positions at a time instead of element by element."""
    rank = blocks[0].handle.data.ndim
    flat, axis = self.unravel(blocks, self.axis)
    *_, last = _steps(self, flat, axis)
    found: list[Any] = []
    for each, block in zip(last, blocks, strict=True):
        data = each.handle.data
        if self.axis is None:
            data = data.reshape((1,) * rank) if self.keep_dims else data.item()
        elif not self.keep_dims:
            data = data.squeeze(axis)
        found.append(self.to_tensor(data, block.dtype))
    return found
