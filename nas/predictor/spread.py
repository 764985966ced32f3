"""The first points of a study: each as far as may be from those before, in its choices and in its costs.

Source:  maximin design, Johnson, Moore and Ylvisaker, Minimax and maximin distance designs, 1990.
"""

from __future__ import annotations

import numpy as np

from nas.predictor.columns import Array, Integers

COST = 0.25
"""What a deviation in the logarithm of the costs counts, where all choices different count 1."""


def farthest(rows: Array, costs: Array, others: Array, other_costs: Array, levels: Integers, ordered: Array) -> int:
    """Return the index of the row [N, P] with costs [N, C] whose nearest of the others [M, P] is farthest away."""
    gaps = _choices_apart(rows, others, levels, ordered)
    known = np.log(np.maximum(costs, 1e-30)), np.log(np.maximum(other_costs, 1e-30))
    if costs.shape[1]:
        spread = np.maximum(np.nanstd(known[0], axis=0), 1e-9)
        gaps = gaps + COST * np.nan_to_num(np.abs(known[0][:, None] - known[1][None]) / spread).mean(axis=2)
    return int(np.argmax(gaps.min(axis=1)))


def _choices_apart(rows: Array, others: Array, levels: Integers, ordered: Array) -> Array:
    """Return the share of the choices open in either row that differ, of numbers in proportion: [N, M]."""
    a, b = rows[:, None], others[None]
    step = np.where(ordered, np.abs(a - b) / np.where(levels > 0, np.maximum(levels - 1, 1), 1), a != b)
    closed_a, closed_b = np.isnan(a), np.isnan(b)
    apart = np.where(closed_a & closed_b, 0.0, np.where(closed_a | closed_b, 1.0, step))
    return apart.sum(axis=2) / np.maximum((~(closed_a & closed_b)).sum(axis=2), 1)
