"""nas report: a study as one page of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.open import open_store
from nas.cli.options import StoreOption, StudyArgument, examples
from nas.cli.output import line

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write; replaced if it exists.")]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(
        short_help="Write a study as one HTML page that works offline.",
        epilog=examples("nas report STUDY", "nas report STUDY --out report.html"),
    )(report)


def report(study: StudyArgument, out: OutOption = Path("report.html"), store: StoreOption = None) -> None:
    """Write a study as one HTML page that works offline: front, trials, learning curves, causes of failure."""
    from nas.report import write_report
    from nas.study_data import StudyData

    with open_store(store) as opened:
        data = StudyData.read(opened, study)
    size = write_report(data, out)
    line(f"{out}: {size / 1e6:.1f} MB, {len(data.trials)} trials, {len(data.front)} on the front")
