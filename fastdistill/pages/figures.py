"""Figures of a page: colours, empty panels, labels and legends.

Cost: about a quarter of a second for each figure that is drawn.
"""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, distinct for every common kind of colour vision
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY = "#767676"
LINES = ("black", BLUE, ORANGE, GREEN, PINK, SKY, YELLOW)


def panels(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """A figure without pyplot and its axes (rows · columns,), inches; quiet frames, light grid."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e4e4e4", linewidth=0.7)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=9)
    return figure, axes


def label(ax: Axes, title: str, x: str, y: str = "") -> None:
    """Title and axis labels of one panel."""
    ax.set_title(title, fontsize=10.5)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def legend_below(figure: Figure, source: Axes, columns: int) -> None:
    """One legend for the figure, outside the axes where it cannot cover data."""
    handles, names = source.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def shades(count: int) -> list[Any]:
    """Ordered colours from dark blue to yellow, readable in grey and for every common kind of colour vision."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, count)))


def whole_numbers(ax: Axes) -> None:
    """Ticks of the x axis at whole numbers only, where they were not set by hand."""
    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def line_colours(count: int) -> list[Any]:
    """Colours of lines that are told apart, black first; ordered shades where there are more than seven."""
    return list(LINES[:count]) if count <= len(LINES) else shades(count)
