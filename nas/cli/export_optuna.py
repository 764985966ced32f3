"""nas export-optuna: hand a study to Optuna."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.open import open_store
from nas.cli.options import StoreOption, StudyArgument, examples
from nas.cli.output import line

UrlOption = Annotated[
    str, typer.Option("--to", metavar="URL", help="Optuna's storage, as optuna-dashboard takes it; made if missing.")
]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(
        "export-optuna",
        short_help="Write a study as an Optuna study.",
        epilog=examples("nas export-optuna STUDY --to sqlite:///optuna.db", "optuna-dashboard sqlite:///optuna.db"),
    )(export_optuna)


def export_optuna(study: StudyArgument, to: UrlOption, store: StoreOption = None) -> None:
    """Write a study as an Optuna study, so that Optuna's own plots and optuna-dashboard open it."""
    from nas.optuna_export import export_optuna as export

    with open_store(store) as opened:
        count = export(opened, study, to)
    line(f"{count} trial{'s' if count != 1 else ''} of {study} written")
