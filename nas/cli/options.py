"""Options and arguments that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL|FILE",
        help="Where studies are kept: a SQLite file or any SQLAlchemy URL.",
        show_default="$NAS_STORE, else .nas/nas.db here",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout; messages go to stderr.", show_default=False)
]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study; `nas studies` lists them.")]
NetworkArgument = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="A named model (convnext_tiny), a file that holds a network (YAML or JSON), or a trial (STUDY:NUMBER).",
    ),
]
SpaceArgument = Annotated[
    str, typer.Argument(metavar="SPACE", help="A space file, or the name of a preset (metaformer, tiny).")
]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Images: digits (bundled), a torchvision name (cifar10, fashion-mnist), a folder of class folders, "
        "a folder of IDX files, or hf:NAME.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="cpu, cuda or cuda:1.", show_default="cuda where there is one"),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="CPU threads to use.", show_default="all cores"),
]


def examples(*lines: str) -> str:
    """Return the text that ends a command's help: each line a command to type, kept as it stands."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
