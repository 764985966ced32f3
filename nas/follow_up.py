"""What follows a search: the best networks of its front trained by another recipe, as in `full:5`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from space.errors import NasError, nearest

RECIPES = ("full",)
LARGEST = 1000


class FollowUp(BaseModel):
    """How many networks are trained again, and by which recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    recipe: str = "full"
    count: Annotated[int, Field(ge=1, le=LARGEST)]
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training images; None: the recipe's, by the size of the data."""

    @classmethod
    def parse(cls, text: str, epochs: int | None = None) -> FollowUp:
        """Read `full:5`. Raises NasError with what is allowed."""
        recipe, colon, number = (part.strip() for part in text.partition(":"))
        if recipe not in RECIPES:
            raise NasError(f"then {text!r}: recipe {recipe!r}, allowed: {', '.join(RECIPES)}{nearest(recipe, RECIPES)}")
        if not colon or not number.isascii() or not number.isdigit() or not 1 <= int(number) <= LARGEST:
            raise NasError(f"then {text!r}: networks {number!r}, allowed: 1 to {LARGEST}, as in 'full:5'")
        if epochs is not None and epochs < 1:
            raise NasError(f"then {text!r}: {epochs} epochs, allowed: 1 or more")
        return cls(recipe=recipe, count=int(number), epochs=epochs)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{self.recipe}:{self.count}"
