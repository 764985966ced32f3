"""Take a network home: `nas export` writes a folder that needs nothing of this project to be used.

model.safetensors   the weights                    card.json, card.md          cost, accuracy, provenance, checksums
architecture.yaml   the point                      model.pt2, run_torch.py     torch.export program, and how to run it
                                                   model.onnx, run_onnx.py     ONNX, and how to run it

All are of the merged form where the network has one (structural re-parameterisation, `Network.reparameterize`); the
card says what it was in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from nas import card as cards
from nas.bundle import WEIGHTS, load
from nas.card import Card, CostFacts, FileFacts, LatencyFacts, ProgramFacts, TrainingForm
from nas.checkpoint import load_checkpoint, write_weights
from nas.effective_cost import effective_cost
from nas.facts import InputFacts, NetworkFacts
from nas.files import new_folder, sha256_of
from nas.networks import POINT_FILE, as_yaml
from nas.programs import FILES, FORMATS, SCRIPTS, TOLERANCE, WRITERS, Format, Unavailable, check_onnx, exported
from nas.reference import Resolved, is_checkpoint, resolve
from nas.training import ARTIFACT
from space import Architecture, NasError, Network, build, cost, describe
from space.errors import nearest
from trials.data.images import stored_side
from trials.latency import measure_latency
from trials.store import Store
from trials.threads import torch_threads

UNTRAINED_RESOLUTION = 224
__all__ = ["Bundle", "export", "load"]


@dataclass(frozen=True)
class Bundle:
    """An exported folder."""

    path: Path
    card: Card

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: each form that was left out, and why."""
        return self.card.left_out


def export(
    reference: str,
    to_dir: str | Path,
    *,
    store: Store,
    formats: Sequence[str] = FORMATS,
    untrained: bool = False,
    resolution: int | None = None,
    force: bool = False,
    threads: int = 1,
    device: str = "cpu",
) -> Bundle:
    """Write the network that `reference` names to the folder `to_dir`, as a whole or not at all.

    reference:   a checkpoint, or STUDY:NUMBER for the latest checkpoint of that trial; see `nas.reference`.
    formats:     which of `torch` and `onnx` to write beside weights, point and card; onnx needs the extra of that name.
    untrained:   where there is no trained network, write initial weights, and say so on the card.
    resolution:  side of the images in pixels of an untrained network; None: 224. A trained one keeps its own.
    force:       replace a folder of an earlier export. Any other folder that is not empty is refused.
    threads, device:  for measuring latency, one image at a time.
    Raises:      NasError: no trained network, damaged files, a folder in the way, a form that computes otherwise.
    """
    wanted = _formats(formats)
    target = Path(to_dir)
    _check_target(target, force)
    network, facts, form = _merged(_network(reference, store, untrained, resolution))
    with new_folder(target, replace=force) as folder, torch_threads(max(threads, 1)):
        programs, left_out = _write_programs(folder, network, facts, wanted)
        _write_point(folder, network, facts.architecture)
        card = _card(folder, network, facts, programs, left_out, device, threads)
        card = card.model_copy(update={"training_form": form})
        (folder / cards.TEXT_FILE).write_text(cards.as_text(card), encoding="utf-8")
        card = card.model_copy(update={"files": card.files | _listed([folder / cards.TEXT_FILE])})
        (folder / cards.JSON_FILE).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Bundle(target, card)


class _Found(NamedTuple):
    """A network with its facts, and what it was in training where it was merged since."""

    network: Network
    facts: NetworkFacts
    training_form: TrainingForm | None = None


def _network(reference: str, store: Store, untrained: bool, resolution: int | None) -> _Found:
    """Return the trained network, or where there is none and `untrained` allows it, one of initial weights."""
    path = Path(reference)
    if is_checkpoint(path) and path.exists():
        return _Found(*load_checkpoint(path))
    found = resolve(reference, store)
    if found.origin.kind == "bundle":
        loaded = load(path)
        return _Found(loaded.network, loaded.card.network, loaded.card.training_form)
    if (checkpoint := latest_checkpoint(found, store)) is not None:
        return _Found(*load_checkpoint(checkpoint))
    if not untrained:
        raise NasError(
            f"{reference}: has no trained weights; run `nas train {reference}` first, or export with --untrained"
        )
    return _Found(*_initial(found, resolution or UNTRAINED_RESOLUTION))


