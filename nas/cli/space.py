"""nas space check | sample | schema | size: look at a design space before searching it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, SpaceArgument, examples
from nas.cli.output import as_json, line
from nas.quantities import short

if TYPE_CHECKING:
    from space import Architecture, DesignSpace
    from space.size import Size

CountOption = Annotated[int, typer.Option("--n", metavar="N", min=1, max=10_000, help="Networks to draw.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of the draw.")]

app = typer.Typer(
    short_help="Check, sample and measure a design space.",
    rich_markup_mode=None,
    no_args_is_help=False,
    help="Check, sample and measure a design space; print the schema that editors complete space files with.",
    epilog=examples("nas space check my_space.yaml", "nas space sample metaformer --n 3"),
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog=examples("nas space check my_space.yaml", "nas space check metaformer --json"))
def check(space: SpaceArgument, json: JsonOption = False) -> None:
    """Check a space file: every choice must occur in some valid network; the first fault is named with its place."""
    design = _load(space)
    size = design.size()
    if json:
        as_json(
            {"space": design.name, "ok": True, "resolution": design.resolution, "proxy": _proxy(design)} | _size(size)
        )
        return
    line(f"{design.name}: valid, {_size_words(size)}")
    line(
        f"costs are of images of {design.resolution} px; proxy twin: {design.proxy or 'not set, chosen by the search'}"
    )


@app.command(
    epilog=examples(
        "nas space sample metaformer --n 3",
        "nas space sample my_space.yaml --n 1 > network.yaml && nas cost network.yaml",
        "nas space sample tiny --n 100 --json | jq '.[].params'",
    )
)
def sample(space: SpaceArgument, n: CountOption = 1, seed: SeedOption = 0, json: JsonOption = False) -> None:
    """Draw networks from a space, every choice alike, and print them as YAML (one document each) with their cost."""
    import random

    design = _load(space)
    rng = random.Random(seed)
    drawn = [design.sample(rng) for _ in range(n)]
    if json:
        as_json([_point_json(arch, design.resolution) for arch in drawn])
        return
    for index, arch in enumerate(drawn):
        if index:
            line("---")
        line(_point_text(arch, design.resolution))


@app.command(
    epilog=examples(
        "nas space schema > space.schema.json",
        "# yaml-language-server: $schema=space.schema.json     (first line of a space file, for editors)",
    )
)
def schema() -> None:
    """Print the JSON schema of space files, by which editors complete and check them while you type."""
    from space import json_schema

    as_json(json_schema())


@app.command(epilog=examples("nas space size metaformer", "nas space size my_space.yaml --json"))
def size(space: SpaceArgument, json: JsonOption = False) -> None:
    """Count the networks of a space, exactly where every choice is discrete, and in bits."""
    found = _load(space).size()
    if json:
        as_json(_size(found))
    else:
        line(_size_words(found))


def _load(space: str) -> DesignSpace:
    from space import DesignSpace

    return DesignSpace.load(space)


def _proxy(design: DesignSpace) -> dict[str, Any] | None:
    return None if design.proxy is None else design.proxy.model_dump()


def _size(size: Size) -> dict[str, Any]:
    return {"points": size.points, "bits": round(size.bits, 3)}


def _size_words(size: Size) -> str:
    if size.points is None:
        return f"{size.bits:.1f} bits (real-valued choices counted as 17 values each)"
    if size.points < 10**15:
        return f"{size.points:,} points ({size.bits:.1f} bits)"
    return f"about 10^{size.bits * 0.30103:.1f} points ({size.bits:.1f} bits)"


def _point_json(arch: Architecture, resolution: int) -> dict[str, Any]:
    from space import SpaceError, cost, describe

    try:
        costs: dict[str, Any] = dict(cost(arch, resolution)._asdict())
    except SpaceError as error:
        costs = {"params": None, "macs": None, "activations": None, "infeasible": str(error)}
    point = arch.model_dump(mode="json", exclude_defaults=True)
    return {"architecture": arch.id, "description": describe(arch), **costs, "resolution": resolution, "point": point}


def _point_text(arch: Architecture, resolution: int) -> str:
    from nas.networks import as_yaml

    found = _point_json(arch, resolution)
    if "infeasible" in found:
        costs = f"cannot run at {resolution} px: {found['infeasible']}"
    else:
        costs = f"{short(found['params'])} parameters, {short(found['macs'])} MACs at {resolution} px"
    return f"# {arch.id}: {costs}\n# {found['description']}\n{as_yaml(arch)}".rstrip()
