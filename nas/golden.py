"""Golden records: what published networks compute under weights that a rule gives, and whether ours compute the same.

A record (`<model>.json.gz`) holds the published state dict's keys and shapes and the logits that the public code gave
for fixed images when each tensor was filled by `filled`. `verify` builds our network of that name, loads the same
tensors strictly and compares parameters and MACs exactly and outputs by relative error. Where a record also holds what
the network is after structural re-parameterisation, ours is merged and compared again.
"""

from __future__ import annotations

import gzip
import json
import math
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from space.build import Network, on_meta, parameters
from space.counting import counted
from space.errors import NasError, explain
from space.named import NamedModel, load_published, named

LIMITS = {"float64": 1e-6, "float32": 1e-3}
"""Largest relative error ||ours - recorded|| / ||recorded|| by the precision that the record was made in."""

SUFFIX = ".json.gz"


class Reparameterized(BaseModel):
    """What a record says of the same network once branches and norms are merged."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    params: int
    state: dict[str, tuple[int, ...]]
    """Shape by published key."""
    logits: list[list[float]] = Field(min_length=1)
    """Outputs at the record's input size."""


class Record(BaseModel):
    """One golden record; fields that the comparison does not need are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    input_size: tuple[int, int, int]
    """Channels, height and width of the images."""
    params: int
    macs: int | None = None
    """Multiply-accumulates of one image; None where the public code hides them in custom operators."""
    state: dict[str, tuple[int, ...]]
    """Shape by published key."""
    kept: frozenset[str] = frozenset()
    """Keys whose tensor is a constant, found in `extra["kept_values"]` by the end of the key."""
    dtype: Literal["float64", "float32"] = "float64"
    logits: list[list[float]] = Field(min_length=1)
    extra: dict[str, Any] = {}

    @property
    def limit(self) -> float:
        """The largest relative error allowed."""
        return LIMITS[self.dtype]

    def outputs(self) -> list[tuple[tuple[int, int, int], list[list[float]]]]:
        """Return (input size, logits) of the record and of each further input size it holds."""
        further = [entry for entry in _entries(self.extra) if "input_size" in entry and "logits" in entry]
        return [(self.input_size, self.logits), *((tuple(e["input_size"]), e["logits"]) for e in further)]

    def reparameterized(self) -> Reparameterized | None:
        """Return what it says of the merged network, None where nothing. Raises NasError where that is damaged."""
        data = self.extra.get("reparameterized")
        if data is None:
            return None
        try:
            return Reparameterized.model_validate(data)
        except ValidationError as error:
            raise NasError(f"extra.reparameterized: {explain(error, data)[0]}") from None


def _entries(extra: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the tables in `extra`, each before those it holds."""
    for value in extra.values():
        if isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            yield table
            yield from _entries(table)


@dataclass(frozen=True)
class Verified:
    """The outcome for one record; numbers are None where it did not come to them, or says nothing of a merged form."""

    name: str
    ok: bool
    error: float | None = None
    limit: float | None = None
    params: int | None = None
    macs: int | None = None
    merged_error: float | None = None
    merged_params: int | None = None
    seconds: float = 0.0
    message: str = ""


def filled(key: str, shape: Sequence[int]) -> Tensor:
    """Return the float64 tensor of a published key: normal noise seeded by the key, scaled by the role it names."""
    shape = tuple(shape)
    generator = np.random.RandomState(zlib.crc32(key.encode()))
    noise = torch.from_numpy(np.asarray(generator.standard_normal(shape), dtype=np.float64).reshape(shape))
    role = key.rpartition(".")[2]
    if role == "running_var":
        return noise.abs_().mul_(0.1).add_(1)
    if role in ("A_log", "A_logs"):
        return torch.arange(1, shape[-1] + 1, dtype=torch.float64).log().expand(shape) + 0.1 * noise
    if role in ("running_mean", "beta") or "bias" in role:
        return noise.mul_(0.1)
    if sum(side > 1 for side in shape) <= 1:
        return noise.mul_(0.1).add_(1)
    return noise.div_(noise[0].numel() ** 0.5)


def published_state(record: Record) -> dict[str, Tensor]:
    """Return the filled published state dict of a record, in float64. Raises NasError where a constant is unknown."""
    constants = cast("dict[str, float]", record.extra.get("kept_values", {}))

    def tensor(key: str, shape: tuple[int, ...]) -> Tensor:
        if key.endswith("num_batches_tracked"):
            return torch.tensor(0)
        if key not in record.kept:
            return filled(key, shape)
        for end, constant in constants.items():
            if key.endswith(end):
                return torch.full(shape, constant, dtype=torch.float64)
        raise NasError(f"{record.name}: {key} is kept, but extra.kept_values does not say at which value")

    return {key: tensor(key, shape) for key, shape in record.state.items()}


def images(input_size: Sequence[int], batch: int = 2) -> Tensor:
    """Return the float64 images [batch, channels, height, width] that records were made with."""
    return torch.from_numpy(np.random.RandomState(0).standard_normal((batch, *input_size)))


def relative_error(ours: Tensor, recorded: Tensor | list[list[float]]) -> float:
    """Return ||ours - recorded|| / ||recorded||."""
    target = torch.as_tensor(recorded, dtype=torch.float64)
    if ours.shape != target.shape:
        raise NasError(f"outputs have the shape {list(ours.shape)}, the record's {list(target.shape)}")
    return float((ours.double() - target).norm() / target.norm())


