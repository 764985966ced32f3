"""Published FLOPs where they are more than multiply-accumulates: the rule of a paper's own count.

Most papers call multiply-accumulates FLOPs, and their figures compare with `space.counting.cost` as they stand.
Operators without matrix products, such as deformable sampling and selective scans, count none there; the networks made
of them were published with something added for these, each by a rule of its own. A token mixer states what its paper
adds (`TokenMixer.added_flops`), `space.counting.published_flops` sums it up for a network.
"""

from __future__ import annotations

from typing import NamedTuple


class FlopRule(NamedTuple):
    """What a published count adds to the multiply-accumulates of a mixer."""

    adds: str
    """In words, with the meaning of its letters."""
    source: str
    left_out: str = ""
    """What the published count also holds and this project leaves out; empty: nothing."""


class PublishedFlops(NamedTuple):
    """What a network counts by the rules of the papers its operators come from, for one image."""

    flops: int
    rule: str
    """In words, e.g. `MACs + 5 a tap, channel and position of deformable sampling`."""
    source: str
