"""Kernel ridge regression that chooses penalty and kernel, and distils itself where the data say that this helps.

For each kernel of a grid and each penalty, as `fastdistill.estimators.ridge_cv`::

    min over kernel, λ, w of ‖Σ_i w_i p_i(kernel, λ) − v‖² / total,   Σ w = 1

======================================  ==================
paper                                   here
======================================  ==================
B: ridge penalty λ                      ``alpha_``
B: ground-truth weights α_t             ``1 - xi_``
P: ξ̄_i, i >= 1                          ``mixture_[i]``
======================================  ==================

Cost: one O(n³) eigendecomposition for each kernel (one more per fold with a splitter), then O(n² k) per penalty.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed

from fastdistill.base import validation
from fastdistill.base.progress import checked, reporting
from fastdistill.estimators._common import checked_samples, checked_targets, multiply
from fastdistill.estimators._intervals import TrainingData
from fastdistill.estimators._selection import record, search_of, tuned_students
from fastdistill.estimators._widths import checked_word, of_data
from fastdistill.estimators.kernel_ridge import Kernel, KernelRegressor
from fastdistill.selection.search import Choices, Fold, Folds, Search
from fastdistill.spectral.coordinates import Coordinates
from fastdistill.spectral.gaussian_process import Posterior

SOLVERS = ("auto", "eigh")
KERNEL_PARAMETERS = ("gamma", "degree", "coef0", "kernel_params")  # each may hold several values


class DistilledKernelRidgeCV(KernelRegressor):
    """Kernel ridge regression with built-in cross-validation of penalty and kernel, distilled only where that helps.

    For those who look for a ``KernelRidgeCV``: ``DistilledKernelRidgeCV(n_steps=0)`` is plain
    :class:`sklearn.kernel_ridge.KernelRidge` with an intercept, its penalty, and where asked its kernel parameters,
    chosen by exact leave-one-out at the price of one eigendecomposition for each kernel. It takes sample weights,
    precomputed kernels, folds instead of leave-one-out, a penalty for each target, and gives standard deviations.

    With steps allowed, it is min over kernel, λ, w of ‖Σ_i w_i p_i(kernel, λ) − y‖² with leave-one-out predictions p_i
    of i pure distillation steps: i = 0 is kernel ridge. With the default strategy the weights are those of kernel ridge
    unless the data show that kernel ridge of any penalty is the wrong filter of the kernel's spectrum.

    Parameters
    ----------
    alphas : float, array-like of shape (n_alphas,) or "dof", default=None
        Penalties to choose from, at least 0, on the scale of :class:`sklearn.kernel_ridge.KernelRidge`. None stands for
        ``numpy.logspace(-4, 5, 40)``. "dof" stands for 40 penalties of each kernel spaced in effective degrees of
        freedom, from next to none to nearly the rank of its matrix on all samples, also with `cv`: they go with the
        size of the kernel, and the model hardly depends on it.
    n_steps : int or None, default=None
        Number k of distillation steps; 0 is plain kernel ridge. None (strategy "safe" without `bounds`) allows as many
        as the rank of the kernel matrix, with which any filter of its spectrum can be reached [1]_.
    strategy : {"safe", "ridge", "joint", "greedy"}, default="safe"
        "safe" distils only on evidence for a signal concentrated in few directions. Otherwise it is ridge: with
        ``n_steps=None`` and leave-one-out not of one penalty but averaged over those among which the samples do not
        decide (`fastdistill.selection.averaging`), which on ordinary data is 1 % more accurate. "ridge" is
        ridge of the best penalty, whatever `n_steps` and `bounds`. "joint" tunes k weights at once [1]_, "greedy" one
        after the other [2]_; unguarded, both make ordinary data worse. See `fastdistill.tune`.
    scoring : None, "loo", "gcv", "marginal_likelihood", str or callable, default=None
        None and "loo": exact leave-one-out squared error. "gcv": generalised cross-validation, not with `cv`.
        "marginal_likelihood": the log likelihood of the targets as a Gaussian process, see Notes; not with `cv`, and
        only with the strategies "ridge" and "safe", as it tunes no weights. A scorer, or the name of one, such as "r2",
        judges the leave-one-out predictions as in
        :class:`sklearn.linear_model.RidgeCV`: with `sample_weight`, called with an estimator whose ``predict`` returns
        what it is given. It chooses among the penalties; the weights at each have the smallest squared error.
    cv : int, splitter or iterable, default=None
        None for leave-one-out. Otherwise folds as scikit-learn knows them: kernel, penalty and weights have the
        smallest mean squared error on held-out samples, pooled over the folds (weighted by `sample_weight`). A scorer
        is averaged over the folds, as in
        :class:`sklearn.linear_model.RidgeCV`. For splits by group pass the list of splits.
    bounds : (float, float) or None, default=None
        Every ξ within [low, high]; needs a number of steps.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    alpha_per_target : bool, default=False
        Whether every target has its own penalty, weights and verdict. The kernel is common to all: that of the smallest
        sum of their errors.
    kernel : str or callable, default="rbf"
        As in :class:`DistilledKernelRidge`; "precomputed" takes kernel matrices. Of an indefinite kernel, with a
        warning, the penalties above minus the smallest eigenvalue are tried, and "safe" stays with kernel ridge.
    gamma : float, None, "median", "grid", or array-like of numbers, default=None
        Parameter of the kernels "rbf", "laplacian", "poly", "sigmoid" and "chi2", at least 0; None stands for
        scikit-learn's default, 1 / n_features (1 for "chi2"). "median", of "rbf": 1 / (2 median ‖x − z‖²) over pairs of
        samples that differ, weighted, of at most 1000 samples; of "laplacian" and "chi2": 1 / the median of their
        distances; an error for other kernels. "grid": that times 4^-4, …, 4^2, much safer than "median" alone. Several
        values are tried, as are those of `degree`, `coef0` and `kernel_params`, in every combination, with one
        decomposition each; "safe" compares them by plain kernel ridge.
    degree : float or array-like, default=3
        Degree of the polynomial kernel.
    coef0 : float or array-like, default=1
        Constant of the kernels "poly" and "sigmoid".
    kernel_params : dict, None, or list of these, default=None
        Keyword arguments of a callable kernel or of "ntk", as in :class:`DistilledKernelRidge`; a list such as
        ``[{"depth": 1}, {"depth": 3}]`` is tried.
    store_cv_results : bool, default=False
        Whether `cv_results_` holds leave-one-out errors or predictions of every sample; not with `cv` or "gcv".
    solver : {"auto", "eigh"}, default="auto"
        How the kernel matrix is decomposed; for now both are the same.
    n_jobs : int or None, default=None
        Kernels of the grid that are decomposed at once, by :class:`joblib.Parallel`: None stands for 1 unless in a
        :func:`joblib.parallel_config`, -1 for all cores. ``joblib.parallel_config("dask")`` takes the workers of the
        current `distributed.Client`. The choice is the same for every number. Each job holds an
        (n_samples, n_samples) matrix and its eigenvectors; processes send the latter back.
    progress : bool or callable, default=False
        True shows a bar (tqdm's where it is installed) of the kernels that were tried, if that takes more than two
        seconds. A function is called as ``progress(done, total)``, at most ten times a second and at the end.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        Penalty with the best score. Where ridge is averaged over several, the one that it would have alone. This and
        the other choices are per target with `alpha_per_target` and a 2-D y.
    alphas_ : ndarray of shape (n_alphas,)
        The penalties that were tried with the chosen kernel.
    kernel_params_ : dict
        Chosen "gamma", "degree", "coef0" and "kernel_params".
    n_steps_ : int or ndarray of shape (n_targets,)
        Distillation steps of the chosen student; 0 is kernel ridge, with ``n_steps=None`` the rank is the alternative.
    xi_ : ndarray of shape (n_steps,), None, or a list of these
        Imitation weights; None where the student is given by its filter: distilled, or averaged, with ``n_steps=None``.
    mixture_ : ndarray of shape (n_steps + 1,), None, or a list of these
        Weights of the pure steps; None where `xi_` is.
    filter_ : ndarray of shape (rank,) or (n_targets, rank)
        What was used: the factor by which the model shrinks each direction of the (centred, weighted) kernel matrix, in
        the order of decreasing eigenvalues d; d / (d + alpha) for ridge.
    dof_ : float or ndarray of shape (n_targets,)
        Effective degrees of freedom, the sum of `filter_`, plus one for an intercept.
    best_score_ : float or ndarray of shape (n_targets,)
        Score of the choice: -Σ w e² / n as in :class:`sklearn.linear_model.RidgeCV`, minus GCV, the log marginal
        likelihood (summed over the targets that share the penalty), or that of the scorer. That of kernel ridge
        of the penalty `alpha_` where `xi_` is None.
    cv_results_ : dict or ndarray of shape (n_samples, n_alphas) or (n_samples, n_targets, n_alphas)
        A dict with "alpha", the penalties, and "scores" of shape (n_alphas, n_steps + 1[, n_targets]), the best score
        with 0..k steps at each (minus infinity at penalties that an indefinite
        kernel matrix excludes). Where a kernel parameter holds several values also "params", a list of the combinations
        tried, which is the first axis of "scores" and, with ``alphas="dof"``, of "alpha". With `store_cv_results` an
        array as in :class:`sklearn.linear_model.RidgeCV`: squared leave-one-out errors times `sample_weight` or, with a
        scorer, leave-one-out predictions; of the student of k steps at each penalty, with "safe" of ridge.
    noise_variance_ : float or ndarray of shape (n_targets,)
        The noise variance σ² of each target at `alpha_`, by the likelihood in the Notes. The standard deviations of
        ``predict(X, return_std=True)`` are those of a noise variance of `alpha_`; times
        ``sqrt(noise_variance_ / alpha_)`` they have the unit of y.
    verdict_ : Verdict or list of Verdict
        Paired leave-one-out comparison with the best plain kernel ridge of the chosen kernel: `gain` (share of its
        error), `standard_error`, `n_steps`, `evidence`, and `sentence`. What is held fixed: see Notes.
        `penalty_gain` is what averaging over penalties does to kernel ridge, which is no distillation.
    evidence_ : fastdistill.selection.evidence.Evidence, None, or a list of these
        What the data say about a concentrated signal; None unless the strategy is "safe", and with
        ``n_steps=0``.
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Dual coefficients of the chosen student; float64 unless `kernel` is "precomputed" and X float32.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept of the chosen student; 0.0 with ``fit_intercept=False``.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Σ_i dual_coef_i x_i, the coefficients of the features; only with ``kernel="linear"``.
    X_fit_ : {ndarray, sparse matrix, sparse array} of shape (n_samples, n_features)
        A copy of the training data; with "precomputed" the kernel matrix itself.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledRidgeCV : The linear model; faster than ``kernel="linear"``.
    DistilledKernelRidge : Penalty, weights and kernel as given.
    fastdistill.tune : What chooses penalty and weights.
    sklearn.gaussian_process.GaussianProcessRegressor : Chooses kernel parameters by gradients of the likelihood.

    Notes
    -----
    The likelihood of ``scoring="marginal_likelihood"`` is that of y ~ N(b 1, σ² (K / alpha + W⁻¹)): noise of variance
    σ² / w_i, and a function with covariance σ² / alpha times the kernel, the σ² of each target at its maximum. With d
    the eigenvalues of W^½ K W^½, z the targets in its eigenbasis and n samples of positive weight,

        -½ [n log(2π σ²) + n + Σ_j log(1 + d_j / alpha) - Σ_i log w_i],   σ² = (1 / n) Σ_j z_j² alpha / (d_j + alpha).

    With an intercept, which has a flat prior, it is the restricted likelihood, of n - 1 contrasts of the targets. A
    weight of two is then a noise of half the variance, not the sample twice.

    Mean test error of an RBF kernel, ``n_steps=0, alphas="dof"``, over 32 real tables (n = 60 and 150, standardised)
    beside that of ``gamma="grid"`` by leave-one-out: 1.01 by five folds, 1.00 (standard error 0.03) by the likelihood,
    1.63 by "gcv", which is unreliable where the fit nearly interpolates (1.18 with the penalties of ``alphas=None``);
    1.07 with ``gamma="median"``, 1.21 with ``gamma=None``. With the strategy "safe": 0.98.

    `fastdistill.selection.evidence` explains and measures the strategy "safe". Where it distils, the leave-one-out
    residuals of the verdict are (y_i − ŷ_i) / (1 − h_i), with the filter held fixed in the eigenbasis of all samples.
    For the other strategies they are exact, teachers refitted too, with the weights held fixed. The choice was made
    on the same samples, so both flatter.

    Cost: O(n³) for each combination of kernel parameters, then O(n² k) per penalty; with `cv` as `path.cv`, and with a
    scorer besides O(n³) per fold.
    BLAS has threads of its own in each job; processes of joblib share the cores out among the jobs.

    References
    ----------
    .. [1] D. Pareek, S. S. Du and S. Oh, "Understanding the gains from repeated self-distillation", NeurIPS 2024,
       arXiv:2407.04600.
    .. [2] K. Borup and L. N. Andersen, "Even your teacher needs guidance: Ground-truth targets dampen
       regularization imposed by self-distillation", NeurIPS 2021, arXiv:2102.13088.

    Examples
    --------
    Kernel ridge with neither penalties nor kernel widths to guess:

    >>> import numpy as np
    >>> from fastdistill import DistilledKernelRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 1, (60, 1))
    >>> y = np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(60)
    >>> model = DistilledKernelRidgeCV(alphas="dof", n_steps=0, gamma="grid").fit(X, y)
    >>> mean, std = model.predict([[0.25], [0.5]], return_std=True)
    >>> mean.round(2), (std * np.sqrt(model.noise_variance_ / model.alpha_)).round(2)
    (array([0.91, 0.31]), array([0.09, 0.09]))
    >>> model.cv_results_["scores"].shape  # kernels, penalties, students
    (7, 40, 1)

    With sample weights, five folds, and a precomputed kernel:

    >>> from sklearn.metrics.pairwise import rbf_kernel
    >>> K, w = rbf_kernel(X, gamma=10.0), rng.uniform(0.5, 2.0, 60)
    >>> model = DistilledKernelRidgeCV(n_steps=0, kernel="precomputed", cv=5).fit(K, y, sample_weight=w)
    >>> model.predict(rbf_kernel([[0.25], [0.5]], X, gamma=10.0)).round(2)
    array([0.9 , 0.32])

    Distilled where the data support it, which they rarely do:

    >>> model = DistilledKernelRidgeCV(gamma=np.logspace(-1, 3, 9)).fit(X, y)
    >>> float(model.kernel_params_["gamma"]), model.n_steps_
    (10.0, 0)
    """

    cv_results_: Any

    def __init__(
        self,
        alphas: Any = None,
        n_steps: int | None = None,
        strategy: str = "safe",
        scoring: Any = None,
        cv: Any = None,
        bounds: tuple[float, float] | None = None,
        fit_intercept: bool = True,
        alpha_per_target: bool = False,
        kernel: str | Callable[..., float] = "rbf",
        gamma: Any = None,
        degree: Any = 3,
        coef0: Any = 1,
        kernel_params: Any = None,
        store_cv_results: bool = False,
        solver: str = "auto",
        n_jobs: int | None = None,
        progress: Any = False,
    ) -> None:
        self.alphas = alphas
        self.n_steps = n_steps
        self.strategy = strategy
        self.scoring = scoring
        self.cv = cv
        self.bounds = bounds
        self.fit_intercept = fit_intercept
        self.alpha_per_target = alpha_per_target
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.store_cv_results = store_cv_results
        self.solver = solver
        self.n_jobs = n_jobs
        self.progress = progress

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledKernelRidgeCV:
        """Choose the kernel, the penalty and the weights, and fit the chosen student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features) or (n_samples, n_samples)
            Training data; with ``kernel="precomputed"`` the symmetric kernel matrix.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the squared residuals, in the fit and in the scores; at least 0 and not all 0.

        Returns
        -------
        self : DistilledKernelRidgeCV

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero; a kernel matrix K
            that is not square and symmetric, or K + λ I positive definite for none of the penalties.
        TypeError
            Parameters or weights of the wrong kind; sparse X with a kernel that cannot take it.

        Warns
        -----
        RuntimeWarning
            The kernel matrix is indefinite, or ``kernel="linear"`` loses columns of X in it beside larger ones.
        """
        search = search_of(self)
        validation.choice(self.solver, "solver", SOLVERS)
        checked(self.progress)
        has_word = checked_word(self.gamma, self.kernel)
        kernels = self._kernels(None if has_word else self.gamma)
        X, y = checked_samples(self, X, y, copy=not kernels[0].is_precomputed)
        given, (y, scale) = y, search.in_units(checked_targets(y))
        weight = validation.sample_weight(sample_weight, X.shape[0])
        if has_word:
            kernels = self._kernels(of_data(self.gamma, self.kernel, X, weight))
        splits = None if self.cv is None else list(check_cv(self.cv, y).split(X, y))
        best: _Tried | None = None
        penalties, scores, refusal = [], [], ""
        tried = self._tried(kernels, search, X, y, weight, splits)
        with reporting(self.progress, len(kernels), "kernels", type(self).__name__) as advance:
            for kernel, found in zip(kernels, tried, strict=True):
                penalties.append(found.penalties)
                scores.append(found.scores)
                advance(1)
                if found.choices is None:
                    refusal = found.message
                    continue
                if found.message:
                    warnings.warn(found.message, RuntimeWarning, stacklevel=2)
                if best is None or best.choices is None or found.choices.error < best.choices.error:
                    best, self._kernel = found, kernel
        if best is None or best.choices is None:
            raise ValueError(refusal)
        record(self, best.choices)
        self._complete_results(best, kernels, penalties, scores)
        self.kernel_params_ = _params(self._kernel)
        # float64 also for float32 data, as they cancel in predictions
        self.dual_coef_ = best.choices.coefficients
        self.intercept_ = best.choices.intercept if self.fit_intercept else 0.0
        multiply(self, scale, "dual_coef_", "intercept_")
        self.X_fit_ = X
        definite = best.coordinates.smallest == 0.0
        self._posterior = Posterior(best.coordinates, np.atleast_1d(self.alpha_)) if definite else None
        chosen = tuned_students(best.choices)
        self._training = TrainingData(self._kernel.spectrum, X, given, weight, chosen, always_stored=True)
        names = getattr(self, "feature_names_in_", None)
        self._kernel.warn_of_lost_columns(X, float(np.min(self.alpha_)), names)
        return self

    def _tried(self, kernels: list[Kernel], *data: Any) -> Iterator[_Tried]:
        """What each kernel gives, in their order, by joblib; one after the other held where there is one job."""
        if len(kernels) == 1:
            return iter([_try(kernels[0], *data)])
        return Parallel(n_jobs=self.n_jobs, return_as="generator")(delayed(_try)(kernel, *data) for kernel in kernels)

    def _complete_results(
        self, best: _Tried, kernels: list[Kernel], penalties: list[np.ndarray], scores: list[np.ndarray]
    ) -> None:
        """`cv_results_` of all penalties and kernels; until then of the best kernel and what was used with it."""
        self.alphas_ = best.penalties.copy()
        if isinstance(self.cv_results_, dict):
            self.cv_results_ = {"alpha": best.penalties.copy(), "scores": best.scores}
            if len(kernels) > 1 or any(_is_several(getattr(self, name)) for name in KERNEL_PARAMETERS):
                of_kernels = np.stack(penalties) if isinstance(self.alphas, str) else best.penalties.copy()
                params = [_params(kernel) for kernel in kernels]
                self.cv_results_ = {"alpha": of_kernels, "scores": np.stack(scores), "params": params}
        elif not best.admitted.all():
            stored = np.full((*self.cv_results_.shape[:-1], len(best.penalties)), np.nan, dtype=self.cv_results_.dtype)
            stored[..., best.admitted] = self.cv_results_
            self.cv_results_ = stored

    def _kernels(self, gamma: Any) -> list[Kernel]:
        """One for every combination of kernel parameters, checked."""
        given = [gamma if name == "gamma" else getattr(self, name) for name in KERNEL_PARAMETERS]
        options = {"kernel": self.kernel, "fit_intercept": self.fit_intercept}
        combinations = product(*(value if _is_several(value) else [value] for value in given))
        kernels = [Kernel(**options, **dict(zip(KERNEL_PARAMETERS, c, strict=True))) for c in combinations]
        if not kernels:
            raise ValueError("A kernel parameter is an empty array; give at least one value.")
        for kernel in kernels:
            kernel.check()
        return kernels


class _Tried(NamedTuple):
    """The penalties (L,) of a kernel, which it admits, their scores, and the choice; without one the message is why."""

    penalties: np.ndarray
    admitted: np.ndarray
    scores: np.ndarray
    choices: Choices | None
    coordinates: Coordinates
    message: str


def _try(kernel: Kernel, search: Search, X: Any, y: np.ndarray, weight: Any, splits: list[Any] | None) -> _Tried:
    """Choose penalty and weights for one kernel."""
    spectrum = kernel.spectrum(X, weight)
    search = search.on(spectrum)
    penalties, scores = search.penalties, search.no_scores(y)
    admitted = kernel.admitted(spectrum, penalties)
    if not admitted.any():
        refusal = kernel.refusal(spectrum, float(penalties.max()))
        return _Tried(penalties, admitted, scores, None, spectrum.coordinates, refusal)
    folds = None if splits is None else Folds(splits, lambda: _folds(kernel, X, weight, splits))
    choices = search.within(admitted, spectrum.coordinates.smallest < 0.0).run(spectrum, y, weight, folds)
    scores[admitted] = choices.scores
    return _Tried(penalties, admitted, scores, choices, spectrum.coordinates, kernel.warning(spectrum))


def _is_several(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _params(kernel: Kernel) -> dict[str, Any]:
    return {name: getattr(kernel, name) for name in KERNEL_PARAMETERS}


def _folds(kernel: Kernel, X: Any, weight: np.ndarray | None, splits: list[Any]) -> Iterator[Fold]:
    """Training and held-out blocks of the kernel matrix."""
    K = kernel.values(X, None)
    K = K.toarray() if issparse(K) else K
    for train, test in splits:
        part = None if weight is None else weight[train]
        spectrum = kernel.spectrum_of(K[np.ix_(train, train)], part)
        yield Fold(spectrum, train, test, K[np.ix_(test, train)])
