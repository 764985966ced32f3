"""Parameters as a proxy: larger networks are taken to be better."""

from __future__ import annotations

from typing import ClassVar, Literal

from trials.zero_cost import Probe, ZeroCost


class Params(ZeroCost):
    """Count the learnable scalars of the point itself; nothing is built."""

    kind: Literal["params"] = "params"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("params",)
    paper: ClassVar[str] = "Baseline, as in Krishnakumar et al., NAS-Bench-Suite-Zero, arXiv:2210.03230"

    def score(self, probe: Probe) -> tuple[float]:
        """Return the count."""
        return (float(probe.cost.params),)
