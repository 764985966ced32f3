"""Building the native library with the system's compiler, once for each source, compiler and processor."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    "-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread", "-ldl", "-fno-math-errno",
    "-fno-trapping-math", "-fvisibility-inlines-hidden", "-w",
)  # fmt: skip
TARGETS = ("-march=native", "-mcpu=native", "")
"""How compilers are told to use all that this processor has, in turn until one is understood."""
PATIENCE_S = 300


class NoLibrary(Exception):
    """There is no native library on this machine; the words say why."""


def built() -> Path:
    """Return the library's file, built if it is not in the cache. Raises NoLibrary where that is impossible."""
    compiler = _compiler()
    folder, name = _cache(), _name(compiler)
    for found in sorted(folder.glob(f"{name}-*.so")):
        if _digest(found.read_bytes()) == found.stem.rpartition("-")[2]:
            return found
        _forget(found)  # torn or changed
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as room:
            made = Path(room) / "ops.so"
            _compile(compiler, made)
            kept = folder / f"{name}-{_digest(made.read_bytes())}.so"
            made.replace(kept)
    except OSError as error:
        raise NoLibrary(f"cannot write to {folder}: {error.strerror}") from error
    return kept


def _compiler() -> list[str]:
    named = os.environ.get("CXX")
    for command in [shlex.split(named)] if named else [[name] for name in COMPILERS]:
        if command and (path := shutil.which(command[0])):
            return [path, *command[1:]]
    raise NoLibrary(f"no C++ compiler found (looked for {named or ', '.join(COMPILERS)})")


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "nas" / "native"
    except RuntimeError as error:
        raise NoLibrary("no home folder to keep it in") from error


def _name(compiler: list[str]) -> str:
    """What the library depends on, as a digest: sources, flags, compiler and processor."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(path.name.encode() + path.read_bytes())
    where = Path(compiler[0]).resolve()
    seen = where.stat()
    known = [
        *compiler[1:],
        *FLAGS,
        str(where),
        str(seen.st_size),
        str(seen.st_mtime_ns),
        *platform.uname()[4:],
        _features(),
    ]
    digest.update("\0".join(known).encode())
    return digest.hexdigest()[:24]


def _features() -> str:
    """What the processor says that it can do."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _compile(compiler: list[str], into: Path) -> None:
    sources = [str(path) for path in sorted(SOURCES.glob("*.cpp"))]
    words = ""
    for target in TARGETS:
        command = [*compiler, *FLAGS, *([target] if target else []), *sources, "-o", str(into)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoLibrary(f"{compiler[0]} does not run: {error}") from error
        if done.returncode == 0 and into.exists():
            return
        words = words or next(iter(done.stderr.strip().splitlines()), f"exit {done.returncode}")
    raise NoLibrary(f"{compiler[0]} failed: {words}")
