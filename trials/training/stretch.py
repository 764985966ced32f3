"""A part of a training: from the stop where its checkpoint was taken to the next one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from space.spec import Spec

Part = Annotated[float, Field(gt=0, le=1)]


class Stretch(Spec):
    """Which epochs are trained now, and on how much. The learning rate is that of the whole training throughout."""

    since: Annotated[int, Field(ge=0)] = 0
    """Epochs that the checkpoint has behind it."""
    until: Annotated[int, Field(ge=1)]
    """Epochs that are over at the end of this stretch."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """Time that the epochs so far have taken."""
    resolution: Part = 1.0
    """Side of the images, as a share of the whole training's."""
    images: Part = 1.0
    """Training images of an epoch, as a share of the whole training's."""
