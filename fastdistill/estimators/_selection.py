"""What scikit-learn adds to `fastdistill.selection.search`: checked parameters, scorers, fitted attributes.

Cost: none beside that of the search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import get_scorer

from fastdistill.base import validation
from fastdistill.estimators._intervals import Chosen
from fastdistill.selection.grids import is_dof
from fastdistill.selection.search import LIKELIHOOD, SQUARED, Choices, Score, Search
from fastdistill.selection.tuning import PENALTIES, checked_bounds

Scorer = Callable[..., float]
NAMED = (*SQUARED, LIKELIHOOD)


class HeldOut(RegressorMixin, BaseEstimator):
    """What a scorer is called with: an estimator whose predictions are the samples it is given."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The predictions X themselves."""
        return X


def checked_scoring(scoring: Any) -> str | Scorer:
    """ "loo", "gcv", "marginal_likelihood" or a scorer."""
    if scoring is None or (isinstance(scoring, str) and scoring in NAMED):
        return scoring or "loo"
    if isinstance(scoring, str):
        try:
            return get_scorer(scoring)
        except ValueError as err:
            raise ValueError(
                f"scoring must be None, 'loo', 'gcv', a scorer or the name of one, or {LIKELIHOOD!r}. {err}"
            ) from None
    if not callable(scoring):
        raise TypeError(f"scoring must be None, 'loo', 'gcv', a scorer or the name of one, got {scoring!r}.")
    return scoring


def score_by(scorer: Scorer) -> Score:
    """A scorer of estimators as a function of predictions, targets and sample weights."""

    def score(predictions: np.ndarray, wanted: np.ndarray, weight: np.ndarray | None) -> float:
        options = {} if weight is None else {"sample_weight": weight}
        return scorer(HeldOut(), predictions, wanted, **options)

    return score


def search_of(model: Any) -> Search:
    """The search that the parameters of an estimator ask for, checked."""
    for name in ("fit_intercept", "alpha_per_target", "store_cv_results"):
        validation.boolean(getattr(model, name), name)
    spaced_in_dof = is_dof(model.alphas, "alphas")
    if spaced_in_dof:
        grid = np.empty(0)
    else:
        grid = PENALTIES if model.alphas is None else np.atleast_1d(validation.penalties(model.alphas, "alphas"))
    strategy = validation.choice(model.strategy, "strategy", ("safe", "ridge", "joint", "greedy"))
    scoring = checked_scoring(model.scoring)
    n_steps = None if model.n_steps is None else validation.integer(model.n_steps, "n_steps", minimum=0)
    bounds = None if model.bounds is None else checked_bounds(model.bounds)
    if strategy == "ridge":
        n_steps, bounds = 0, None
    if n_steps is None and (strategy != "safe" or bounds is not None):
        raise ValueError('n_steps=None needs strategy="safe" and no bounds; pass a number of steps.')
    if scoring == LIKELIHOOD and (strategy not in ("safe", "ridge") or n_steps):
        raise ValueError(
            f"scoring={LIKELIHOOD!r} is the likelihood of plain ridge, by which no weights of students can be tuned; "
            f'use strategy="ridge", or "safe" with n_steps=None.'
        )
    if model.cv is not None and scoring in ("gcv", LIKELIHOOD):
        raise ValueError(
            f"cv and scoring={validation.shown(scoring)} exclude each other: with cv the held-out error is scored."
        )
    if model.store_cv_results and model.cv is not None:
        raise ValueError("cv!=None and store_cv_results=True are incompatible: it is leave-one-out that is stored.")
    if model.store_cv_results and scoring in ("gcv", LIKELIHOOD):
        raise ValueError(f"store_cv_results=True stores leave-one-out, which scoring={scoring!r} does not form.")
    criterion = scoring if isinstance(scoring, str) else score_by(scoring)
    return Search(
        grid, n_steps, strategy, criterion, bounds, model.alpha_per_target, model.store_cv_results, spaced_in_dof
    )


def record(model: Any, choices: Choices) -> None:
    """Set the fitted attributes that say what was chosen."""
    for name, value in choices.values().items():
        setattr(model, f"{name}_", value)


def tuned_students(choices: Choices) -> list[Chosen]:
    """What was chosen for each target, or for all; without weights the student is known by its filter."""
    chosen = choices.chosen
    return [
        Chosen(float(lam), xi) if xi is not None else Chosen(float(lam), None, filter_)
        for lam, xi, filter_ in zip(chosen.lam, chosen.xi, chosen.filter.T, strict=True)
    ]
