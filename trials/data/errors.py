"""The error of this package."""

from __future__ import annotations

from space.errors import NasError


class DataError(NasError):
    """Data cannot be used: which, what is wrong with it, what would do."""
