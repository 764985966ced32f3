"""What a data source yields: images with labels, as they are stored, not yet split or resized."""

from __future__ import annotations

from dataclasses import dataclass

from trials.data.images import Images


@dataclass(frozen=True, slots=True)
class Contents:
    """The images of one source. Parts that it does not set apart itself are None and are carved from `train`."""

    name: str
    classes: tuple[str, ...]
    train: Images
    mirror: bool
    """Whether an image seen in a mirror keeps its class: true of photographs, false of digits and letters."""
    digest: str
    """Hash of the content as it is stored."""
    validation: Images | None = None
    test: Images | None = None
