"""The cost and accuracy sheet of an exported network: what `card.json` holds and `card.md` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from nas.facts import FORMAT, EffectiveFacts, Facts, NetworkFacts
from nas.quantities import duration, measured, short
from space import Architecture

JSON_FILE = "card.json"
TEXT_FILE = "card.md"
Count = Annotated[int, Field(ge=0)]


class CostFacts(Facts):
    """Cost of one image at `resolution` px, by formula."""

    params: Count
    macs: Count
    """Multiply-accumulates."""
    activations: Count
    """Elements that convolutions and matrix products write."""
    resolution: Count


class TrainingForm(Facts):
    """A network as it was trained, before branches and norms were merged (structural re-parameterisation)."""

    architecture_id: str
    architecture: Architecture
    cost: CostFacts
    effective: EffectiveFacts | None = None
    """The cost without zero weights, of a network that was trained sparse: merging fills some of them."""


class LatencyFacts(Facts):
    """Time of one image, measured when the folder was written."""

    median_ms: Annotated[float, Field(ge=0)]
    spread_ms: float | None
    circumstances: dict[str, str | int | float]


class ProgramFacts(Facts):
    """One form of the network that runs without this package, and how far its outputs are from PyTorch's."""

    file: str
    max_abs_error: Annotated[float, Field(ge=0)]
    """Largest difference of a logit, over the batches compared."""
    max_rel_error: Annotated[float, Field(ge=0)]
    """The same over the largest logit."""
    batches: tuple[Count, ...]
    """Sizes of the batches compared."""
    made_with: str
    """Packages and versions."""


