"""A tabular benchmark: every point of a search space with the scores of its trainings and its costs."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from space.errors import NasError

Array = NDArray[np.float64]
MEASURED = "latency"
"""A cost whose name contains this word is measured, hence not known before a trial; all others are counted."""


class TableError(NasError):
    """A file is no tabular benchmark."""


@dataclass(frozen=True)
class Table:
    """All points of a space; a point's index is that of its vector of decisions in row-major order."""

    name: str
    cards: tuple[int, ...]
    """Number of options of each decision."""
    distributions: Mapping[str, BaseDistribution]
    """Of each decision, in order: numbers where the options are rising numbers, categories otherwise."""
    scores: Array
    """[points, runs]: in %, higher is better."""
    costs: Mapping[str, Array]
    """[points] by name, lower is better."""

    @property
    def truth(self) -> Array:
        """Return the mean score of each point over its runs: [points]."""
        return self.scores.mean(axis=1)

    @property
    def counted(self) -> tuple[str, ...]:
        """Return the costs that are known before training: MACs first, then parameters, then others."""
        names = [name for name in self.costs if MEASURED not in name]
        return tuple(sorted(names, key=lambda name: (not name.startswith("macs"), not name.startswith("params"), name)))

    @cached_property
    def steps(self) -> Mapping[str, Mapping[Any, int]]:
        """Return what each option of each decision adds to the index of a point."""
        strides = np.cumprod((1, *self.cards[:0:-1]))[::-1]
        return {
            name: {_option(each, index): int(stride) * index for index in range(card)}
            for (name, each), card, stride in zip(self.distributions.items(), self.cards, strides, strict=True)
        }

    def index(self, params: Mapping[str, Any]) -> int:
        """Return the index of the point with these choices."""
        return sum(self.steps[name][value] for name, value in params.items())

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read an `.npz` file with the arrays `cards`, `score`, `cost_<name>` and, if there, `choices`.

        Raises:  TableError naming what is missing or does not fit; OSError.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (ValueError, EOFError, zipfile.BadZipFile):
            raise TableError(f"{path}: no table, an .npz file of plain arrays is needed") from None
        except AttributeError:
            raise TableError(f"{path}: a single array, an .npz file with cards and score is needed") from None
        for name in ("cards", "score"):
            if name not in arrays:
                raise TableError(f"{path}: no array {name!r}, found: {', '.join(sorted(arrays)) or 'none'}")
        cards = _cards(path, arrays["cards"])
        scores = _numbers(path, "score", arrays["score"], cards, 2)
        costs = {
            name.removeprefix("cost_"): _numbers(path, name, array, cards, 1)
            for name, array in sorted(arrays.items())
            if name.startswith("cost_")
        }
        for name, cost in costs.items():
            if (cost <= 0).any():
                raise TableError(f"{path}: cost_{name} has values of 0 or less, costs are above 0")
        labels = [str(label) for label in np.atleast_1d(arrays.get("choices", np.zeros(0)))]
        distributions = {f"x{i}": _distribution(labels[:card], card) for i, card in enumerate(cards)}
        return cls(Path(path).stem, cards, distributions, scores, costs)


def _cards(path: Path, array: NDArray[Any]) -> tuple[int, ...]:
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or (array < 1).any():
        raise TableError(
            f"{path}: cards is {array.dtype} {list(array.shape)}, a vector of whole numbers >= 1 is needed"
        )
    return tuple(int(card) for card in array)


def _numbers(path: Path, name: str, array: NDArray[Any], cards: tuple[int, ...], dims: int) -> Array:
    points = int(np.prod(cards))
    wanted = f"[{points}, runs]" if dims == 2 else f"[{points}]"
    if array.ndim != dims or len(array) != points or array.dtype.kind not in "iuf" or not array.size:
        raise TableError(f"{path}: {name} is {array.dtype} {list(array.shape)}, numbers {wanted} are needed")
    if not np.isfinite(array).all():
        raise TableError(f"{path}: {name} has values that are not finite")
    return array.astype(np.float64)


def _option(distribution: BaseDistribution, index: int) -> Any:
    return distribution.choices[index] if isinstance(distribution, CategoricalDistribution) else index


def _distribution(labels: list[str], card: int) -> BaseDistribution:
    """Return the distribution of a decision: an index where the options have no names of their own."""
    if len(set(labels)) < card:
        return CategoricalDistribution(tuple(str(option) for option in range(card)))
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return CategoricalDistribution(tuple(labels))
    if card > 1 and numbers == sorted(numbers):
        return IntDistribution(0, card - 1)
    return CategoricalDistribution(tuple(labels))
