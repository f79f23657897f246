"""Error against penalty, a line for each distillation step.

With the path of students over penalties λ_1, …, λ_L and steps 0..k::

    errors           Σ_i w_i (y_i − p_i)² / Σ w            p: leave-one-out predictions, fits, or those of new samples
    standard errors  (n / (n − 1) Σ (w_i / Σ w)² (e_i² − error)²)^½        of the mean over the samples

Cost: that of the errors, and O(n L k) for their standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from fastdistill.base import validation
from fastdistill.pages.parts import grid_data
from fastdistill.plot.display import (
    Display,
    checked_grid,
    checked_lines,
    checked_names,
    checked_styles,
    step_name,
)
from fastdistill.plot.training import GIVEN, students_of, training_spectrum
from fastdistill.selection.paired import mean_and_error
from fastdistill.spectral.path import DistillationPath

QUANTITIES = {"loo": "leave-one-out mean squared error", "gcv": "GCV", "train": "mean squared training error"}
ON_NEW_SAMPLES = "mean squared error on new samples"


class PathDisplay(Display):
    """Errors (L, k+1) of students against their penalties λ (L,), a line for each step.

    Made by `from_path` or `from_estimator`; the constructor takes any curves over penalties.

    Parameters
    ----------
    penalties : array-like (L,)
    errors : array-like (L, k+1)
        A column for each line; points with NaN are left out.
    standard_errors : array-like (L, k+1), optional
        Of the errors, over the samples.
    names : sequence of k+1 str, optional
        Of the lines; by default "ridge", "1 step", "2 steps", ...
    quantity : str, default="mean squared error"
        What the errors are, for the axis.

    Attributes
    ----------
    penalties, errors, standard_errors, names, quantity
        As given; `standard_errors` None where there are none.
    ax_, figure_
        matplotlib's axes and figure, set by `plot`.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 10))
    >>> y = X[:, 0] + rng.standard_normal(60)
    >>> path = fd.Spectrum.from_design(X).path(y, np.logspace(-1, 3, 5), xi=1.0, n_steps=2)
    >>> display = fd.plot.PathDisplay.from_path(path)
    >>> display.errors.shape
    (5, 3)
    >>> display.best("1 step")  # doctest: +ELLIPSIS
    (10.0, 1.007...)
    """

    def __init__(
        self,
        penalties: Any,
        errors: Any,
        *,
        standard_errors: Any = None,
        names: Sequence[str] | None = None,
        quantity: str = "mean squared error",
    ) -> None:
        self.penalties = checked_grid(penalties)
        lines = np.ndim(errors) == 2 and np.shape(errors)[1]
        self.errors = checked_lines(errors, "errors", (len(self.penalties), int(lines)))
        self.standard_errors = None
        if standard_errors is not None:
            self.standard_errors = checked_lines(standard_errors, "standard_errors", self.errors.shape)
        count = self.errors.shape[1]
        self.names = checked_names(names, count, [step_name(t) for t in range(count)])
        self.quantity = quantity

    @classmethod
    def from_path(cls, path: DistillationPath, X: Any = None, y: Any = None, *, error: str = "loo") -> Self:
        """The errors of a path, with standard errors where they are means over samples.

        Parameters
        ----------
        path : DistillationPath
            Of several penalties and one schedule, as ``S.path(y, np.logspace(-4, 2, 40), xi=1.0, n_steps=3)``; errors
            of several targets are averaged.
        X, y : array-like, optional
            New samples and their targets (of a kernel: kernel(new, train)): the errors are then theirs.
        error : {"loo", "gcv", "train"}, default="loo"
            Without new samples: exact leave-one-out, generalised cross-validation, or the error on the training
            samples.

        Raises
        ------
        ValueError
            One penalty, several schedules; X without y; what ``path.loo``, ``path.gcv`` or ``path.predict`` raise.
        TypeError
            No path.
        """
        if not isinstance(path, DistillationPath):
            raise TypeError(f"path must be a path (Spectrum.path(y, lam, xi)), got {type(path).__name__}.")
        checked_grid(path.lam)
        if path.xi.ndim != 1:
            raise ValueError(
                f"A line for each step needs one schedule, but xi has the shape {path.xi.shape}: draw one at a time, "
                f"S.path(y, lam, xi[0])."
            )
        validation.choice(error, "error", tuple(QUANTITIES))
        if (X is None) != (y is None):
            raise ValueError("X and y go together: pass both for the errors on new samples, or none.")
        if X is not None:
            wanted = np.asarray(y, dtype=np.float64)
            predictions = np.asarray(path.predict(X), dtype=np.float64)
            means, errors = _means(predictions - wanted, np.ones(len(wanted)), path.targets.is_single)
            return cls(path.lam, means, standard_errors=errors, quantity=ON_NEW_SAMPLES)
        if error == "gcv":
            values = path.gcv if path.targets.is_single else path.gcv.mean(axis=-1)
            return cls(path.lam, values, quantity=QUANTITIES[error])
        predictions = path.loo if error == "loo" else path.fitted
        frame, targets = path.spectrum.frame, path.targets
        wanted = (frame.unscaled(targets.scaled) + targets.mean) * targets.unit
        wanted = wanted[:, 0] if targets.is_single else wanted
        means, errors = _means(np.asarray(predictions, dtype=np.float64) - wanted, frame.each_weight, targets.is_single)
        return cls(path.lam, means, standard_errors=errors, quantity=QUANTITIES[error])

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, penalties: Any, *, error: str = "loo", sample_weight: Any = None
    ) -> Self:
        """The students of an estimator's weights `xi` and number of steps, over penalties instead of its `alpha`.

        Parameters
        ----------
        estimator : DistilledRidge or DistilledKernelRidge
            Fitted or not; nothing of it is changed. `TuningDisplay` shows the tuned estimators.
        X : array-like (n, p)
            Training samples; with ``kernel="precomputed"`` the kernel matrix.
        y : array-like (n,) or (n, m)
        penalties : array-like (L,)
        error : {"loo", "gcv", "train"}, default="loo"
        sample_weight : array-like (n,), optional

        Raises
        ------
        ValueError, TypeError
            As `from_path`; an estimator of another kind.
        """
        if not isinstance(estimator, GIVEN):
            raise TypeError(
                f"estimator must be a DistilledRidge or a DistilledKernelRidge, got {type(estimator).__name__}; "
                f"TuningDisplay.from_estimator shows those that tune themselves."
            )
        spectrum = training_spectrum(estimator, X, sample_weight)
        return cls.from_path(students_of(estimator, spectrum, y, checked_grid(penalties)), error=error)

    def best(self, name: str) -> tuple[float, float]:
        """The penalty with the smallest error on the line of that name, and this error."""
        curve = self.errors[:, self._line(name)]
        i = int(np.nanargmin(curve))
        return float(self.penalties[i]), float(curve[i])

    def columns(self) -> dict[str, np.ndarray]:
        """``penalty``, ``student``, ``error`` and, where there are any, ``standard_error``: L (k+1) rows."""
        values = {"error": self.errors}
        if self.standard_errors is not None:
            values["standard_error"] = self.standard_errors
        return grid_data({"penalty": self.penalties, "student": self.names}, values)

    def plot(
        self,
        ax: Any = None,
        *,
        band: str | None = None,
        dots: bool = True,
        styles: Sequence[dict[str, Any]] | None = None,
        legend: bool = True,
    ) -> Self:
        """Draw the lines over a logarithmic axis of penalties.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default those of a new figure.
        band : str, optional
            Name of the line around which ± one standard error is shaded.
        dots : bool, default=True
            Mark the smallest error of each line.
        styles : sequence of dict, optional
            Keywords of matplotlib's lines, one dict for each line.
        legend : bool, default=True
            Whether the panel gets a legend.

        Returns
        -------
        PathDisplay
            Itself, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            `band` without standard errors, or a name that no line has; as many `styles` as lines are needed.
        """
        shaded = None if band is None else self._line(band)
        if shaded is not None and self.standard_errors is None:
            raise ValueError("There are no standard errors to shade: GCV is no mean over samples; use band=None.")
        ax = self._on(ax)
        from fastdistill.pages import figures

        colours = figures.line_colours(len(self.names))
        defaults = [
            {"color": colour, "linewidth": 1.6, "label": name} for colour, name in zip(colours, self.names, strict=True)
        ]
        order = np.argsort(self.penalties)
        for t, style in enumerate(checked_styles(styles, defaults)):
            (line,) = ax.plot(self.penalties[order], self.errors[order, t], **style)
            if dots and not np.isnan(self.errors[:, t]).all():
                size = max(9.5 - 1.5 * t, 4.0)  # the same best error is seen for several steps
                ax.plot(*self.best(self.names[t]), "o", color=line.get_color(), markersize=size)
            if t == shaded and self.standard_errors is not None:
                middle, error = self.errors[order, t], self.standard_errors[order, t]
                ax.fill_between(
                    self.penalties[order], middle - error, middle + error, color=line.get_color(), alpha=0.15, lw=0
                )
        ax.set_xscale("log")
        figures.label(ax, ax.get_title(), "penalty λ", self.quantity)
        return self._drawn(ax, legend)

    def _line(self, name: str) -> int:
        return self.names.index(validation.choice(name, "name", tuple(self.names)))


def _means(residuals: np.ndarray, weight: np.ndarray, is_single: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares (L, k+1) of residuals (L, k+1, n[, m]), averaged over targets, and their standard errors."""
    squares = np.square(residuals)
    squares = squares if is_single else squares.mean(axis=-1)
    found = [[mean_and_error(own, weight) for own in row] for row in squares]
    means, errors = np.moveaxis(np.array(found), -1, 0)
    return means, errors
