"""Published state dicts under our keys: tables of renames, one for each layout, read strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from space.errors import NasError

State = Mapping[str, Tensor]

OPTIONAL = "num_batches_tracked"
"""A counter of batch normalisation that old checkpoints lack and that inference never reads."""


@dataclass(frozen=True)
class KeyFormat:
    """One layout of published weights: its name and how its keys read under ours.

    In `renames`, a table from published key to ours, a single letter as `{i}` stands for a number and a word as
    `{leaf}` for any one part of a key, the same on both sides; `{2i+1}` stands for one more than twice the number. The
    first row that fits a key counts.
    """

    format: str
    renames: Mapping[str, str] = field(hash=False)
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
    """Changes tensors before the renaming, for what no renaming can say (a split, a transposition)."""

    def native(self, key: str) -> str | None:
        """Return our key for a published one, or None where no row fits."""
        return _rename(key, self.renames.items())

    def publish(self, key: str) -> str:
        """Return a published key that reads as ours; ours where no row fits."""
        return _rename(key, ((ours, theirs) for theirs, ours in self.renames.items())) or key


def _rename(key: str, rows: Iterable[tuple[str, str]]) -> str | None:
    for template, to in rows:
        if (values := _read_key(template, key)) is not None:
            return _PLACE.sub(lambda place: _write(place, values), to)
    return None


_PLACE = re.compile(r"\{(\d*)([a-z]+)(?:\+(\d+))?\}")
"""Factor, name and summand of a place in a template."""


def _read_key(template: str, key: str) -> dict[str, str] | None:
    """Return what stands in the places of `template`, or None where the key does not fit it."""
    match = _pattern(template).fullmatch(key)
    if match is None:
        return None
    values = match.groupdict()
    for factor, name, summand in _PLACE.findall(template):
        if factor or summand:
            number, rest = divmod(int(values[name]) - int(summand or 0), int(factor or 1))
            if rest or number < 0:
                return None
            values[name] = str(number)
    return values


def _write(place: re.Match[str], values: Mapping[str, str]) -> str:
    factor, name, summand = place.groups()
    if not factor and not summand:
        return values[name]
    return str(int(factor or 1) * int(values[name]) + int(summand or 0))


@cache
def _pattern(template: str) -> re.Pattern[str]:
    number, part = r"0|[1-9]\d*", "[^.]+"
    pattern, end = "", 0
    for place in _PLACE.finditer(template):
        name = place[2]
        pattern += f"{re.escape(template[end : place.start()])}(?P<{name}>{number if len(name) == 1 else part})"
        end = place.end()
    return re.compile(pattern + re.escape(template[end:]))


@dataclass
class _Reading:
    """A published state dict read under one layout."""

    layout: KeyFormat
    tensors: dict[str, Tensor]
    unexpected: list[str]

    def missing(self, own: State) -> list[str]:
        absent = [k for k in own if k not in self.tensors and not k.endswith(OPTIONAL)]
        return [self.layout.publish(k) for k in absent]


def _read(layout: KeyFormat, state: State, own: State) -> _Reading:
    reading = _Reading(layout, {}, [])
    for key, tensor in (layout.convert(dict(state)) if layout.convert else state).items():
        ours = layout.native(key)
        if ours is None or ours not in own or ours in reading.tensors:
            reading.unexpected.append(key)
        else:
            reading.tensors[ours] = tensor
    return reading


def _fit(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """Return the tensor in `shape` if it differs in sides of length 1 only."""
    if tensor.shape == shape:
        return tensor
    if [n for n in tensor.shape if n > 1] != [n for n in shape if n > 1]:
        return None
    return tensor.reshape(shape)


def _some(what: str, items: list[str]) -> list[str]:
    shown = ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
    return [f"{len(items)} {what} ({shown})"] if items else []


def load(model: nn.Module, name: str, layouts: tuple[KeyFormat, ...], state: State) -> str:
    """Load `state` into `model` under the layout that fits its keys best, strictly, and return the layout's name."""
    odd = [str(k) for k, v in cast("Mapping[Any, Any]", state).items() if not isinstance(v, Tensor)]
    if odd:
        raise NasError(f"{name}: {', '.join(_some('values are no tensors', odd))}, a state dict holds tensors only")
    own = cast("dict[str, Tensor]", model.state_dict())
    reading = max((_read(layout, state, own) for layout in layouts), key=lambda r: len(r.tensors))
    fitted = {k: _fit(t, own[k].shape) for k, t in reading.tensors.items()}
    shapes = [
        f"{reading.layout.publish(k)}: {list(reading.tensors[k].shape)}, the model has {list(own[k].shape)}"
        for k, t in fitted.items()
        if t is None
    ]
    faults = [
        *_some("keys missing", reading.missing(own)),
        *_some("keys unexpected", reading.unexpected),
        *_some("of another shape", shapes),
    ]
    if faults:
        raise NasError(f"{name}: the state dict read in the {reading.layout.format} layout has {', '.join(faults)}")
    for key in own.keys() - fitted.keys():
        fitted[key] = torch.zeros_like(own[key], device="cpu")
    on_meta = any(p.is_meta for p in own.values())
    model.load_state_dict(cast("dict[str, Any]", fitted), strict=True, assign=on_meta)
    return reading.layout.format
