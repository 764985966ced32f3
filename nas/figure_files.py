"""The figures of a study as PNG and SVG files, for papers and slides; drawn by Kaleido in a headless browser."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas.files import one_line, write_file
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


def write_figure(figure: Any, path: Path) -> None:
    """Write one figure: a page that works offline (.html), or a picture (.svg, .png) drawn by Kaleido.

    Raises:  NasError for another suffix, where Kaleido or a browser is missing, or the file cannot be written.
    """
    check_figure_file(path)
    if path.suffix == ".html":

        def write(beside: Path) -> None:
            beside.write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")

        write_file(path, write)
        return
    with one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _draw([_on_paper(figure)], [path])


def check_figure_file(path: Path) -> None:
    """Refuse a file that `write_figure` cannot write, before anything is computed. Raises NasError."""
    if path.suffix not in (".html", *(f".{kind}" for kind in KINDS)):
        raise NasError(f"figure {str(path)!r}: suffix {path.suffix!r}, allowed: .html, .svg, .png")
    if path.suffix != ".html" and find_spec("kaleido") is None:
        raise NasError("figures: Kaleido is not installed; pip install 'nas-vision[figures]'")


def _written(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    files = [folder / f"{name}.{kind}" for name in figures for kind in KINDS]
    _draw([_on_paper(figure) for figure in figures.values() for _ in KINDS], files)
    return files


def _draw(drawn: list[Any], files: list[Any]) -> None:
    import plotly.io

    try:
        plotly.io.write_images(fig=drawn, file=files, width=WIDTH, scale=2)
    except OSError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise NasError(f"figures: Kaleido could not draw them, it needs Chrome or Chromium: {words}") from None


def _on_paper(figure: Any) -> Any:
    import plotly.graph_objects as go

    copy = go.Figure(figure)
    return copy.update_layout(paper_bgcolor="white", plot_bgcolor="white")
