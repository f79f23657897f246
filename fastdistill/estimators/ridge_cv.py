"""Ridge regression that chooses its penalty, and distils itself where the data say that this helps.

For each penalty a criterion gives values p_i of the pure steps and wanted values v (`fastdistill.tuning`)::

    min over λ, w of ‖Σ_i w_i p_i(λ) − v‖² / total,   Σ w = 1

"loo" and "gcv" are those of `fastdistill.tune`. With a splitter p_i are the predictions of held-out samples, v their
targets, both times sqrt(w), and the rows of all folds are pooled into one problem per penalty.

======================================  ==================
paper                                   here
======================================  ==================
P: ridge penalty λ                      ``alpha_``
P: imitation parameters ξ_1, …, ξ_k     ``xi_``
P: ξ̄_i, i >= 1                          ``mixture_[i]``
======================================  ==================

Cost: one decomposition (one more per fold with a splitter), then O(n r k) per penalty; no refit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils.validation import validate_data

from fastdistill import _validation as validation
from fastdistill.estimators._common import DATA, far_from_zero
from fastdistill.estimators.ridge import DistilledRidge
from fastdistill.mixtures import MixtureProblem
from fastdistill.spectrum import Spectrum
from fastdistill.tuning import PENALTIES, Tuned, add_held_out, checked_bounds, choose, tune
from fastdistill.verdict import verdict


@dataclass(frozen=True)
class Fold:
    """A part of the samples to train on and a part to score, (indices), and the latter as queries of the former."""

    spectrum: Spectrum
    train: np.ndarray
    test: np.ndarray
    queries: Any


@dataclass(frozen=True)
class Search:
    """How the penalty and the weights are chosen; the checked parameters that the tuned estimators share."""

    penalties: np.ndarray
    n_steps: int | None
    strategy: str
    scoring: str
    bounds: tuple[float, float] | None
    alpha_per_target: bool

    @classmethod
    def of(cls, model: Any) -> Search:
        """From the parameters of an estimator."""
        for name in ("fit_intercept", "alpha_per_target"):
            if not isinstance(getattr(model, name), bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {getattr(model, name)!r}.")
        grid = PENALTIES if model.alphas is None else np.atleast_1d(validation.penalties(model.alphas, "alphas"))
        strategy = validation.choice(model.strategy, "strategy", ("safe", "joint", "greedy"))
        scoring = validation.choice(model.scoring, "scoring", ("loo", "gcv"))
        n_steps = None if model.n_steps is None else validation.integer(model.n_steps, "n_steps", minimum=0)
        bounds = None if model.bounds is None else checked_bounds(model.bounds)
        if n_steps is None and (strategy != "safe" or bounds is not None):
            raise ValueError('n_steps=None needs strategy="safe" and no bounds; pass a number of steps.')
        if model.cv is not None and scoring != "loo":
            raise ValueError(f"cv and scoring={scoring!r} exclude each other: with cv the held-out error is scored.")
        return cls(grid, n_steps, strategy, scoring, bounds, model.alpha_per_target)

    def run(
        self, spectrum: Spectrum, y: np.ndarray, weight: np.ndarray | None, folds: Iterable[Fold] | None
    ) -> Choices:
        """The choice for the targets y (n,) or (n, m), judged on `folds` or, without, by `scoring`."""
        if spectrum.n_effective < 2:
            raise ValueError("Choosing a penalty needs at least 2 samples of positive weight, got n_samples = 1.")
        separate = bool(self.alpha_per_target and y.ndim == 2)
        parts = list(y.T) if separate else [y]
        if folds is None:
            options: dict[str, Any] = {"criterion": self.scoring, "strategy": self.strategy, "bounds": self.bounds}
            tuned = [tune(spectrum, part, self.penalties, self.n_steps, **options) for part in parts]
        else:
            pooled = self._pooled(parts, weight, folds)
            tuned = [self._choose(spectrum, part, held) for part, held in zip(parts, pooled, strict=True)]
        return Choices(self, parts, tuned, separate)

    def _pooled(self, parts: list[np.ndarray], weight: Any, folds: Iterable[Fold]) -> list[list[MixtureProblem]]:
        """For each part and penalty the held-out predictions of the pure steps, all folds in one problem."""
        steps = (self.n_steps or 0) + 1
        pooled = [[MixtureProblem(steps - 1, 0.0) for _ in self.penalties] for _ in parts]
        for fold in folds:
            held = None if weight is None else weight[fold.test]
            for y, problems in zip(parts, pooled, strict=True):
                pure = fold.spectrum.path(y[fold.train], self.penalties, np.ones(steps - 1))
                add_held_out(problems, pure, fold.queries, y[fold.test], held)
        if pooled[0][0].total == 0.0:
            raise ValueError("cv gives no held-out sample of positive sample_weight; use other splits.")
        return pooled

    def _choose(self, spectrum: Spectrum, y: np.ndarray, problems: list[MixtureProblem]) -> Tuned:
        steps = self.n_steps or 0
        pure = spectrum.path(y, self.penalties, np.ones(steps))
        return choose(pure, y, problems, self.n_steps, self.strategy, self.bounds)


@dataclass(frozen=True)
class Choices:
    """What was chosen for each part of the targets: for all of them together, or for each on its own."""

    search: Search
    parts: list[np.ndarray]
    tuned: list[Tuned]
    separate: bool

    @property
    def scores(self) -> np.ndarray:
        """Larger is better: (L, k+1), and a last axis for targets on their own."""
        return -self._each([tuned.scores for tuned in self.tuned])

    @property
    def error(self) -> float:
        """What kernels are compared by: the best error, that of plain ridge where distillation needs evidence."""
        if self.search.strategy == "safe":
            return sum(float(tuned.scores[:, 0].min()) for tuned in self.tuned)
        return sum(tuned.score for tuned in self.tuned)

    def of_student(self, name: str) -> Any:
        """An attribute of the chosen students, targets on the last axis; a copy, as a view would keep all students."""
        return self._each([getattr(tuned.path, name)[-1].copy() for tuned in self.tuned])

    def record(self, model: Any) -> None:
        """Set the fitted attributes that say what was chosen."""
        penalties = self.search.penalties
        verdicts = [verdict(tuned, penalties, y) for tuned, y in zip(self.tuned, self.parts, strict=True)]
        model.alpha_ = self._each([tuned.lam for tuned in self.tuned])
        model.n_steps_ = self._each([tuned.n_steps for tuned in self.tuned])
        model.best_score_ = self._each([-tuned.score for tuned in self.tuned])
        lists: dict[str, list[Any]] = {
            name: [getattr(tuned, name) for tuned in self.tuned] for name in ("xi", "mixture", "evidence")
        }
        lists["verdict"] = verdicts
        for name, values in lists.items():
            setattr(model, f"{name}_", values if self.separate else values[0])
        model.cv_results_ = {"alpha": penalties.copy(), "scores": self.scores}

    def _each(self, values: list[Any]) -> Any:
        return np.stack(values, axis=-1) if self.separate else values[0]


class DistilledRidgeCV(DistilledRidge):
    """Ridge regression with a tuned penalty, distilled into itself only where there is evidence that this helps.

    min over λ, w of ‖Σ_i w_i p_i(λ) − y‖² with leave-one-out predictions p_i of i pure distillation steps: i = 0 is
    ridge. With the default strategy the weights are those of ridge, and the model is that of
    :class:`sklearn.linear_model.RidgeCV`, unless the data show that ridge of any penalty is the wrong filter.

    Parameters
    ----------
    alphas : float or array-like of shape (n_alphas,), default=None
        Penalties to choose from, at least 0, on the scale of :class:`sklearn.linear_model.Ridge`. None stands for
        ``numpy.logspace(-4, 5, 40)``.
    n_steps : int or None, default=None
        Number k of distillation steps; 0 is plain ridge. None (strategy "safe" without `bounds`) allows as many as the
        rank of the design, with which any filter of its spectrum can be reached [1]_.
    strategy : {"safe", "joint", "greedy"}, default="safe"
        "safe" distils only on evidence for a signal concentrated in few directions. "joint" tunes k weights at once
        [1]_, "greedy" one after the other [2]_; unguarded, both make ordinary data worse. See `fastdistill.tune`.
    scoring : {"loo", "gcv"}, default="loo"
        Exact leave-one-out or generalised cross-validation. Only "loo" with `cv`.
    cv : int, splitter or iterable, default=None
        None for `scoring`. Otherwise folds as scikit-learn knows them: penalty and weights have the smallest mean
        squared error on held-out samples, pooled over the folds (weighted by `sample_weight`). For splits by group pass
        the list of splits.
    bounds : (float, float) or None, default=None
        Every ξ within [low, high]; needs a number of steps.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    alpha_per_target : bool, default=False
        Whether every target has its own penalty, weights and verdict. Otherwise all targets share them.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        Chosen penalty. This and the other choices are per target with `alpha_per_target` and a 2-D y.
    n_steps_ : int or ndarray of shape (n_targets,)
        Steps of the chosen student; 0 is plain ridge, and with ``n_steps=None`` the rank is the alternative.
    xi_ : ndarray of shape (n_steps,), None, or a list of these
        Imitation weights; None where the student is given by its filter: distilled with ``n_steps=None``.
    mixture_ : ndarray of shape (n_steps + 1,), None, or a list of these
        Weights of the pure steps; None where `xi_` is.
    best_score_ : float or ndarray of shape (n_targets,)
        Negative mean squared error (or GCV) of the choice, as in :class:`sklearn.linear_model.RidgeCV`; that of ridge
        where the student is given by its filter.
    cv_results_ : dict
        "alpha", the penalties, and "scores" of shape (n_alphas, n_steps + 1[, n_targets]), the best negative error with
        0..k steps at each.
    verdict_ : Verdict or list of Verdict
        Paired leave-one-out comparison with the best plain ridge: `gain` (share of its error), `standard_error`,
        `n_steps`, `evidence`, and `sentence`. What is held fixed: see Notes.
    evidence_ : fastdistill.evidence.Evidence, None, or a list of these
        What the data say about a concentrated signal; None unless the strategy is "safe".
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the chosen student; float32 if X is.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept of the chosen student.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledKernelRidgeCV : The same for kernels.
    DistilledRidge : Penalty and weights as given.
    fastdistill.tune : What chooses them.
    sklearn.linear_model.RidgeCV : The model of ``n_steps=0``.

    Notes
    -----
    `fastdistill.evidence` explains and measures the strategy "safe". Where it distils, the leave-one-out residuals of
    the verdict are (y_i − ŷ_i) / (1 − h_i), with the filter held fixed in the eigenbasis of all samples. For the other
    strategies they are exact, teachers refitted too, with the weights held fixed. The choice was made on the same
    samples, so both flatter.

    Cost: O(n p min(n, p)) once, and once per fold with `cv`, then O(n min(n, p) k) per penalty; no refit.

    References
    ----------
    .. [1] D. Pareek, S. S. Du and S. Oh, "Understanding the gains from repeated self-distillation", NeurIPS 2024,
       arXiv:2407.04600.
    .. [2] K. Borup and L. N. Andersen, "Even your teacher needs guidance: Ground-truth targets dampen
       regularization imposed by self-distillation", NeurIPS 2021, arXiv:2102.13088.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill import DistilledRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 30))
    >>> y = X @ rng.standard_normal(30) + rng.standard_normal(100)
    >>> print(DistilledRidgeCV().fit(X, y).verdict_)
    Plain ridge: the evidence for a concentrated signal is 0.0102, not above the 20 required.
    """

    def __init__(
        self,
        alphas: Any = None,
        n_steps: int | None = None,
        strategy: str = "safe",
        scoring: str = "loo",
        cv: Any = None,
        bounds: tuple[float, float] | None = None,
        fit_intercept: bool = True,
        alpha_per_target: bool = False,
    ) -> None:
        self.alphas = alphas
        self.n_steps = n_steps
        self.strategy = strategy
        self.scoring = scoring
        self.cv = cv
        self.bounds = bounds
        self.fit_intercept = fit_intercept
        self.alpha_per_target = alpha_per_target

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledRidgeCV:
        """Choose the penalty and the weights, and fit the chosen student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the squared residuals, in the fit and in the scores; at least 0 and not all 0.

        Returns
        -------
        self : DistilledRidgeCV

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero.
        TypeError
            Parameters or weights of the wrong kind.
        """
        search = Search.of(self)
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, **DATA)
        weight = validation.sample_weight(sample_weight, X.shape[0])
        spectrum = Spectrum.from_design(X, self.fit_intercept, weight)
        folds = None if self.cv is None else self._folds(X, y, weight)
        choices = search.run(spectrum, y, weight, folds)
        choices.record(self)
        self.coef_ = np.array(choices.of_student("coef").T, order="C")
        self.intercept_ = choices.of_student("intercept")
        self._means = far_from_zero(spectrum, y, weight)
        return self

    def _folds(self, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Iterator[Fold]:
        for train, test in check_cv(self.cv, y).split(X, y):
            part = None if weight is None else weight[train]
            yield Fold(Spectrum.from_design(X[train], self.fit_intercept, part), train, test, X[test])
