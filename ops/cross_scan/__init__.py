"""Cross scan and cross merge: a map read as four sequences, and four sequences laid back on the map."""

from __future__ import annotations

from torch import Tensor

from ops.cross_scan.reference import ROUTES, Routes, merge, scan
from ops.shapes import expect

__all__ = ["Routes", "cross_merge", "cross_scan"]


def cross_scan(x: Tensor, *, routes: Routes = "cross") -> Tensor:
    """Read a map along four routes.

    `cross`: rows, columns, rows reversed, columns reversed (all published VMamba models); `unidirectional`: rows, four
    times; `bidirectional`: rows, rows, rows reversed, rows reversed; `rotation`: the rows after 0, 1, 2, 3 quarter
    turns counter-clockwise.

    Shapes:  x [B, C, H, W], or [B, 4, C, H, W] with a map for each route -> [B, 4, C, H * W]; any strides.
    Dtypes:  any, kept.
    Raises:  ValueError if the shape or the routes are others.
    Source:  VMamba, arXiv:2401.10166, sec. 4.2; route sets of MzeroMiko/VMamba@2ed52ea; implementation our own.
    """
    expect("cross_scan", "x", x, ("B", "C", "H", "W"), ("B", 4, "C", "H", "W"))
    _known("cross_scan", routes)
    return scan(x, routes)


def cross_merge(ys: Tensor, *, routes: Routes = "cross", summed: bool = True) -> Tensor:
    """Lay four sequences back on the map that `cross_scan` reads along the same routes, and sum them.

    Shapes:  ys [B, 4, C, H, W], H and W those of the map, each route's last two axes holding its sequence
             -> [B, C, H * W] by rows; not summed [B, 4, C, H * W]; any strides.
    Dtypes:  any, kept.
    Raises:  ValueError if the shape or the routes are others.
    Source:  as `cross_scan`, of which this is the adjoint.
    """
    expect("cross_merge", "ys", ys, ("B", 4, "C", "H", "W"))
    _known("cross_merge", routes)
    return merge(ys, routes, summed)


def _known(where: str, routes: str) -> None:
    if routes not in ROUTES:
        raise ValueError(f"{where}: routes {routes!r}, allowed: {', '.join(map(repr, ROUTES))}")
