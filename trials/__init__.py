"""What a network is worth: data, training, evaluation and the store of results.

Names are imported on first use, so that whoever reads a store does not load the training.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trials.rows import (
        STATES,
        ArchitectureRow,
        ArtifactRow,
        EpochRow,
        MeasurementRow,
        State,
        StoreError,
        StudyRow,
        StudySummary,
        TrialRow,
    )
    from trials.store import Store

_HOME = {"Store": "trials.store"} | dict.fromkeys(
    (
        "STATES",
        "ArchitectureRow",
        "ArtifactRow",
        "EpochRow",
        "MeasurementRow",
        "State",
        "StoreError",
        "StudyRow",
        "StudySummary",
        "TrialRow",
    ),
    "trials.rows",
)

__all__ = [
    "STATES",
    "ArchitectureRow",
    "ArtifactRow",
    "EpochRow",
    "MeasurementRow",
    "State",
    "Store",
    "StoreError",
    "StudyRow",
    "StudySummary",
    "TrialRow",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name`."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
