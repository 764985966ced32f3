"""Compile kernels for GPUs that are not here, and read what the machine code uses."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from ops.kernel import Configuration

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
"""NVIDIA A100, H100 and B200, AMD MI300."""
SHARED_OF_MULTIPROCESSOR = {"sm_80": 164 << 10, "sm_90": 228 << 10, "sm_100": 228 << 10, "gfx942": 64 << 10}
AMD_REGISTERS = 256
"""Most vector registers of a thread on AMD: two wavefronts a SIMD."""
VECTOR_SHARE = 1 / 3
"""Least share of the bytes from and to global memory that instructions of the declared width move, as the code lists
them, each once: the others are numbers of a channel or a position, which many threads load. Where a map is not loaded
in vectors the share is next to 0."""


class Resources(NamedTuple):
    """What a kernel uses on one target."""

    registers: int
    """Of a thread; vector registers on AMD."""
    spill_bytes: int
    """Of a thread, from and to memory."""
    shared_bytes: int
    occupancy: int
    """Percent of the threads that a multiprocessor can hold, from registers and shared memory."""
    products: int
    """Multiply-adds in float32 by vector instructions, of bf16 numbers too."""
    matrix: int
    """Instructions of tensor cores."""
    moved: dict[int, int]
    """Loads from global memory and stores to it, by bits of each thread."""
    loads: int
    """Loads from global memory."""
    instructions: int

    def vector_share(self, bits: int) -> float:
        """Return the share of bytes moved by instructions of at least so many bits."""
        total = sum(width * count for width, count in self.moved.items())
        return sum(width * count for width, count in self.moved.items() if width >= bits) / max(total, 1)


def broken(configuration: Configuration, target: str, found: Resources) -> list[str]:
    """Return the limits that a compiled configuration breaks."""
    limits, faults = configuration.limits, list[str]()
    most = limits.registers if target.startswith("sm_") else AMD_REGISTERS
    if found.spill_bytes:
        faults.append(f"{found.spill_bytes} bytes spilled, allowed: 0")
    if found.registers > most:
        faults.append(f"{found.registers} registers, allowed: {most}")
    if not found.matrix and found.products < limits.products_per_load * found.loads:
        least = limits.products_per_load
        faults.append(f"{found.products} products for {found.loads} loads, allowed: {least:g} a load, or tensor cores")
    share = found.vector_share(configuration.vector_bits)
    if share < VECTOR_SHARE:
        faults.append(f"{share:.0%} of bytes in {configuration.vector_bits} bits, allowed: {VECTOR_SHARE:.0%} or more")
    return faults


def digest(configuration: Configuration, target: str) -> str:
    """Return what names a compilation: equal where source, constants, options, target and Triton are."""
    options = configuration.options(TARGETS[target].backend)
    told = (
        [*_sources(configuration.kernel, {})], sorted(configuration.types.items()),
        sorted(configuration.constants.items()), *[options[name] for name in ("num_warps", "num_stages")],
        configuration.divisible, target, triton.__version__, *[options[n] for n in ("maxnreg",) if n in options],
    )  # fmt: skip
    return sha256(repr(told).encode()).hexdigest()[:12]


def _sources(function: JITFunction[Any], known: dict[str, None]) -> Iterator[str]:
    """Yield the syntax of a kernel and of everything of ours that it uses."""
    (syntax, names), scope = _syntax(function.src), function.fn.__globals__
    known[f"{function.fn.__module__}.{function.fn.__name__}"] = None
    yield syntax
    for name in names:
        variable, *attribute = name.split(".")
        value = scope.get(variable)
        value = getattr(value, attribute[0], None) if attribute else value
        if isinstance(value, JITFunction):
            named = f"{value.fn.__module__}.{value.fn.__name__}"
            if named not in known and not named.startswith("triton."):
                yield from _sources(value, known)
        elif value is not None and not isinstance(value, ModuleType) and not callable(value):
            yield f"{name} = {value!r}"


@cache
def _syntax(source: str) -> tuple[str, tuple[str, ...]]:
    """Return the syntax of a function and the names in it, those of a module's variables among them.

    Syntax is the code without its comments and layout; a dump of the tree would differ between versions of Python.
    """
    tree, names = ast.parse(source), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.append(f"{node.value.id}.{node.attr}")
    return ast.unparse(tree), tuple(names)


def compiled(configuration: Configuration, target: str) -> Resources:
    """Compile a configuration from its source, whatever Triton's cache holds."""
    function, types = configuration.kernel, configuration.types
    signature = {name: types.get(name, "constexpr") for name in function.arg_names}
    divisible = [
        n for n, (name, kind) in enumerate(signature.items()) if kind[0] == "*" or name in configuration.divisible
    ]
    source = ASTSource(
        function, signature, dict(configuration.constants), {(n,): [["tt.divisibility", 16]] for n in divisible}
    )
    options = configuration.options(TARGETS[target].backend)
    with (
        tempfile.TemporaryDirectory() as folder, knobs.cache.scope(), knobs.nvidia.scope(),
        redirect_stdout(io.StringIO()) as log,
    ):  # fmt: skip
        knobs.cache.dir = folder
        knobs.nvidia.dump_ptxas_log = True
        found = triton.compile(source, target=TARGETS[target], options=options)
    read = _of_nvidia if target.startswith("sm_") else _of_amd
    return read(found, log.getvalue(), options["num_warps"], target)


