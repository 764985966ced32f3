"""The rules of the house, held by machines: floors, lint, types, sizes, and what the project may speak of."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ops", "space", "trials", "nas")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py") if "versions" not in p.parts)
FILE_LINES, FUNCTION_LINES = 350, 50


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_floors_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_is_clean() -> None:
    run("ruff", "check", *PACKAGES, "tests", "benchmarks")


def test_format_is_kept() -> None:
    run("ruff", "format", "--check", *PACKAGES, "tests", "benchmarks")


def test_types_check() -> None:
    run("basedpyright", "--level", "error")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_test_files_stay_readable(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= FILE_LINES


def test_public_names_are_documented() -> None:
    bare: list[str] = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if ast.get_docstring(tree) is None:
            bare.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            named = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if named and any(ast.unparse(d) == "overload" for d in node.decorator_list):  # type: ignore[attr-defined]
                continue  # the implementation speaks for its overloads
            if named and ast.get_docstring(node) is None:  # type: ignore[arg-type]
                bare.append(f"{path.relative_to(ROOT)}:{node.name}")  # type: ignore[attr-defined]
    assert not bare


def test_every_dependency_has_a_lower_bound() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [d for group in project["optional-dependencies"].values() for d in group]
    loose = [d for d in [*project["dependencies"], *extras] if ">=" not in d and not d.startswith("nas-vision[")]
    assert not loose
