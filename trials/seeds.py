"""Seeds that follow from other seeds, so that no piece of randomness depends on what ran before it."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^63) that depends on every part and on their order."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def trial_seed(study_seed: int, arch_id: str) -> int:
    """Return the seed of every trial of this architecture in this study, in [0, 2^31)."""
    return derive_seed("trial", study_seed, arch_id) >> 32
