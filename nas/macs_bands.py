"""Bands of MACs that hold equally many networks, so that networks are compared with those of a like size."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def macs_bands(macs: ArrayLike, count: int) -> list[NDArray[np.int64]]:
    """Return the positions of each band's networks, smallest first: at most `count` bands, none of them empty.

    The bands' sizes differ by one at most; networks of equal MACs keep their order.
    """
    order = np.argsort(np.asarray(macs, dtype=np.float64), kind="stable")
    return [part for part in np.array_split(order, count) if len(part)]
