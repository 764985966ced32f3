"""MACs as a proxy: larger networks are taken to be better."""

from __future__ import annotations

from typing import ClassVar, Literal

from trials.zero_cost import Probe, ZeroCost


class Macs(ZeroCost):
    """Count the multiply-accumulates of the point itself at the job's cost resolution; nothing is built."""

    kind: Literal["macs"] = "macs"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("macs",)
    paper: ClassVar[str] = "Baseline, as in Krishnakumar et al., NAS-Bench-Suite-Zero, arXiv:2210.03230"

    def score(self, probe: Probe) -> tuple[float]:
        """Return the count."""
        return (float(probe.cost.macs),)
