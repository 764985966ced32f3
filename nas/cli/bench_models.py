"""nas bench models: named models against timm's implementation of them on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption, examples
from nas.cli.output import as_json, counted, line, table
from nas.tables import Column

if TYPE_CHECKING:
    from nas.model_bench import Row


ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL ...]",
        help="Named models; nas models list shows them.",
        show_default="the smallest of each family",
    ),
]
PeerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--peer",
        metavar="PEER",
        help="What to compare with: timm, or our own network with its operators as published (reference) or without "
        "the library in C++ (pytorch); repeatable.",
        show_default="timm, and reference for models that timm has not",
    ),
]
SizeOption = Annotated[
    list[int] | None,
    typer.Option(
        "--size",
        metavar="PX",
        min=1,
        max=4096,
        help="Side of the images; repeatable. DeiT and Swin take their own, whatever this says.",
        show_default="64",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this file to its group."""
    app.command(
        epilog=examples(
            "nas bench models",
            "nas bench models convnext_atto swin_tiny_patch4_window7_224 --size 32 --size 224",
            "nas bench models vmamba_tiny_s1l8 --peer pytorch --peer reference --batch 2 --json",
        )
    )(models)


def models(
    names: ModelsArgument = None,
    peer: PeerOption = None,
    size: SizeOption = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", min=1, help="Images.", show_default="8 at 64 px, else as many pixels"),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="DEVICE", help="Where to run: cpu or cuda.")] = "cpu",
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", min=1, max=1024, help="CPU threads; with one, times are CPU times.")
    ] = 1,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, max=1000, help="Timed runs of each.")] = 5,
    json: JsonOption = False,
) -> None:
    """Time a training step and inference of named models against timm's implementation with the same weights.

    Both take turns in one run; a speed-up is the other's median time over ours. A step is forward, backward and AdamW;
    the outputs of both are compared first. Models that timm has not are compared with themselves, with the operators as
    they were published. Without names it takes some minutes.
    """
    from nas.model_bench import MODELS, SIZE, cases, rows, summary

    planned = cases(names or MODELS, peer or (), size or (SIZE,), batch)
    found: list[Row] = []
    with counted(2 * len(planned), "measurements") as tick:
        for row in rows(planned, device=device, threads=threads, rounds=rounds):
            found.append(row)
            tick(1)
    if json:
        as_json([row._asdict() for row in found])
        return
    _show(found)
    line()
    for against, mode, mean, least in summary(found):
        line(f"{mode}: {mean:.2f} times as fast as {against} (geometric mean), at least {least:.2f} times")


def _show(found: list[Row]) -> None:
    titles = (
        "model",
        "against",
        "mode",
        "px",
        "batch",
        "device",
        "threads",
        "ms",
        "spread",
        "ms",
        "spread",
        "speed-up",
    )
    table(
        [Column(title, right=index > 2 and title != "device") for index, title in enumerate(titles)],
        [
            (
                row.model, row.peer, row.mode, row.size, row.batch, row.device, row.threads, f"{row.ms:.1f}",
                f"{row.spread:.1f}", f"{row.peer_ms:.1f}", f"{row.peer_spread:.1f}", f"{row.speedup:.2f}",
            )
            for row in found
        ],
    )  # fmt: skip
