"""Who proposes the next point: start points, then feasible draws, then the sampler, whose misses are mended.

The choice depends on the stored trials and the seed alone, so that a resumed search goes on as an uninterrupted one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from nas.admission import Admission
from nas.latency_limit import PREDICTED
from nas.repair import mend
from nas.sampler import Sampler
from nas.start_points import StartPoint
from nas.suggestions import Proposal, Suggestions
from trials.rows import TrialRow
from trials.seeds import derive_seed

PATIENCE = 3
"""Rejections in a row after which a feasible point is made or drawn instead of asking the sampler again."""
MENDED = 0.75
"""Share of those that are mended from the sampler's last proposal; the others are drawn, so that none is shut out."""
REJECTED = ("duplicate", "infeasible")


@dataclass(frozen=True)
class Candidate:
    """A proposed point and where it comes from."""

    proposal: Proposal
    sampler: str
    """Name of the sampler, `draw`, `mended` (from the sampler's last refused proposal) or `start`."""
    origin: str | None = None
    """The start point's name."""
    parents: tuple[int, ...] = ()
    """Numbers of the trials that it was bred or mended from."""


class Proposer:
    """Proposes points until the space is exhausted."""

    def __init__(
        self,
        suggestions: Suggestions,
        admission: Admission,
        starts: Sequence[StartPoint],
        *,
        name: str,
        sampler: Sampler,
        budget: int,
        seed: int,
    ) -> None:
        """Start with no trials; `take_in` tells of stored ones."""
        self.suggestions, self.admission = suggestions, admission
        self.exhausted = False
        self._starts = deque(starts)
        self._name, self._seed = name, seed
        self._startup = sampler.startup(budget)
        self._slow = 0
        self._refused: TrialRow | None = None
        self._rows = self._admitted = self._rejected = self._in_a_row = self._broken = 0

    def take_in(self, rows: Sequence[TrialRow]) -> dict[int, Proposal]:
        """Learn from the stored trials in the order of their numbers; return the proposals of open ones by number."""
        for row in rows:
            if row.origin is not None and self._starts:
                self._starts.popleft()
            slow = row.state == "infeasible" and row.attempt > 0
            if PREDICTED in row.extra:
                self.admission.slower_than_allowed(row.macs or 0)
            self._count(rejected=row.state in REJECTED and not slow)
            self._refused = row if row.state in REJECTED and self._sampled(row) else None
            if slow:
                self.too_slow(row)
            elif row.state == "complete" or row.rungs:
                self.fast_enough(row)
        self.admission.remember(rows)
        if self.admission.latency is not None:
            self.admission.latency.take_in(rows)
        return self.suggestions.rebuild(rows)

    def propose(self) -> Candidate | None:
        """Return the next point, to be passed to `admitted` or `rejected`; None at the end of the space.

        Raises:  NotInSpace for a start point outside the space.
        """
        if self._starts:
            start = self._starts.popleft()
            return Candidate(self.suggestions.adopt(start.arch, self._rows, 0), "start", start.name)
        while not self._draws():
            proposal = self.suggestions.ask(self._rows, self._broken)
            if proposal is not None:
                return Candidate(proposal, self._name, parents=proposal.parents)
            self._broken += 1
        rng = random.Random(derive_seed("draw", self._seed, self._rows))
        if self._refused is not None and rng.random() < MENDED:
            mended = mend(self.admission.space.decode(self._refused.choices), self.admission, rng)
            if mended is not None:
                proposal = self.suggestions.adopt(mended, self._rows, 0)
                return Candidate(proposal, "mended", parents=(self._refused.number,))
        arch = self.admission.draw(rng)
        if arch is None:
            self.exhausted = True
            return None
        return Candidate(self.suggestions.adopt(arch, self._rows, 0), "draw")

    def admitted(self, row: TrialRow) -> None:
        """Take note that the point last proposed is queued as this trial."""
        self._count(rejected=False)
        self._refused = None
        self.admission.remember([row])

    def rejected(self, row: TrialRow) -> None:
        """Take note that the point last proposed was refused, as this row says."""
        self._count(rejected=True)
        self._refused = row if self._sampled(row) else None
        if PREDICTED in row.extra:
            self.admission.slower_than_allowed(row.macs or 0)
        self.admission.remember([row])

    def too_slow(self, row: TrialRow) -> None:
        """Take note that an admitted trial violates a measured limit; draws prefer smaller networks from now on."""
        self._slow += 1
        self.admission.slower_than_allowed(row.macs or 0)

    def fast_enough(self, row: TrialRow) -> None:
        """Take note that an admitted trial meets the measured limits."""
        self._slow = 0
        self.admission.fast_enough(row.macs or 0)

    def _sampled(self, row: TrialRow) -> bool:
        """Tell whether the sampler proposed a row."""
        return row.sampler == self._name

    def _draws(self) -> bool:
        if self._startup is None or self._admitted < self._startup:
            return True
        # a sampler that keeps missing the limits gets one try a trial: rows of rejected points stay in proportion
        patience = PATIENCE if self._rejected <= 2 * self._admitted + 20 else 1
        return max(self._in_a_row + self._broken, self._slow) >= patience

    def _count(self, *, rejected: bool) -> None:
        self._rows += 1
        self._broken = 0
        self._rejected += rejected
        self._admitted += not rejected
        self._in_a_row = self._in_a_row + 1 if rejected else 0
