"""nas report: a study as one page of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.open import open_store
from nas.cli.options import StoreOption, StudyArgument, examples
from nas.cli.output import line

FiguresOption = Annotated[
    Path | None,
    typer.Option(
        "--figures",
        metavar="FOLDER",
        help="Also write each figure as PNG and SVG into this folder; needs the extra 'figures'.",
        show_default="none",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write; replaced if it exists.")]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(
        short_help="Write a study as one HTML page that works offline.",
        epilog=examples(
            "nas report STUDY", "nas report STUDY --out report.html", "nas report STUDY --figures pictures"
        ),
    )(report)


def report(
    study: StudyArgument,
    out: OutOption = Path("report.html"),
    figures: FiguresOption = None,
    store: StoreOption = None,
) -> None:
    """Write a study as one HTML page that works offline: front, trials, learning curves, causes of failure."""
    from nas.report import write_report
    from nas.study_data import StudyData

    with open_store(store) as opened:
        data = StudyData.read(opened, study)
    size = write_report(data, out)
    if figures is not None:
        from nas.figure_files import write_figures

        line(f"{figures}: {len(write_figures(data, figures))} files")
    line(f"{out}: {size / 1e6:.1f} MB, {len(data.trials)} trials, {len(data.front)} on the front")