class FileFacts(Facts):
    """A file of the folder."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Count


class Card(Facts):
    """All that is known of an exported network."""

    format: int = FORMAT
    name: str
    description: str
    """The network in one line."""
    architecture_id: str
    network: NetworkFacts
    cost: CostFacts
    effective: Annotated[EffectiveFacts | None, Field(exclude_if=lambda value: value is None)] = None
    """The cost without zero weights, of a network that was trained sparse; None, and not written, for any other."""
    training_form: Annotated[TrainingForm | None, Field(exclude_if=lambda value: value is None)] = None
    """What the network was in training, where merging changed it; None, and not written, for any other."""
    latency: LatencyFacts | None
    programs: tuple[ProgramFacts, ...]
    left_out: tuple[str, ...]
    """Why a form that was asked for is not there."""
    files: dict[str, FileFacts]
    """Every other file of the folder, by name."""

    @property
    def trained(self) -> bool:
        """Whether the weights are trained ones."""
        return self.network.training is not None


def as_text(card: Card) -> str:
    """Write the card as Markdown."""
    parts = [f"# {_plain(card.name)}", card.description]
    if not card.trained:
        parts.append("**Untrained: the weights are initial ones, the network knows nothing yet.**")
    parts += [_table(_numbers(card)), _input(card), *_training(card), _use(card), _files(card)]
    return "\n\n".join(parts) + "\n"


def _numbers(card: Card) -> list[tuple[str, str]]:
    cost = card.cost
    rows = [
        (f"{score.split} accuracy", f"{measured(score.accuracy, 'ratio')} of {score.images} images of {data}, top-1")
        for score in reversed(card.network.scores)
        for data in [_plain(score.data)]
    ]
    rows += [
        ("parameters", f"{short(cost.params)} ({cost.params:,})"),
        ("MACs", f"{short(cost.macs)} ({cost.macs:,}) at {cost.resolution} px"),
        ("activations", f"{short(cost.activations)} ({cost.activations:,})"),
    ]
    if (effective := card.effective) is not None:
        rows += [
            ("sparsity", f"{measured(effective.sparsity, 'ratio')} of the weights of convolutions and linear layers"),
            ("effective parameters", f"{short(effective.params)} ({effective.params:,}), zero weights left out"),
            ("effective MACs", f"{short(effective.macs)} ({effective.macs:,}) at {cost.resolution} px"),
        ]
    if card.training_form is not None:
        rows += _in_training(card.training_form)
    if card.latency is not None:
        spread = "" if card.latency.spread_ms is None else f", spread {card.latency.spread_ms:.3g} ms"
        where = ", ".join(f"{name} {value}" for name, value in card.latency.circumstances.items())
        rows.append(("latency", f"{card.latency.median_ms:.4g} ms{spread} ({where})"))
    rows.append(("architecture", f"{card.architecture_id}, from {_plain(card.network.origin.name)}"))
    return rows


def _in_training(form: TrainingForm) -> list[tuple[str, str]]:
    cost, effective = form.cost, form.effective
    rows = [
        ("parameters in training", f"{short(cost.params)} ({cost.params:,}), before branches and norms merged"),
        ("MACs in training", f"{short(cost.macs)} ({cost.macs:,}), architecture {form.architecture_id}"),
    ]
    if effective is not None:
        numbers = f"{effective.params:,} parameters, {effective.macs:,} MACs"
        rows.append(("effective in training", f"{numbers}, sparsity {measured(effective.sparsity, 'ratio')}"))
    return rows


def _input(card: Card) -> str:
    reads = card.network.input
    side, digits = reads.resolution, ", ".join
    classes = card.network.classes
    named = digits(_plain(name) for name in classes[:20]) + (f", ... (all in {JSON_FILE})" if len(classes) > 20 else "")
    return (
        "## Input and output\n\n"
        f"Images are brought to {reads.resize} x {reads.resize} px, of which the centre {side} x {side} px is read,\n"
        f"as float32 [N, {reads.channels}, {side}, {side}], any N, each value (v / 255 - mean) / std with\n"
        f"mean {digits(f'{v:.6g}' for v in reads.mean)} and std {digits(f'{v:.6g}' for v in reads.std)} per channel.\n"
        f"Logits [N, {len(classes)}]; classes: {named}."
    )


def _training(card: Card) -> list[str]:
    training = card.network.training
    if training is None:
        return []
    recipe = training.recipe
    rows = [
        ("data", f"{_plain(training.data.name)} ({training.data.fingerprint}), split by seed {training.data.seed}"),
        ("images", ", ".join(f"{count} {split}" for split, count in training.data.images.items())),
        ("recipe", _listed(recipe)),
        ("seed", str(training.seed)),
        ("device", f"{training.device}, {training.threads} threads, {duration(training.seconds)}"),
        ("versions", f"nas-vision {training.nas_version}, torch {training.torch_version}"),
    ]
    return ["## Training", _table(rows)]


def _listed(values: Mapping[str, Any]) -> str:
    said = {name: f"({_listed(value)})" if isinstance(value, dict) else value for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)


def _use(card: Card) -> str:
    lines = ["## Use", "", "```python", "import nas", 'network = nas.load("THIS-FOLDER")', "```"]
    for program in card.programs:
        script = "run_onnx.py" if program.file.endswith(".onnx") else "run_torch.py"
        lines += [
            "",
            f"`{program.file}` runs without this package: `python {script} IMAGE`. "
            f"Its logits differ from PyTorch's by at most {program.max_abs_error:.2g} "
            f"(relative {program.max_rel_error:.2g}); made with {program.made_with}.",
        ]
    return "\n".join([*lines, *(f"\nLeft out: {reason}." for reason in card.left_out)])


def _files(card: Card) -> str:
    rows = [(name, f"{file.bytes:,} bytes, sha256 {file.sha256}") for name, file in sorted(card.files.items())]
    return f"## Files\n\n{_table(rows)}"


def _table(rows: list[tuple[str, str]]) -> str:
    body = "\n".join(f"| {name} | {value.replace('|', '/')} |" for name, value in rows)
    return f"| | |\n|---|---|\n{body}"


def _plain(text: str) -> str:
    """Return text that came from outside so that Markdown and the terminal take it literally."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    for mark in "\\`*_[]<>#|":
        kept = kept.replace(mark, f"\\{mark}" if mark not in "|" else "/")
    return kept
