"""nas export: a network as a folder that others can use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import StoreOption, examples
from nas.cli.output import line, say, waiting

WhatArgument = Annotated[
    str, typer.Argument(metavar="STUDY:NUMBER|CHECKPOINT", help="A trial, or a checkpoint that nas train wrote.")
]
ToOption = Annotated[Path, typer.Option("--to", metavar="FOLDER", help="The folder to make.")]
UntrainedOption = Annotated[
    bool, typer.Option("--untrained", help="Where there is no trained network, write one of initial weights.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the folder of an earlier export.")]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(
        short_help="Write a trained network to a folder that others can use.",
        epilog=examples(
            "nas export STUDY:17 --to my-network",
            "nas export runs/photos/network.safetensors --to my-network --force",
            "python -c \"import nas; network = nas.load('my-network')\"",
        ),
    )(export)


def export(
    network: WhatArgument,
    to: ToOption,
    untrained: UntrainedOption = False,
    force: ForceOption = False,
    store: StoreOption = None,
) -> None:
    """Write a trained network to a folder that works without this program.

    The folder holds weights (safetensors), the point (YAML), a card of cost and accuracy, a torch.export program and an
    ONNX file, each checked against the network, with a script that runs it. Branches and norms that can be merged
    (structural re-parameterisation) are merged in all of them.
    """
    from nas.cli.open import store_for
    from nas.export import export as write_bundle

    with store_for(network, store) as opened, waiting(f"writing {to} ..."):
        bundle = write_bundle(network, to, store=opened, untrained=untrained, force=force)
    for note in bundle.notes:
        say(f"left out: {note}")
    names = sorted(file.name for file in bundle.path.iterdir())
    line(f"{bundle.path}: {', '.join(names)}")
    line(f"next: python -c \"import nas; network = nas.load('{bundle.path}')\"")
