"""Recorded vectors: what published operators compute, with gradients, case by case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

VECTORS = Path(__file__).parents[1] / "golden" / "ops"


class Case:
    """One recorded case: `cot_X` is a cotangent of output X, `grad_Y` the gradient of sum <X, cot_X> for Y."""

    def __init__(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        self.name = name
        self.config: dict[str, Any] = json.loads(str(arrays.pop("config", "{}")))
        self.arrays = {key: torch.from_numpy(array) for key, array in arrays.items()}
        self.leaves: dict[str, torch.Tensor] = {}

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.arrays[key]

    def get(self, key: str) -> torch.Tensor | None:
        """A recorded array as the input of an operator; None where the case has none."""
        return self.leaf(key, self.arrays[key]) if key in self.arrays else None

    def leaf(self, key: str, value: torch.Tensor) -> torch.Tensor:
        """A tensor whose gradient is recorded as that of `key`."""
        value = value.clone()
        if f"grad_{key}" in self.arrays:
            self.leaves[key] = value.requires_grad_()
        return value

    def agrees(self, tolerance: float = 1e-11, **outputs: torch.Tensor) -> None:
        """Fail unless outputs and every recorded gradient agree within `tolerance` of the largest recorded number."""
        for key, output in outputs.items():
            self._close(key, output.detach(), tolerance)
        wanted = {key.removeprefix("grad_") for key in self.arrays if key.startswith("grad_")}
        assert wanted == set(self.leaves)
        if wanted:
            pairs = [
                (output, self.arrays[f"cot_{key}"]) for key, output in outputs.items() if f"cot_{key}" in self.arrays
            ]
            roots, cotangents = zip(*pairs, strict=True)
            gradients = torch.autograd.grad(roots, list(self.leaves.values()), cotangents)
            for key, gradient in zip(self.leaves, gradients, strict=True):
                self._close(f"grad_{key}", gradient, tolerance)

    def _close(self, key: str, found: torch.Tensor, tolerance: float) -> None:
        recorded = self.arrays[key]
        assert found.shape == recorded.shape, key
        assert found.dtype == recorded.dtype, key
        error = float((found - recorded).abs().max() / recorded.abs().max().clamp(min=1e-300))
        assert error <= tolerance, f"{key}: error {error:.1e}"


def recorded(name: str) -> list[Case]:
    """All cases of one file."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(VECTORS / f"{name}.npz") as file:
        for key in file.files:
            case, _, array = key.partition(".")
            cases.setdefault(case, {})[array] = file[key]
    return [Case(case, arrays) for case, arrays in cases.items()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `case` on every recorded case of the files that its module names in RECORDED."""
    if "case" in metafunc.fixturenames:
        named = metafunc.module.RECORDED
        files = (named,) if isinstance(named, str) else named
        cases = [pytest.param(case, id=f"{name}-{case.name}") for name in files for case in recorded(name)]
        metafunc.parametrize("case", cases)


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers in every run."""
    torch.manual_seed(0)
