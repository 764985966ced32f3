"""nas models list | show | verify: the named models, and whether they reproduce the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, examples
from nas.cli.output import as_json, line, say, table
from nas.quantities import short
from nas.tables import Column

if TYPE_CHECKING:
    from nas.golden import Verified
    from space.named import NamedModel, Published

ModelArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model; nas models list shows them.")]
GoldenOption = Annotated[
    Path, typer.Option("--golden", metavar="FILE|FOLDER", help="A record (*.json.gz), or a folder of records.")
]

app = typer.Typer(
    short_help="List, show and verify the named models.",
    rich_markup_mode=None,
    help="List the named models, show one, or verify them against recorded outputs of the published ones.",
    epilog=examples("nas models list", "nas models show convnext_tiny", "nas models verify --golden records/"),
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", epilog=examples("nas models list", "nas models list --json | jq -r '.[].name'"))
def list_models(json: JsonOption = False) -> None:
    """List the named models with parameters, MACs and the published accuracy."""
    from space.named import model_names, named

    found = [named(name) for name in model_names()]
    if json:
        as_json([_summary(model) for model in found])
        return
    columns = [Column("model"), Column("family"), Column("params", right=True), Column("MACs", right=True)]
    columns += [Column("px", right=True), Column("published top-1", right=True), Column("source", long=True)]
    table(columns, [_cells(model) for model in found])


@app.command(epilog=examples("nas models show convnext_tiny", "nas models show caformer_s18 --json"))
def show(name: ModelArgument, json: JsonOption = False) -> None:
    """Show a named model: its point, what it costs, and the published figures with their source.

    Beside each published figure stands what is counted here in the same form and by the same rule, and how far the two
    are apart.
    """
    from nas.networks import as_yaml
    from space import cost, describe
    from space.counting import merged_cost, published_flops
    from space.named import named

    model = named(name)
    if json:
        point = model.arch.model_dump(mode="json", exclude_defaults=True)
        as_json(_summary(model) | {"drop_path": model.drop_path, "point": point})
        return
    counts = cost(model.arch, model.resolution)
    line(f"{model.name} ({model.family}): {describe(model.arch)}")
    line(f"source: {model.source}")
    line(f"cost at {model.resolution} px: {_costs(counts)}")
    if (merged := merged_cost(model.arch, model.resolution)) is not None:
        line(f"merged after training: {_costs(merged)}")
    ruled = published_flops(model.arch, model.resolution)
    if ruled is not None:
        line(f"by the published rule: {ruled.flops:,} FLOPs = {ruled.rule} ({ruled.source})")
    line(f"drop path in the published training: {model.drop_path:g}")
    line()
    if model.published:
        titles = ("input", "top-1", "params", "MACs" if ruled is None else "FLOPs", "ours")
        columns = [
            *(Column(title, right=True) for title in titles),
            Column("pre-training"),
            Column("source", long=True),
        ]
        table(columns, [_published_cells(model, entry) for entry in model.published])
        for note in _notes(model):
            line(note)
        line()
    line(f"# id {model.arch.id}")
    line(as_yaml(model.arch).rstrip())


@app.command(
    epilog=examples(
        "nas models verify --golden records/",
        "nas models verify --golden records/convnext_tiny.json.gz --json",
    )
)
def verify(golden: GoldenOption, json: JsonOption = False) -> None:
    """Verify named models against records of what the published ones compute; exit code 1 if any fails.

    A record holds the published weights' keys and shapes and the outputs under weights that a rule gives. Parameters
    and MACs must be equal, outputs within the record's limit, after structural re-parameterisation too where the record
    says what is then; a record without a model of its name fails.
    """
    from dataclasses import asdict

    from nas.golden import verify as compare

    found = compare([golden], lambda one: (say if json else line)(_verdict(one)))
    if json:
        as_json([asdict(one) for one in found])
    failed = sum(not one.ok for one in found)
    say(f"{len(found) - failed} of {len(found)} records reproduced" + (f", {failed} failed" if failed else ""))
    if failed:
        raise typer.Exit(1)


def _verdict(one: Verified) -> str:
    error = "-" if one.error is None else f"{one.error:.1e}"
    limit = "-" if one.limit is None else f"{one.limit:.0e}"
    counts = "" if one.params is None else f", {one.params:,} parameters"
    if one.merged_error is not None:
        counts += f"; merged: error {one.merged_error:.1e}, {one.merged_params:,} parameters"
    tail = f": {one.message}" if one.message else ""
    return (
        f"{'ok  ' if one.ok else 'FAIL'} {one.name}: error {error} (limit {limit}){counts}, {one.seconds:.1f} s{tail}"
    )


def _notes(model: NamedModel) -> list[str]:
    """Say of what parameters and MACs were counted, where that is not the network as it is trained."""
    notes = ["parameters and MACs are those of the merged form"] if model.published_form == "merged" else []
    if sparsity := max(entry.sparsity for entry in model.published):
        notes.append(
            f"parameters and MACs count the weights that sparse training left, {100 * (1 - sparsity):.0f} % of them; "
            "ours as if that were so in every layer"
        )
    return notes


def _costs(counts: Any) -> str:
    return f"{counts.params:,} parameters, {counts.macs:,} MACs, {counts.activations:,} activations"


def _summary(model: NamedModel) -> dict[str, Any]:
    from space import cost
    from space.counting import merged_cost, published_flops

    ruled = published_flops(model.arch, model.resolution)
    counts, merged = cost(model.arch, model.resolution), merged_cost(model.arch, model.resolution)
    return {
        "name": model.name,
        "family": model.family,
        "architecture": model.arch.id,
        "resolution": model.resolution,
        "params": counts.params,
        "macs": counts.macs,
        "activations": counts.activations,
        "published_rule": None if ruled is None else ruled._asdict(),
        "merged": None if merged is None else merged._asdict(),
        "published": [_published(model, entry) for entry in model.published],
        "published_form": model.published_form,
        "source": model.source,
    }


def _published(model: NamedModel, entry: Published) -> dict[str, Any]:
    from space.named import recounted

    names = ("params_m", "macs_g", "top1", "input", "pretrain", "source", "classes", "sparsity")
    ours = recounted(model, entry)
    counted = {"params": round(ours.params), "flops": round(ours.flops), "deviation_percent": ours.deviation}
    return {name: getattr(entry, name) for name in names} | {"counted": counted}


def _cells(model: NamedModel) -> list[str]:
    from space import cost

    counts = cost(model.arch, model.resolution)
    best = next((entry.top1 for entry in model.published if entry.top1 is not None), None)
    return [
        model.name,
        model.family,
        short(counts.params),
        short(counts.macs),
        str(model.resolution),
        "-" if best is None else f"{best:.1f} %",
        model.source,
    ]


def _published_cells(model: NamedModel, entry: Published) -> list[str]:
    from space.named import recounted

    def number(value: float | None, unit: str) -> str:
        return "-" if value is None else f"{value:g}{unit}"

    ours = recounted(model, entry)
    return [
        number(entry.input, " px"),
        number(entry.top1, " %"),
        number(entry.params_m, "M" if entry.classes == 1000 else f"M ({entry.classes} classes)"),
        number(entry.macs_g, "G"),
        f"{ours.flops / 1e9:.4g}G" + ("" if ours.deviation is None else f" ({ours.deviation:+.1f} %)"),
        entry.pretrain or "-",
        entry.source or "-",
    ]
