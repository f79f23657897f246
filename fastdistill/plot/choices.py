"""What tuning saw and chose: the best score of each number of steps against penalty, and gains over the best ridge.

With the best leave-one-out error E_t(λ) of t tuned steps, over weights w::

    scores   E_t(λ) = min over w of Σ_i (y_i − loo_i)² / n             a line for each t
    gain     Σ (e_0² − e²) / Σ e_0²   ± its standard error             of a choice over the best ridge, paired by sample

Scores of more steps lie lower by construction: their weights were tuned on these very samples. So a gain is shown as
leave-one-out has it and, where it was measured, as folds have it in which every choice was made anew.

Cost: nothing beside what tuning has computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fastdistill.base import validation
from fastdistill.pages.parts import grid_data
from fastdistill.plot.display import Display, checked_grid, checked_lines, checked_names, step_name
from fastdistill.selection.tuning import Tuned
from fastdistill.selection.verdict import Verdict, verdict

KINDS = ("curves", "gains")
LEAST_GAIN = 0.5  # %, which the axis of gains shows at least: smaller ones are to look small
ERRORS = {"loo": "leave-one-out mean squared error", "gcv": "GCV"}


@dataclass(frozen=True)
class Choice:
    """A student beside the best ridge.

    Attributes
    ----------
    name : str
    penalty : float or None
        None where ridge is averaged over penalties, or the student is given by its filter alone.
    error, error_se : float
        Its score, and the standard error of the score over the samples.
    gain, gain_se : float
        Share of the best ridge's error that it removes under leave-one-out, and its standard error.
    held_out_gain, held_out_gain_se : float
        The same in folds, with every choice made anew; NaN where it was not measured.
    """

    name: str
    penalty: float | None
    error: float
    error_se: float = np.nan
    gain: float = np.nan
    gain_se: float = np.nan
    held_out_gain: float = np.nan
    held_out_gain_se: float = np.nan


class TuningDisplay(Display):
    """The best scores (L, k+1) with 0..k steps at each penalty, the choices, and their gains.

    Made by `from_estimator` or `from_tuned`.

    Parameters
    ----------
    penalties : array-like (L,)
    scores : array-like (L, k+1)
        Lower is better; points that are not finite are left out.
    choices : sequence of Choice
        The best ridge first; the others are compared with it.
    names : sequence of k+1 str, optional
        Of the lines.
    quantity : str, optional
        What the scores are, for the axis.

    Attributes
    ----------
    penalties, scores, choices, names, quantity
        As given.
    ax_, figure_
        matplotlib's axes and figure, set by `plot`.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 30))
    >>> y = X @ rng.standard_normal(30) + rng.standard_normal(100)
    >>> model = fd.DistilledRidgeCV(np.logspace(-2, 3, 6), n_steps=2, strategy="joint").fit(X, y)
    >>> display = fd.plot.TuningDisplay.from_estimator(model)
    >>> [choice.name for choice in display.choices]
    ['ridge', '2 steps, chosen']
    >>> f"{display.choices[1].gain:.1%} ± {display.choices[1].gain_se:.1%}"
    '0.2% ± 1.0%'
    """

    def __init__(
        self,
        penalties: Any,
        scores: Any,
        choices: Sequence[Any],
        *,
        names: Sequence[str] | None = None,
        quantity: str = ERRORS["loo"],
    ) -> None:
        self.penalties = checked_grid(penalties)
        lines = np.ndim(scores) == 2 and np.shape(scores)[1]
        self.scores = checked_lines(scores, "scores", (len(self.penalties), int(lines)))
        if not choices:
            raise ValueError("choices is empty; the best ridge must be among them, as the first.")
        self.choices = list(choices)
        count = self.scores.shape[1]
        self.names = checked_names(names, count, [step_name(t) for t in range(count)])
        self.quantity = quantity

    @classmethod
    def from_estimator(cls, estimator: Any, *, target: int | None = None) -> Self:
        """What a fitted tuned estimator has tried and chosen.

        Parameters
        ----------
        estimator : DistilledRidgeCV, DistilledKernelRidgeCV or DistilledRidgeClassifierCV
            Fitted.
        target : int, optional
            Which target, where every target was tuned alone (``alpha_per_target=True``).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            ``store_cv_results=True``, which keeps errors of the samples instead of scores; no `target` where every
            target has its own choice.
        TypeError
            An estimator without ``cv_results_``.
        """
        from sklearn.utils.validation import check_is_fitted

        if not hasattr(estimator, "store_cv_results"):
            raise TypeError(
                f"estimator must be a tuned ridge estimator such as DistilledRidgeCV, got {type(estimator).__name__}."
            )
        check_is_fitted(estimator)
        if not isinstance(estimator.cv_results_, dict):
            raise ValueError("store_cv_results=True keeps errors of samples, not the scores: fit without it.")
        scores, is_own = np.asarray(estimator.cv_results_["scores"]), np.ndim(estimator.alpha_) == 1
        found = [estimator.verdict_, estimator.alpha_, estimator.n_steps_, estimator.xi_]
        if is_own:
            if target is None:
                raise ValueError(f"Every target was tuned alone: pass target=0 to {len(estimator.alpha_) - 1}.")
            j = validation.integer(target, "target", minimum=0)
            if j >= len(estimator.alpha_):
                raise ValueError(f"target must be below the number of targets {len(estimator.alpha_)}, got {j}.")
            scores, found = scores[..., j], [each[j] for each in found]
        elif target is not None:
            raise ValueError("target needs an estimator that tunes every target alone (alpha_per_target=True).")
        scoring = estimator.scoring or "loo"
        by_error = ERRORS.get(scoring) if isinstance(scoring, str) else None
        quantity = by_error or "minus the score"
        if by_error and estimator.cv is not None:
            quantity = "mean squared error of held-out folds"
        return cls._of(estimator.alphas_, -scores, *found, quantity=quantity)

    @classmethod
    def from_tuned(cls, tuned: Tuned, penalties: Any, y: Any) -> Self:
        """What `fastdistill.tune` has tried and chosen.

        Parameters
        ----------
        tuned : Tuned
        penalties : array-like (L,)
            The grid that was passed to `fastdistill.tune`.
        y : array-like (n,) or (n, m)
            The training targets, for the gain.

        Raises
        ------
        ValueError
            Another number of penalties than `tuned` has scores for.
        TypeError
            Not a `Tuned`.
        """
        if not isinstance(tuned, Tuned):
            raise TypeError(f"tuned must be what fd.tune returned, got {type(tuned).__name__}.")
        grid = checked_grid(penalties)
        if len(grid) != len(tuned.scores):
            raise ValueError(f"penalties must be the grid of the search, {len(tuned.scores)} of them, got {len(grid)}.")
        judged = verdict(tuned, grid, np.asarray(y, dtype=np.float64))
        return cls._of(grid, tuned.scores, judged, tuned.lam, tuned.n_steps, tuned.xi, quantity="score")

    @classmethod
    def _of(
        cls,
        penalties: np.ndarray,
        scores: np.ndarray,
        judged: Verdict | None,
        lam: float,
        n_steps: int,
        xi: np.ndarray | None,
        *,
        quantity: str,
    ) -> Self:
        """With the best ridge and the student that was chosen, judged by its verdict."""
        best = int(np.nanargmin(scores[:, 0]))
        ridge = Choice("ridge", float(penalties[best]), float(scores[best, 0]), gain=0.0, gain_se=0.0)
        at = int(np.argmin(np.abs(penalties - lam)))
        choices = [ridge]
        if n_steps and judged is not None:
            gain = (judged.gain, judged.standard_error)
            # with evidence it was measured in folds
            gains = (*gain, np.nan, np.nan) if judged.evidence is None else (np.nan, np.nan, *gain)
            name, penalty = f"{step_name(int(n_steps))}, chosen", None if xi is None else float(lam)
            choices.append(Choice(name, penalty, float(scores[at, min(n_steps, scores.shape[1] - 1)]), np.nan, *gains))
        elif xi is None and judged is not None:
            removed, error = judged.penalty_gain, judged.penalty_standard_error
            mean = Choice("ridge averaged, chosen", None, ridge.error * (1.0 - removed), gain=removed, gain_se=error)
            choices.append(mean)
        return cls(penalties, scores, choices, quantity=quantity)

    def columns(self) -> dict[str, np.ndarray]:
        """``penalty``, ``student`` and ``score``: L (k+1) rows. `gains` has the choices."""
        return grid_data({"penalty": self.penalties, "student": self.names}, {"score": self.scores})

    def gains(self) -> dict[str, np.ndarray]:
        """The choices as columns: ``student``, ``penalty``, ``error``, gains and standard errors."""
        numbers = ("error", "error_se", "gain", "gain_se", "held_out_gain", "held_out_gain_se")
        penalties = [np.nan if choice.penalty is None else choice.penalty for choice in self.choices]
        columns = {name: np.array([getattr(choice, name) for choice in self.choices]) for name in numbers}
        return {
            "student": np.array([choice.name for choice in self.choices]),
            "penalty": np.array(penalties),
            **columns,
        }

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "curves",
        styles: Sequence[dict[str, Any]] | None = None,
        legend: bool = True,
    ) -> Self:
        """Draw the scores against the penalty, or the gains of the choices with two standard errors.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default those of a new figure.
        kind : {"curves", "gains"}, default="curves"
            "curves": a line for each number of steps; dots mark the choices of one penalty, and a band one standard
            error around the best ridge where it is known. "gains": full dots as leave-one-out has them, hollow squares
            as folds have them.
        styles : sequence of dict, optional
            Keywords of matplotlib's lines, one dict for each line of "curves".
        legend : bool, default=True
            Whether the panel gets a legend.

        Returns
        -------
        TuningDisplay
            Itself, with `ax_` and `figure_`.
        """
        validation.choice(kind, "kind", KINDS)
        ax = self._on(ax)
        if kind == "curves":
            self._draw_curves(ax, styles)
        else:
            self._draw_gains(ax)
        return self._drawn(ax, legend)

    def _draw_curves(self, ax: Any, styles: Sequence[dict[str, Any]] | None) -> None:
        from fastdistill.pages import figures
        from fastdistill.plot.curves import PathDisplay

        ridge = self.choices[0]
        if np.isfinite(ridge.error_se):
            ax.axhspan(ridge.error - ridge.error_se, ridge.error + ridge.error_se, color="#ededed", zorder=0)
        finite = np.where(np.isfinite(self.scores), self.scores, np.nan)
        curves = PathDisplay(self.penalties, finite, names=self.names, quantity=self.quantity)
        curves.plot(ax, dots=False, styles=styles, legend=False)
        colours = [line.get_color() for line in ax.get_lines()[-len(self.names) :]]
        known = [choice for choice in self.choices if choice.penalty is not None]
        for i, choice in enumerate(known):
            own = [t for t, name in enumerate(self.names) if choice.name.startswith(name)]
            colour = colours[own[0]] if own else figures.GREY
            ax.plot(choice.penalty, choice.error, "o", color=colour, markersize=max(9.5 - 1.5 * i, 4))
        if np.isfinite(ridge.error_se):
            low, high = min(np.nanmin(finite), ridge.error - 1.5 * ridge.error_se), ridge.error + 1.5 * ridge.error_se
            top = max(high, min(np.nanmax(finite), ridge.error + 6 * (ridge.error - low)))
            ax.set_ylim(low - 0.05 * (high - low), top)

    def _draw_gains(self, ax: Any) -> None:
        from fastdistill.pages import figures

        rows = self.choices[1:]
        if not rows:
            raise ValueError("Nothing but the best ridge was chosen: there is no gain to draw.")
        columns = self.gains()
        kinds = (
            (0.12, "leave-one-out", "o", figures.BLUE, "gain"),
            (-0.12, "held out, all chosen anew", "s", "white", "held_out_gain"),
        )
        for shift, name, mark, filled, key in kinds:
            gain, error = (100 * columns[part][1:] for part in (key, f"{key}_se"))
            height, known = shift - np.arange(len(rows)), ~np.isnan(gain)
            if known.any():
                style = {"fmt": mark, "color": figures.BLUE, "markerfacecolor": filled, "capsize": 3, "label": name}
                ax.errorbar(gain[known], height[known], xerr=2 * error[known], **style)
        ax.axvline(0.0, color="black", linewidth=1.0)
        ax.set_yticks(-np.arange(len(rows)), [row.name for row in rows])
        ax.set_ylim(0.6 - len(rows), 0.6)
        left, right = ax.get_xlim()
        ax.set_xlim(min(left, -LEAST_GAIN), max(right, LEAST_GAIN))
        ax.xaxis.get_major_locator().set_params(nbins=6)
        figures.label(ax, "Gain over the best ridge, ± 2 standard errors", "% of its error")
