"""What all displays share: axes to draw on, columns, and the pandas table.

Cost: a figure of its own takes about 50 ms, after matplotlib's import of about 0.4 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastdistill.base import validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOVE_NOISE = 4.0  # z² / γ² of a direction that is told from noise: two standard deviations
FULL = 13  # lines of a legend that fill a column


class Display:
    """Base of the displays.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by ``plot``.
    figure_ : matplotlib.figure.Figure
        Set by ``plot``.
    """

    ax_: Axes
    figure_: Figure

    def columns(self) -> dict[str, np.ndarray]:
        """The numbers of the picture as named columns of one length."""
        raise TypeError("Display is a base class; use PathDisplay or another display.")

    def frame(self) -> Any:
        """The numbers of the picture as a `pandas.DataFrame`, a row for each point."""
        try:
            import pandas
        except ImportError as err:
            raise ImportError(
                "frame() needs pandas; install it with: pip install pandas. columns() gives the same numbers as arrays."
            ) from err
        return pandas.DataFrame(self.columns())

    def _on(self, ax: Any) -> Any:
        """Axes to draw on: those given, or new ones of pyplot."""
        try:
            from matplotlib import pyplot
        except ImportError as err:
            raise ImportError(
                'plot() needs matplotlib; install it with: pip install "fastdistill[all]", or pip install matplotlib. '
                "columns() gives the numbers without it."
            ) from err
        if ax is None:
            _, ax = pyplot.subplots(layout="constrained")
        elif not hasattr(ax, "get_figure"):
            raise TypeError(
                f"ax must be matplotlib axes (figure, ax = plt.subplots()), got {type(ax).__name__}; of several panels "
                f"pass one: axes[0]."
            )
        return ax

    def _drawn(self, ax: Any, legend: bool) -> Self:
        handles, names = ax.get_legend_handles_labels()
        if validation.boolean(legend, "legend") and names:
            ax.legend(handles, names, frameon=False, fontsize=9, ncols=1 + len(names) // FULL)
        self.ax_, self.figure_ = ax, ax.get_figure()
        return self


def step_name(step: int) -> str:
    """ "ridge", "1 step", "2 steps", ..."""
    return "ridge" if step == 0 else f"{step} step{'s' * (step > 1)}"


def checked_names(names: Sequence[str] | None, count: int, default: Sequence[str]) -> list[str]:
    """One name for each of `count` lines."""
    chosen = list(default if names is None else names)
    if len(chosen) != count:
        raise ValueError(f"names must hold {count} names, one for each line, got {len(chosen)}.")
    return chosen


def checked_styles(styles: Sequence[dict[str, Any]] | None, defaults: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The default styles of the lines, each overridden by what the user gives for it."""
    if styles is None:
        return list(defaults)
    if len(styles) != len(defaults):
        raise ValueError(f"styles must hold {len(defaults)} dicts, one for each line, got {len(styles)}.")
    return [{**default, **style} for default, style in zip(defaults, styles, strict=True)]


def checked_grid(penalties: Any) -> np.ndarray:
    """Penalties (L,) of a curve."""
    grid = validation.penalties(penalties, "penalties")
    if grid.ndim != 1:
        raise ValueError("A curve needs several penalties, but there is one: pass an array, as np.logspace(-4, 2, 40).")
    return grid


def checked_lines(values: Any, name: str, shape: tuple[int | None, int]) -> np.ndarray:
    """Real numbers of shape (rows, columns), None for any number; NaN marks points that are not drawn."""
    array = np.array(values, dtype=np.float64)
    rows, columns = shape
    if array.ndim != 2 or array.shape[1] != columns or (rows is not None and array.shape[0] != rows):
        wanted = f"({'any' if rows is None else rows}, {columns})"
        raise ValueError(f"{name} must have the shape {wanted}, got {array.shape}.")
    return array
