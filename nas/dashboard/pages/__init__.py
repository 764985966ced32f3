"""The pages of the dashboard, one a file: a function that draws it, and its tables by name."""

from __future__ import annotations

from nas.dashboard.pages import compare, front, network, space, studies, workers
from nas.dashboard.view import Draw, Tables

__all__ = ["PAGES", "TABLES"]

PAGES: dict[str, Draw] = {
    "studies": studies.draw,
    "front": front.draw,
    "network": network.draw,
    "compare": compare.draw,
    "space": space.draw,
    "workers": workers.draw,
}
"""Pages by the first part of their address."""

TABLES: Tables = {
    **studies.TABLES,
    **front.TABLES,
    **network.TABLES,
    **compare.TABLES,
    **space.TABLES,
    **workers.TABLES,
}
"""Tables by name, for those who take them home."""