def _merged(found: _Found) -> _Found:
    """Return the network with branches and norms merged. Raises NasError where it then computes something else."""
    network, facts, _ = found
    arch, side = facts.architecture, facts.input.resolution
    if arch.merged() == arch:
        return found
    effective = effective_cost(network, arch, side) if facts.sparse else None
    images = torch.randn(2, arch.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = network(images), network.reparameterize()(images)
    error = float((after - before).abs().max() / before.abs().max().clamp(min=1e-12))
    if not error <= TOLERANCE:
        raise NasError(
            f"{facts.origin.name}: merged, its logits differ by {error:.2g} of the largest, allowed: {TOLERANCE:g}"
        )
    form = TrainingForm(architecture_id=arch.id, architecture=arch, cost=_cost(arch, side), effective=effective)
    return _Found(network, facts.model_copy(update={"architecture": network.architecture}), form)


def latest_checkpoint(found: Resolved, store: Store) -> Path | None:
    """Return the trial's network that was trained last, None where there is none. Raises NasError if it is gone."""
    if found.trial is None:
        return None
    rows = [row for row in store.artifacts_of(found.trial.id) if row.kind == ARTIFACT]
    if not rows:
        return None
    row = max(rows, key=lambda row: (row.created, row.id))
    path = store.root / row.path
    if not path.exists():
        raise NasError(f"{found.origin.name}: its checkpoint {path} is gone; run `nas train {found.origin.name}` again")
    if sha256_of(path) != row.sha256:
        raise NasError(f"{found.origin.name}: its checkpoint {path} was changed since it was written")
    return path


def _initial(found: Resolved, resolution: int) -> tuple[Network, NetworkFacts]:
    arch = found.arch.fitted(resolution)
    cost(arch, resolution)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(arch).eval()
    half = (0.5,) * arch.in_channels
    reads = InputFacts(
        channels=arch.in_channels, resolution=resolution, resize=stored_side(resolution), mean=half, std=half
    )
    names = tuple(str(index) for index in range(arch.classes))
    return network, NetworkFacts(origin=found.origin, architecture=arch, input=reads, classes=names, training=None)


def _write_programs(
    folder: Path, network: nn.Module, facts: NetworkFacts, formats: Sequence[Format]
) -> tuple[list[ProgramFacts], list[str]]:
    """Write each form with its script; return what was written and why the rest was not."""
    programs: list[ProgramFacts] = []
    left_out: list[str] = []
    shape = (facts.input.channels, facts.input.resolution, facts.input.resolution)
    if "onnx" in formats:
        try:
            check_onnx(network)
        except Unavailable as reason:
            left_out.append(str(reason))
            formats = [name for name in formats if name != "onnx"]
    if not formats:
        return programs, left_out
    program = exported(network, shape)
    for name in formats:
        try:
            programs.append(WRITERS[name](program, folder / FILES[name], network, shape))
        except Unavailable as reason:
            left_out.append(str(reason))
            continue
        script = files("nas.usage").joinpath(SCRIPTS[name]).read_text(encoding="utf-8")
        (folder / SCRIPTS[name]).write_text(script, encoding="utf-8")
    return programs, left_out


def _write_point(folder: Path, network: nn.Module, arch: Architecture) -> None:
    write_weights(folder / WEIGHTS, network)
    (folder / POINT_FILE).write_text(as_yaml(arch), encoding="utf-8")


def _card(
    folder: Path,
    network: nn.Module,
    facts: NetworkFacts,
    programs: Sequence[ProgramFacts],
    left_out: Sequence[str],
    device: str,
    threads: int,
) -> Card:
    arch, side = facts.architecture, facts.input.resolution
    timed = measure_latency(network, (1, arch.in_channels, side, side), device=device, threads=threads)
    return Card(
        name=facts.origin.name,
        description=describe(arch),
        architecture_id=arch.id,
        network=facts,
        cost=_cost(arch, side),
        effective=effective_cost(network, arch, side) if facts.sparse else None,
        latency=LatencyFacts(median_ms=timed.value, spread_ms=timed.spread, circumstances=dict(timed.circumstances)),
        programs=tuple(programs),
        left_out=tuple(left_out),
        files=_listed(sorted(folder.iterdir())),
    )


def _cost(arch: Architecture, side: int) -> CostFacts:
    return CostFacts(**cost(arch, side)._asdict(), resolution=side)


def _listed(paths: Sequence[Path]) -> dict[str, FileFacts]:
    return {path.name: FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size) for path in paths}


def _formats(names: Sequence[str]) -> list[Format]:
    for name in names:
        if name not in FORMATS:
            raise NasError(f"format: {name!r} is unknown, known: {', '.join(FORMATS)}{nearest(name, FORMATS)}")
    return [name for name in FORMATS if name in names]


def _check_target(target: Path, force: bool) -> None:
    """Refuse a target that would cost the user files of another kind."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise NasError(f"{target}: is no folder; choose another place")
    if not target.exists() or not any(target.iterdir()):
        return
    if not force:
        raise NasError(f"{target}: is not empty; choose another folder, or replace an earlier export with --force")
    if not (target / cards.JSON_FILE).is_file() or not (target / WEIGHTS).is_file():
        raise NasError(f"{target}: was not made by `nas export`, and --force replaces nothing else")
