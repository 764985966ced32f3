"""A trained network in one file: safetensors, with the facts as JSON in its header.

Reading such a file runs no code from it, so that a file from a stranger is safe to open.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from nas.facts import FORMAT, NetworkFacts
from nas.files import write_file
from space import Architecture, Network, build
from space.build import on_meta
from space.errors import NasError, explain

SUFFIX = ".safetensors"
_KEY = "nas"


class CheckpointError(NasError):
    """A checkpoint or bundle cannot be used: the file, what is wrong with it."""


def save_checkpoint(path: Path, network: nn.Module, facts: NetworkFacts) -> None:
    """Write weights and facts to `path` in one step. Raises NasError where the file cannot be written."""
    header = {_KEY: facts.model_dump_json()}
    write_file(path, lambda file: write_weights(file, network, header))


def write_weights(file: Path, network: nn.Module, header: dict[str, str] | None = None) -> None:
    """Write the state dict as safetensors, contiguous whatever the network's memory format. Raises OSError."""
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    try:
        save_file(weights, file, metadata=header)
    except SafetensorError as error:
        raise OSError(" ".join(str(error).split())) from None


def load_checkpoint(path: Path) -> tuple[Network, NetworkFacts]:
    """Return the network in eval mode on the CPU, and its facts. Raises CheckpointError."""
    facts = read_facts(path)
    return restored(path, facts.architecture), facts


def read_facts(path: Path) -> NetworkFacts:
    """Return the facts of a checkpoint without reading its weights.

    Raises:  CheckpointError: not a file, no checkpoint of ours, damaged, or made by a newer version.
    """
    with _opened(path) as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        raise CheckpointError(f"{path}: holds weights but not the network's facts; expected a file made by `nas train`")
    return parse_facts(f"{path}: header", text)


def parse_facts(where: str, text: str) -> NetworkFacts:
    """Check facts read from JSON text. Raises CheckpointError that begins with `where`."""
    data = json_mapping(where, text)
    check_format(where, data.get("format"))
    try:
        return NetworkFacts.model_validate_json(text)
    except ValidationError as error:
        raise CheckpointError(f"{where}: {'; '.join(explain(error, data))}") from None


def json_mapping(where: str, text: str) -> dict[str, Any]:
    """Return the JSON object in `text`. Raises CheckpointError that begins with `where`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{where}: holds {type(data).__name__}, expected a mapping")
    return data


def check_format(where: str, number: object) -> None:
    """Raise CheckpointError unless this version can read that form of the facts."""
    if not isinstance(number, int) or number < 1:
        raise CheckpointError(f"{where}: format {number!r}, allowed: 1 to {FORMAT}")
    if number > FORMAT:
        raise CheckpointError(f"{where}: format {number}, this version reads up to {FORMAT}; upgrade nas-vision")


def restored(path: Path, arch: Architecture) -> Network:
    """Build `arch` and load the weights of `path`, strict both ways; eval mode, CPU.

    Raises:  CheckpointError naming the first tensor that is missing, left over, or of another shape or type.
    """
    with _opened(path) as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 -- not a mapping
    expected = on_meta(arch).state_dict()
    for key, here in expected.items():
        found = weights.get(key)
        if found is None:
            raise CheckpointError(f"{path}: {key} is missing, the architecture has {list(here.shape)}")
        if found.shape != here.shape or found.dtype != here.dtype:
            stands, wanted = f"{found.dtype} {list(found.shape)}", f"{here.dtype} {list(here.shape)}"
            raise CheckpointError(f"{path}: {key}: {stands}, the architecture has {wanted}")
    if left := sorted(weights.keys() - expected.keys()):
        raise CheckpointError(f"{path}: {left[0]} is none of the architecture's tensors ({len(left)} such)")
    with torch.random.fork_rng(devices=[]):
        network = build(arch)
    network.load_state_dict(weights)
    return network.eval()


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is no readable safetensors file: {' '.join(str(error).split())}") from None