def read_record(path: Path) -> Record:
    """Read one record. Raises NasError where the file is missing, damaged or no record."""
    try:
        data = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise NasError(f"{path}: not a readable record: {error}") from None
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        raise NasError(f"{path}: {explain(error, data)[0]}") from None


def record_files(paths: Iterable[Path]) -> list[Path]:
    """Return the record files among `paths`, those of a folder in alphabetical order. Raises NasError where none is."""
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise NasError(f"{path}: no records here, expected files named <model>{SUFFIX}")
        if not found[0].exists():
            raise NasError(f"{path}: no such file or folder")
        files += found
    return files


def _in_rows(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Hand a grouped convolution its map in plain row order: in float64 on a CPU it is five times as fast there."""
    return tuple(x.contiguous() for x in inputs)


def _ready(network: Network, dtype: torch.dtype) -> Network:
    """Return the network as it is to be run."""
    network.to(dtype).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and not module._forward_pre_hooks:
            module.register_forward_pre_hook(_in_rows)
    return network


def _error(network: Network, size: Sequence[int], logits: list[list[float]]) -> float:
    """Return the relative error of the network's outputs for the recorded images."""
    dtype = next(network.parameters()).dtype
    with torch.inference_mode():
        return relative_error(network(images(size, len(logits)).to(dtype)), logits)


def _compared(record: Record) -> Verified:
    model, merged = named(record.name), record.reparameterized()
    if record.input_size[0] != model.arch.in_channels:
        raise NasError(
            f"{record.name}: images of {record.input_size[0]} channels, the network takes {model.arch.in_channels}"
        )
    network = on_meta(model.arch)
    layout = load_published(network, record.name, published_state(record))
    _ready(network, torch.float64 if record.dtype == "float64" else torch.float32)
    params = parameters(network)
    macs = counted(on_meta(model.arch), (1, *record.input_size)).cost.macs
    faults: list[str] = []
    if params != record.params:
        faults.append(f"{params} parameters, the record has {record.params}")
    if record.macs is not None and macs != record.macs:
        faults.append(f"{macs} MACs, the record has {record.macs}")
    error = 0.0
    for size, logits in record.outputs():
        here = _error(network, size, logits)
        if not here <= record.limit:
            faults.append(f"error {here:.1e} at {size[1]} x {size[2]} px, the limit is {record.limit:.0e}")
        error = max(error, here) if here == here else here
    outcome = Verified(record.name, not faults, _finite(error), record.limit, params, macs, message="; ".join(faults))
    if merged is not None:
        outcome = _compared_merged(outcome, record, merged, network)
    return outcome if outcome.message else replace(outcome, message=f"{layout} layout")


def _compared_merged(outcome: Verified, record: Record, merged: Reparameterized, network: Network) -> Verified:
    """Merge `network` and add to the outcome how it and the published keys of that form compare with the record."""
    network.reparameterize()
    dtype = next(network.parameters()).dtype
    params, error = parameters(network), _error(_ready(network, dtype), record.input_size, merged.logits)
    faults = [outcome.message] if outcome.message else []
    if params != merged.params:
        faults.append(f"{params} parameters after merging, the record has {merged.params}")
    # the same weights under the published keys, in a network that was never anything else; one image will do
    model = named(record.name)
    fresh = on_meta(model.arch.merged())
    load_published(fresh, record.name, _as_published(model, network.state_dict(), merged.state))
    again = _error(_ready(fresh, dtype), record.input_size, merged.logits[:1])
    error = max(error, again) if again == again else again
    if not error <= record.limit:
        faults.append(f"error {error:.1e} after merging, the limit is {record.limit:.0e}")
    return replace(outcome, ok=not faults, merged_error=_finite(error), merged_params=params, message="; ".join(faults))


def _as_published(
    model: NamedModel, state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return our tensors under published keys in published shapes; zeros where there is none of that size."""
    layout = max(model.formats, key=lambda one: sum(one.native(key) in state for key in shapes))
    published: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        ours = state.get(layout.native(key) or "")
        if ours is None or ours.numel() != math.prod(shape):
            published[key] = torch.zeros(shape)
        else:
            published[key] = ours.reshape(shape)
    return published


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verify_file(path: Path) -> Verified:
    """Compare one record with our network of its name; a fault of any kind is told in the outcome's message."""
    start = time.perf_counter()
    name, limit = path.name.removesuffix(SUFFIX), None
    try:
        record = read_record(path)
        name, limit = record.name, record.limit
        outcome = _compared(record)
    except (RuntimeError, TypeError, ValueError) as error:  # NasError is a ValueError; torch raises all three
        line = " ".join(str(error).split())
        outcome = Verified(name, ok=False, limit=limit, message=line if len(line) <= 300 else line[:297] + "...")
    return replace(outcome, seconds=round(time.perf_counter() - start, 3))


def verify(paths: Iterable[Path], on_result: Callable[[Verified], None] | None = None) -> list[Verified]:
    """Compare records, given as files or folders, with our networks; one is held in memory at a time.

    Each outcome goes to `on_result` as it comes. Raises NasError where a path holds no record.
    """
    outcomes: list[Verified] = []
    for path in record_files(paths):
        outcomes.append(verify_file(path))
        if on_result:
            on_result(outcomes[-1])
    return outcomes