def _of_nvidia(found: Any, log: str, warps: int, target: str) -> Resources:
    spilled = re.findall(r"(\d+) bytes spill (?:stores|loads)", log)
    registers = re.search(r"Used (\d+) registers", log)
    if len(spilled) != 2 or registers is None:
        raise RuntimeError(f"ptxas says {log!r}, needed: registers and spilled bytes")
    counts = Counter(match[1] for match in map(_instruction, _sass(found.asm["cubin"]).splitlines()) if match)
    moved, loads = Counter[int](), 0
    for name, count in counts.items():
        kind, *marks = name.split(".")
        if kind in ("LDG", "LDGSTS", "STG"):
            moved[_sass_bits(marks)] += count
        loads += count * (kind in ("LDG", "LDGSTS"))
    shared = found.metadata.shared
    return Resources(
        int(registers[1]), sum(map(int, spilled)), shared, _occupancy(int(registers[1]), shared, warps, target),
        sum(n * (1 + name.startswith("FFMA2")) for name, n in counts.items() if name.startswith(("FFMA", "FHFMA"))),
        sum(n for name, n in counts.items() if re.match(r"[A-Z]*MMA\b", name)), dict(moved), loads,
        counts.total(),
    )  # fmt: skip


def _sass(cubin: bytes) -> str:
    """Return the machine code of a cubin in words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [knobs.nvidia.nvdisasm.path, "-c", path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _instruction(line: str) -> re.Match[str] | None:
    return re.match(r"\s*(?:/\*[0-9a-f]+\*/)?\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)\b.*;", line)


def _sass_bits(marks: list[str]) -> int:
    widths = {"128": 128, "64": 64, "U16": 16, "S16": 16, "U8": 8, "S8": 8}
    return next((widths[mark] for mark in marks if mark in widths), 32)


def _of_amd(found: Any, log: str, warps: int, target: str) -> Resources:
    del log
    text: str = found.asm["amdgcn"]

    def told(key: str) -> int:
        match = re.search(rf"\.{key}:\s+(\d+)", text)
        if match is None:
            raise RuntimeError(f"no {key} in the assembly for {target}")
        return int(match[1])

    counts = Counter(re.findall(r"^\t([a-z][a-z0-9_]+)", text, re.MULTILINE))
    moved, loads = Counter[int](), 0
    for name, count in counts.items():
        match = re.match(r"(?:global|buffer|flat)_(load|store)_(?:lds_)?([a-z0-9]+)", name)
        if match:
            moved[_amd_bits(match[2])] += count
            loads += count * (match[1] == "load")
    registers, shared = told("vgpr_count"), found.metadata.shared
    return Resources(
        registers, 4 * told("vgpr_spill_count"), shared, _occupancy(registers, shared, warps, target),
        sum(n * (1 + ("_pk_" in name)) for name, n in counts.items() if re.match(r"v_(pk_)?fmac?_f32", name)),
        sum(n for name, n in counts.items() if name.startswith("v_mfma")), dict(moved), loads, counts.total(),
    )  # fmt: skip


def _amd_bits(kind: str) -> int:
    widths = {"dwordx4": 128, "dwordx3": 96, "dwordx2": 64, "ushort": 16, "sshort": 16, "short": 16, "ubyte": 8}
    return widths.get(kind, 8 if kind.endswith("byte") else 32)


def _occupancy(registers: int, shared: int, warps: int, target: str) -> int:
    """Return the percentage of threads resident, for blocks of that many warps."""
    room = SHARED_OF_MULTIPROCESSOR[target]
    if target.startswith("sm_"):
        whole, of_warp = 64, -(-registers * 32 // 256) * 256
        blocks = min(65536 // (of_warp * warps), whole // warps, 32, room // (shared + 1024))
    else:
        whole, of_simd = 32, min(8, 512 // (-(-max(registers, 1) // 8) * 8))
        blocks = min(4 * of_simd // warps, room // max(shared, 1))
    return 100 * blocks * warps // whole
