"""Run @triton.jit kernels on CPU tensors, in a process that can compile the same kernels.

Triton's own interpreter is chosen by an environment variable when a kernel is defined, computes in bf16 wrongly,
truncates where devices round, and follows any pointer. Within `interpreted()` kernels are run by it with those faults
mended: bf16 numbers are held as float32 and rounded to nearest even after each operation, products of float32 are
rounded to tf32 before if the kernel allows it, and memory is that of `ops.proof.memory`.
"""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, SimpleNamespace
from typing import Any, cast

import numpy as np
import triton
import triton.language as tl
from torch import Tensor
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter as stock
from triton.runtime.jit import JITFunction

from ops.kernel import Configuration
from ops.proof.arithmetic import arithmetic
from ops.proof.memory import Memory
from ops.proof.traffic import Kind, Traffic

Patch = Callable[[Any, str, Any], None]
_rewritten: dict[FunctionType, Callable[..., Any]] = {}


class Run:
    """What happened within `interpreted()`: bytes moved and configurations launched."""

    def __init__(self, *, count: bool, reverse: bool) -> None:
        self.traffic = Traffic()
        self.memory = Memory(self.traffic if count else None)
        self.launched: list[Configuration] = []
        self.reverse = reverse

    def guarded(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor, of the same strides, between canaries."""
        return self.memory.guarded(tensor)

    def execute(self, function: Any, grid: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Run all programs of a kernel, the last one first if `reverse`."""
        signature = inspect.signature(function.fn)
        bound = signature.bind(*arguments, **{k: v for k, v in named.items() if k in signature.parameters})
        bound.apply_defaults()
        fixed = {p.name for p in function.params if p.is_constexpr}
        self.memory.launch()
        seen = {k: v if k in fixed else self._converted(k, v) for k, v in bound.arguments.items()}
        grid = grid(bound.arguments) if callable(grid) else grid
        size = (*grid, *(1,) * (3 - len(grid)))
        stock.interpreter_builder.set_grid_dim(*size)
        programs = list(itertools.product(*map(range, size)))
        for place in reversed(programs) if self.reverse else programs:
            stock.interpreter_builder.set_grid_idx(*place)
            self.memory.program()
            rewritten(function)(**seen)

    def _converted(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return type(value)(self._converted(f"{name}[{i}]", each) for i, each in enumerate(value))
        if not isinstance(value, Tensor):
            return stock._implicit_cvt(value)
        pointer = cast("Any", tl.str_to_ty(triton.runtime.jit.mangle_type(value), None))
        address = np.array([self.memory.argument(name, value)], np.uint64)
        return tl.tensor(stock.TensorHandle(address, pointer), pointer)


def rewritten(function: Any) -> Callable[..., Any]:
    """Return a kernel as the interpreter runs it: what is assigned becomes a tensor."""
    if function.fn not in _rewritten:
        tree = stock.ASTTransformer().visit(ast.parse(function.src))
        ast.fix_missing_locations(tree)
        ast.increment_lineno(tree, function.def_file_line_number - 1)
        scope = {**function.fn.__globals__, "interpreter_semantic": stock.interpreter_semantic}
        exec(compile(tree, function.fn.__code__.co_filename, "exec"), scope)
        _rewritten[function.fn] = scope[function.fn.__name__]
    return _rewritten[function.fn]


@contextmanager
def interpreted(*, count: bool = True, reverse: bool = False) -> Iterator[Run]:
    """Run kernels on CPU tensors while it is active; canaries are checked at its end.

    `count` says whether bytes are counted, `reverse` runs the programs of each launch in reverse order. Raises
    MemoryFault where a kernel touches what it may not.
    """
    run, saved = Run(count=count, reverse=reverse), list[tuple[Any, str, Any]]()

    def patch(owner: Any, name: str, value: Any) -> None:
        saved.append((owner, name, owner.__dict__.get(name, saved)))
        setattr(owner, name, value)

    def launch(function: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> None:
        del warmup
        run.execute(function, grid, arguments, named)

    patch(JITFunction, "run", launch)
    patch(JITFunction, "__call__", lambda function, *args, **named: rewritten(function)(*args, **named))
    patch(Configuration, "launch", _checked(Configuration.launch, run))
    precisions = ("ieee", "tf32", "tf32x3", "bf16x3", "bf16x6")
    options = stock.InterpreterOptions(sanitize_overflow=False, allowed_dot_input_precisions=precisions)
    patch(stock.interpreter_builder, "options", options)
    arithmetic(patch)
    _memory(patch, run.memory)
    language = stock._patch_lang(cast("Any", SimpleNamespace(__globals__={"tl": tl, "core": tl.core})))
    try:
        with np.errstate(all="ignore"), run.memory:
            yield run
        run.memory.check()
    finally:
        language.restore()
        for owner, name, value in reversed(saved):
            delattr(owner, name) if value is saved else setattr(owner, name, value)


def _memory(patch: Patch, memory: Memory) -> None:
    """Let every access go through `memory`; block pointers and descriptors end in these four as well."""
    builder = stock.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    swap, update = builder.create_atomic_cas, builder.create_atomic_rmw

    def mapped(kind: Kind, pointers: Any, mask: Any = None) -> Any:
        lanes = np.ones(pointers.data.shape, bool) if mask is None else mask.data
        return stock.TensorHandle(memory.access(kind, pointers.data, lanes), pointers.dtype)

    def masked_load(self: Any, pointers: Any, mask: Any, other: Any, *rest: Any) -> Any:
        mask = _bools(mask)
        if other is None:
            kind = pointers.get_element_ty()
            values = np.full(pointers.data.shape, np.nan if kind.is_floating() else 1, stock._get_np_dtype(kind))
            other = stock.TensorHandle(values, kind)
        return load(self, mapped("load", pointers, mask), mask, other, *rest)

    def masked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        mask = _bools(mask)
        return store(self, mapped("store", pointers, mask), value, mask, *rest)

    def atomic_swap(self: Any, pointers: Any, *rest: Any) -> Any:
        return swap(self, mapped("atomic", pointers), *rest)

    def atomic_update(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        mask = _bools(mask)
        if pointers.get_element_ty() == tl.bfloat16:
            raise NotImplementedError("atomics of bf16, allowed: fp32, fp16 and integers")
        return update(self, operation, mapped("atomic", pointers, mask), value, mask, *rest)

    whole_load = TritonSemantic.load

    def load_or_other(self: Any, pointer: Any, mask: Any, other: Any, *rest: Any) -> Any:
        """Load; of a single number the stock interpreter drops an `other` that is zero, because zero is false."""
        found = whole_load(self, pointer, mask, other, *rest)
        if other is None or pointer.type.is_block():
            return found
        return self.where(mask, found, self.cast(other, found.type))

    patch(TritonSemantic, "load", load_or_other)
    patch(builder, "create_masked_load", masked_load)
    patch(builder, "create_masked_store", masked_store)
    patch(builder, "create_atomic_cas", atomic_swap)
    patch(builder, "create_atomic_rmw", atomic_update)


def _bools(mask: Any) -> Any:
    """Return a mask in bytes: the stock interpreter spreads one truth value as int32 and reads four lanes of it."""
    return stock.TensorHandle(mask.data.astype(bool), tl.int1)


def _checked(launch: Callable[..., None], run: Run) -> Callable[..., None]:
    """Launch a configuration, and refuse arguments that differ from what it declares."""

    def checked(configuration: Configuration, grid: tuple[int, ...], *arguments: Any) -> None:
        names = [p.name for p in configuration.kernel.params if not p.is_constexpr]
        for name, value in zip(names, arguments, strict=True):
            declared = configuration.types.get(name)
            if isinstance(value, Tensor) and declared != triton.runtime.jit.mangle_type(value):
                raise TypeError(f"{configuration.name}: {name} of {value.dtype}, declared: {declared}")
            number = value.data_ptr() if isinstance(value, Tensor) else value
            if (isinstance(value, Tensor) or name in configuration.divisible) and number % 16:
                raise ValueError(f"{configuration.name}: {name} {number}, declared: divisible by 16")
        run.launched.append(configuration)
        launch(configuration, grid, *arguments)

    return checked
