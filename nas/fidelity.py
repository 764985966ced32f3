"""Multi-fidelity: which rule decides how far a trial is trained, and the stops on the way, as a user names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nas.rungs import DEFAULT, Rung, RungRule, rung_rule, rung_rule_names
from space.errors import NasError, nearest

LARGEST = 100
NONE = "none"
_SHARES = ("epochs", "resolution", "images")


@dataclass(frozen=True)
class Stop:
    """A rung of one training."""

    epoch: int
    """Epochs that are over here."""
    resolution: float
    images: float


class Fidelity(BaseModel):
    """A rung rule, its reduction factor, and rungs in the place of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rule: str = DEFAULT
    reduction: Annotated[int, Field(ge=2, le=LARGEST)] = 3
    """One of so many trials goes on from each rung."""
    rungs: tuple[Rung, ...] = ()
    """Stops in their order, the last at the end of the training; empty: the rule's."""

    @field_validator("rule")
    @classmethod
    def _known(cls, name: str) -> str:
        rung_rule(name)
        return name

    @classmethod
    def parse(cls, text: str, rungs: Sequence[str] = ()) -> Fidelity:
        """Read `none`, `successive_halving` or `pareto_halving:4`, and rungs as `epochs=0.33,resolution=0.5`.

        Raises:  NasError with what is allowed, and the nearest name.
        """
        name, colon, number = (part.strip() for part in text.partition(":"))
        rung_rule(name)
        if name == NONE and (colon or rungs):
            what = f"rung {rungs[0]!r}" if rungs else f"fidelity {text!r}"
            others = ", ".join(each for each in rung_rule_names() if each != NONE)
            raise NasError(f"{what}: fidelity none has no rungs, allowed: {others or 'nothing else'}")
        if colon and not (number.isascii() and number.isdigit() and 2 <= int(number) <= LARGEST):
            raise NasError(f"fidelity {text!r}: reduction {number!r}, allowed: 2 to {LARGEST}, as in '{name}:3'")
        values = {"reduction": int(number)} if colon else {}
        return cls(rule=name, rungs=_ladder([parse_rung(each) for each in rungs]), **values)

    def make(self) -> RungRule:
        """Return the rule. Raises NasError where it is unknown."""
        return rung_rule(self.rule)(self.reduction)

    def stops(self, epochs: int) -> tuple[Stop, ...]:
        """Return the rungs of a training of so many epochs; of those that fall on one epoch, the last."""
        found: dict[int, Stop] = {}
        for rung in self.rungs or self.make().rungs(epochs):
            epoch = min(max(1, round(rung.epochs * epochs)), epochs)
            found[epoch] = Stop(epoch, rung.resolution, rung.images)
        return tuple(found[epoch] for epoch in sorted(found))

    def whole(self) -> bool:
        """Tell whether all rungs train on whole images and all of them, so that the end is that of one training."""
        return self.rule == NONE or all(
            rung.resolution == rung.images == 1 for rung in self.rungs or self.make().rungs(LARGEST)
        )

    def __str__(self) -> str:
        """Return the text that `parse` reads, without rungs."""
        return self.rule if self.rule == NONE else f"{self.rule}:{self.reduction}"


def parse_rung(text: str) -> Rung:
    """Read `epochs=0.33,resolution=0.5,images=0.5`; what is absent is 1. Raises NasError naming what is allowed."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (each.strip() for each in part.partition("="))
        if name not in _SHARES or not equals:
            hint = nearest(name, _SHARES)
            raise NasError(f"rung {text!r}: {part.strip()!r}, allowed: epochs=, resolution= and images=SHARE{hint}")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1 or name in shares:
            why = "stands twice" if name in shares else f"is {number!r}, allowed: above 0 and up to 1"
            raise NasError(f"rung {text!r}: {name} {why}")
        shares[name] = share
    if "epochs" not in shares:
        raise NasError(f"rung {text!r}: without epochs, which says where it is, as in 'epochs=0.33'")
    return Rung(**shares)


def _ladder(rungs: list[Rung]) -> tuple[Rung, ...]:
    """Return the rungs in their order with the end of the training. Raises NasError where two are at one place."""
    if not rungs:
        return ()
    ordered = sorted(rungs, key=lambda rung: rung.epochs)
    for lower, upper in pairwise(ordered):
        if lower.epochs == upper.epochs:
            raise NasError(f"rung 'epochs={lower.epochs:g}': stands twice, allowed: once")
    last = ordered[-1]
    if last.epochs < 1:
        return (*ordered, Rung(1.0))
    if last.resolution < 1 or last.images < 1:
        raise NasError("rung 'epochs=1': resolution and images of the last rung are 1, no trial would be trained whole")
    return tuple(ordered)
