"""The figures of a study as PNG and SVG files, for papers and slides; drawn by Kaleido in a headless browser."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas.report import report_figures
from nas.study_data import StudyData
from space.errors import NasError

WIDTH = 1000
KINDS = ("svg", "png")


def write_figures(data: StudyData, folder: Path) -> list[Path]:
    """Write each figure of a study's report into a folder, once as SVG and once as PNG; return the files.

    Raises:  NasError where Kaleido or a browser for it is missing, or the folder cannot be written.
    """
    if find_spec("kaleido") is None:
        raise NasError("figures: Kaleido is not installed; pip install 'nas-vision[figures]'")
    folder.mkdir(parents=True, exist_ok=True)
    return _written(report_figures(data), folder)


def _written(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    import plotly.io

    files: list[Any] = [folder / f"{name}.{kind}" for name in figures for kind in KINDS]
    drawn = [_on_paper(figure) for figure in figures.values() for _ in KINDS]
    try:
        plotly.io.write_images(fig=drawn, file=files, width=WIDTH, scale=2)
    except OSError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise NasError(f"figures: Kaleido could not draw them, it needs Chrome or Chromium: {words}") from None
    return files


def _on_paper(figure: Any) -> Any:
    import plotly.graph_objects as go

    copy = go.Figure(figure)
    return copy.update_layout(paper_bgcolor="white", plot_bgcolor="white")
