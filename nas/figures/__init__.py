"""Plotly figures of studies and networks: pure functions of frozen values, every stored string escaped.

One figure a file; what they have in common is in `style.py`. The report and the dashboard draw with these.
"""

from nas.figures.architecture import ArchitectureDrawing, StageDrawing, architecture_figure
from nas.figures.choices import ChoiceColumn, effect_figure, importance_figure, parallel_figure
from nas.figures.curves import Curve, curves_figure
from nas.figures.explore import explore_figure
from nas.figures.front import Dot, Mark, front_figure
from nas.figures.history import history_figure
from nas.figures.hypervolume import hypervolume_figure
from nas.figures.proxies import proxies_figure
from nas.figures.scatter import Lane, Layer, Scatter
from nas.figures.stages import stages_figure
from nas.figures.style import DARK, as_json, darkened

__all__ = [
    "DARK",
    "ArchitectureDrawing",
    "ChoiceColumn",
    "Curve",
    "Dot",
    "Lane",
    "Layer",
    "Mark",
    "Scatter",
    "StageDrawing",
    "architecture_figure",
    "as_json",
    "curves_figure",
    "darkened",
    "effect_figure",
    "explore_figure",
    "front_figure",
    "history_figure",
    "hypervolume_figure",
    "importance_figure",
    "parallel_figure",
    "proxies_figure",
    "stages_figure",
]
