"""The error of a training that came to nothing."""

from __future__ import annotations

from space.errors import NasError


class TrainingFailed(NasError):  # noqa: N818 -- the state of a trial, and reads as one
    """Training ended without a usable network: when, and why."""
