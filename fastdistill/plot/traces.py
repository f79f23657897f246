"""What SGD records along its epochs, a line for each configuration.

::

    loss, grad_norm, distance, kd_cosine     as `fastdistill.run_sgd` records them, from the starting point on

Cost: none beside the run's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from fastdistill.base import validation
from fastdistill.pages.parts import grid_data
from fastdistill.plot.display import Display, checked_lines, checked_names, checked_styles

WORDS = {
    "loss": "training loss",
    "grad_norm": "norm of the gradient",
    "distance": "distance to the reference",
    "kd_cosine": "cosine of student's and teacher's gradients",
    "validation_score": "score on the validation samples",
    "kd_loss": "distillation loss",
    "prediction_error": "mean squared distance to the teacher's predictions",
    "step_cosine": "mean cosine of the two gradients over the steps",
    "step_cosine_min": "smallest cosine of the two gradients over the steps",
}
LINEAR = ("kd_cosine", "step_cosine", "step_cosine_min", "validation_score")  # of either sign


class TraceDisplay(Display):
    """Recorded quantities (Q, records) of Q configurations against the epoch.

    Made by `from_run` or `from_estimator`; the constructor takes any quantities.

    Parameters
    ----------
    epochs : array-like (records,)
    values : mapping of str to array-like (records,) or (Q, records)
        By name of the quantity.
    names : sequence of Q str, optional
        Of the configurations; by default "run 0", "run 1", ...

    Attributes
    ----------
    epochs, names
        As given.
    values : dict of str to ndarray (Q, records)
    ax_, figure_
        matplotlib's axes and figure, set by `plot`.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 5))
    >>> best = np.ones(5)
    >>> y = X @ best + rng.standard_normal(200)
    >>> run = fd.run_sgd(X, y, teacher=best, kd_weight=[0.0, 0.9], step_size=0.01, n_epochs=3, random_state=0)
    >>> display = fd.plot.TraceDisplay.from_run(run)
    >>> display.names, display.values["loss"].shape
    (['kd_weight 0', 'kd_weight 0.9'], (2, 4))
    """

    def __init__(self, epochs: Any, values: Mapping[str, Any], *, names: Sequence[str] | None = None) -> None:
        self.epochs = validation.real_array(epochs, "epochs", ndim=1)
        if not values:
            raise ValueError("values is empty; pass at least one quantity, {'loss': [...]}.")
        self.values = {
            name: checked_lines(np.atleast_2d(np.asarray(rows)), name, (None, len(self.epochs)))
            for name, rows in values.items()
        }
        counts = {len(rows) for rows in self.values.values()}
        if len(counts) > 1:
            raise ValueError(f"All quantities need the same number of configurations, got {sorted(counts)}.")
        (count,) = counts
        self.names = checked_names(names, count, [f"run {i}" for i in range(count)])

    @classmethod
    def from_run(cls, run: Any, *, names: Sequence[str] | None = None) -> Self:
        """The trace of a run.

        Parameters
        ----------
        run : SGDRun, or what `fastdistill.deep_linear_distillation` returned
            What `fastdistill.run_sgd` returned.
        names : sequence of Q str, optional
            Of the configurations; by default what tells them apart, ``kd_weight`` or ``step_size``.

        Raises
        ------
        ValueError
            ``record_every=0``, so that nothing was recorded.
        TypeError
            Nothing with a trace.
        """
        trace = getattr(run, "trace", None)
        if not isinstance(trace, dict):
            raise TypeError(f"run must be what fd.run_sgd returned, got {type(run).__name__}.")
        if not np.size(trace.get("epoch", ())):
            raise ValueError("The run has recorded nothing (record_every=0): run it with record_every=1.")
        epochs = np.atleast_2d(trace["epoch"])[0]
        known = {name: np.atleast_2d(rows) for name, rows in trace.items() if name != "epoch"}
        known = {name: rows for name, rows in known.items() if not np.isnan(rows).all()}
        count = len(np.atleast_2d(trace["epoch"]))
        return cls(epochs, known, names=_labels(run, count) if names is None else names)

    @classmethod
    def from_estimator(cls, estimator: Any) -> Self:
        """The loss after each epoch of a fitted `KDSGDRegressor` or `KDSGDClassifier`, with early stopping its scores.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError
            An estimator without a loss curve.
        """
        from sklearn.utils.validation import check_is_fitted

        if not hasattr(estimator, "partial_fit") or not hasattr(estimator, "kd_weight"):
            raise TypeError(f"estimator must be a KDSGDRegressor or a KDSGDClassifier, got {type(estimator).__name__}.")
        check_is_fitted(estimator)
        count = len(estimator.loss_curve_)
        values = {"loss": np.asarray(estimator.loss_curve_)}
        if estimator.validation_scores_ is not None:
            scores = np.full(count, np.nan)  # `partial_fit` goes on without them
            scores[: len(estimator.validation_scores_)] = estimator.validation_scores_
            values["validation_score"] = scores
        return cls(np.arange(1, count + 1), values, names=[type(estimator).__name__])

    def columns(self) -> dict[str, np.ndarray]:
        """``run``, ``epoch`` and a column for each quantity: Q records rows."""
        return grid_data({"run": self.names, "epoch": self.epochs}, self.values)

    def plot(
        self,
        ax: Any = None,
        *,
        quantity: str | None = None,
        log: bool | None = None,
        styles: Sequence[dict[str, Any]] | None = None,
        legend: bool = True,
    ) -> Self:
        """Draw one quantity against the epoch.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default those of a new figure.
        quantity : str, optional
            By default the first one that was recorded, the loss.
        log : bool, optional
            A logarithmic axis; by default where all values are above zero, but for cosines and scores.
        styles : sequence of dict, optional
            Keywords of matplotlib's lines, one dict for each configuration.
        legend : bool, default=True
            Whether the panel gets a legend.

        Returns
        -------
        TraceDisplay
            Itself, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            A quantity that was not recorded, as "distance" without a reference.
        """
        name = validation.choice(next(iter(self.values)) if quantity is None else quantity, "quantity", (*self.values,))
        rows = self.values[name]
        ax = self._on(ax)
        from fastdistill.pages import figures

        colours = figures.line_colours(len(rows))
        defaults = [
            {"color": colour, "linewidth": 1.8, "label": own} for colour, own in zip(colours, self.names, strict=True)
        ]
        for row, style in zip(rows, checked_styles(styles, defaults), strict=True):
            ax.plot(self.epochs, row, **style)
        drawn = rows[np.isfinite(rows)]
        if (name not in LINEAR and bool((drawn > 0).all())) if log is None else log:
            ax.set_yscale("log")
        figures.whole_numbers(ax)
        figures.label(ax, ax.get_title(), "epoch", WORDS.get(name, name))
        return self._drawn(ax, legend and len(rows) > 1)


def _labels(run: Any, count: int) -> list[str]:
    """What tells the configurations apart."""
    if count == 1:
        return ["run"]
    told = []
    for key in ("kd_weight", "step_size"):
        values = np.atleast_1d(np.asarray(getattr(run, key, np.nan), dtype=np.float64))
        if len(values) == count and len({*values.tolist()}) > 1:
            told.append([f"{key} {value:.4g}" for value in values])
    if not told:
        return [f"run {i}" for i in range(count)]
    return [", ".join(parts) for parts in zip(*told, strict=True)]
