"""The native library: built once, kept, rebuilt where it is damaged, and absent without a compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ops.native import build, library, missing

ROOT = Path(__file__).parents[2]
COMPILER = next((name for name in build.COMPILERS if shutil.which(name)), None)
TAKES_IT = (
    "import sys, torch; from ops import depthwise_conv2d\n"
    "x = torch.ones(1, 20, 5, 5, requires_grad=True)\n"
    "y = depthwise_conv2d(x, torch.ones(20, 1, 5, 5))\n"
    "assert y[0, 0, 2, 2].item() == 25, y\n"
    "print('native' if 'nas_ops' in type(y.grad_fn).__name__ else 'pytorch', 'ops.native.build' in sys.modules)\n"
)


def _environment(cache: Path, **changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("CXX", "NAS_OPS")}
    return {**kept, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **changes}


def _start(script: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _said(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == ""
    return out.split()[0] if out else ""


def _kept(cache: Path) -> list[Path]:
    return sorted((cache / "nas" / "native").iterdir())


def test_a_machine_with_a_compiler_has_the_library():
    assert (missing() is None) == (COMPILER is not None), missing()


@pytest.mark.skipif(COMPILER is None, reason="no compiler to build with")
def test_two_processes_build_at_once_and_a_damaged_file_is_rebuilt(tmp_path, monkeypatch):
    environment = _environment(tmp_path)
    assert [_said(p) for p in [_start(TAKES_IT, environment) for _ in range(2)]] == ["native", "native"]
    made = _kept(tmp_path)
    assert made
    assert all(path.suffix == ".so" for path in made), "something is left lying about"
    content = made[0].read_bytes()
    for path in made[1:]:
        path.unlink()
    made[0].write_bytes(content[: len(content) // 2])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    again = build.built()
    assert again.read_bytes()[-100:] == content[-100:]
    seen = again.stat().st_mtime_ns
    assert build.built().stat().st_mtime_ns == seen, "a sound file is taken as it is"


def test_another_compiler_or_flag_is_another_library(monkeypatch, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text("")
    names = [build._name([str(compiler)]), build._name([str(compiler), "-g"])]
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-O1"))
    names.append(build._name([str(compiler)]))
    compiler.write_text("newer")
    names.append(build._name([str(compiler)]))
    assert len(set(names)) == 4


def test_without_a_compiler_the_operators_run_by_pytorch(tmp_path):
    environment = _environment(tmp_path / "cache", PATH=str(tmp_path))
    assert _said(_start(TAKES_IT, environment)) == "pytorch"
    assert not (tmp_path / "cache").exists()
    wanted = _start(TAKES_IT, {**environment, "NAS_OPS": "native"})
    err = wanted.communicate(timeout=300)[1]
    assert err.strip().endswith(
        "ValueError: depthwise_conv2d: no native library, no C++ compiler found (looked for c++, g++, clang++); "
        "allowed: reference, pytorch"
    )


def test_compilers_that_fail_and_folders_that_take_nothing_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", f"{shutil.which('false')} --flag")
    with pytest.raises(build.NoLibrary, match=r"false failed: exit 1$"):
        build.built()
    assert _kept(tmp_path / "cache") == []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(build.NoLibrary, match=r"cannot write to .*file.nas.native: "):
        build.built()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.NoLibrary, match=r"no C\+\+ compiler found \(looked for no-such-compiler\)$"):
        build.built()


def test_nothing_is_built_at_import(tmp_path):
    script = "import ops, ops.native; assert ops.native._loaded.cache_info().currsize == 0"
    assert _said(_start(script, _environment(tmp_path / "cache"))) == ""
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(COMPILER is None, reason="no compiler to build with")
def test_calls_without_memory_raise(monkeypatch):
    class Failing:
        def depthwise_forward(self, *_):
            return 1

    from ops import native

    monkeypatch.setattr(native, "library", Failing)
    with pytest.raises(MemoryError, match=r"^depthwise_forward: no memory for its buffers$"):
        native.call("depthwise_forward", [1], torch.ones(1))
    monkeypatch.undo()
    assert library() is library()
