"""The error of a training that came to nothing."""

from __future__ import annotations

from space.errors import NasError


class TrainingFailed(NasError):
    """Training ended without a usable network: when, and why."""
