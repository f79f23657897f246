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

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Literal, overload

import numpy as np
from scipy.sparse import issparse
from sklearn.model_selection import check_cv
from sklearn.utils.validation import validate_data

from fastdistill import _validation as validation
from fastdistill.estimators._common import DATA
from fastdistill.estimators.kernel_ridge import DistilledKernelRidge
from fastdistill.estimators.ridge_cv import Choices, Fold, Search
from fastdistill.gaussian_process import Posterior
from fastdistill.spectrum import Spectrum

GRID = ("gamma", "degree", "coef0", "kernel_params")  # each may hold several values


class DistilledKernelRidgeCV(DistilledKernelRidge):
    """Kernel ridge regression with a tuned penalty and kernel, distilled only where there is evidence that this helps.

    min over kernel, λ, w of ‖Σ_i w_i p_i(kernel, λ) − y‖² with leave-one-out predictions p_i of i pure distillation
    steps: i = 0 is kernel ridge. With the default strategy the weights are those of kernel ridge unless the data show
    that kernel ridge of any penalty is the wrong filter of the kernel's spectrum.

    Parameters
    ----------
    alphas : float or array-like of shape (n_alphas,), default=None
        Penalties to choose from, at least 0, on the scale of :class:`sklearn.kernel_ridge.KernelRidge`. None stands for
        ``numpy.logspace(-4, 5, 40)``.
    n_steps : int or None, default=None
        Number k of distillation steps; 0 is plain kernel ridge. None (strategy "safe" without `bounds`) allows as many
        as the rank of the kernel matrix, with which any filter of its spectrum can be reached [1]_.
    strategy : {"safe", "joint", "greedy"}, default="safe"
        "safe" distils only on evidence for a signal concentrated in few directions. "joint" tunes k weights at once
        [1]_, "greedy" one after the other [2]_; unguarded, both make ordinary data worse. See `fastdistill.tune`.
    scoring : {"loo", "gcv"}, default="loo"
        Exact leave-one-out or generalised cross-validation. Only "loo" with `cv`.
    cv : int, splitter or iterable, default=None
        None for `scoring`. Otherwise folds as scikit-learn knows them: kernel, penalty and weights have the smallest
        mean squared error on held-out samples, pooled over the folds (weighted by `sample_weight`). For splits by group
        pass the list of splits.
    bounds : (float, float) or None, default=None
        Every ξ within [low, high]; needs a number of steps.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    alpha_per_target : bool, default=False
        Whether every target has its own penalty, weights and verdict. The kernel is common to all: that of the smallest
        sum of their errors.
    kernel : str or callable, default="rbf"
        As in :class:`DistilledKernelRidge`; "precomputed" takes kernel matrices.
    gamma : float, None, or array-like of these, default=None
        Parameter of the kernels "rbf", "laplacian", "poly", "sigmoid" and "chi2", at least 0; None stands for
        scikit-learn's default. Several values are tried, as are those of `degree`, `coef0` and `kernel_params`, in
        every combination, with one decomposition each; "safe" compares them by plain kernel ridge.
    degree : float or array-like, default=3
        Degree of the polynomial kernel.
    coef0 : float or array-like, default=1
        Constant of the kernels "poly" and "sigmoid".
    kernel_params : dict, None, or list of these, default=None
        Keyword arguments of a callable kernel.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        Chosen penalty. This and the other choices are per target with `alpha_per_target` and a 2-D y.
    kernel_params_ : dict
        Chosen "gamma", "degree", "coef0" and "kernel_params".
    n_steps_ : int or ndarray of shape (n_targets,)
        Steps of the chosen student; 0 is plain kernel ridge, and with ``n_steps=None`` the rank is the alternative.
    xi_ : ndarray of shape (n_steps,), None, or a list of these
        Imitation weights; None where the student is given by its filter: distilled with ``n_steps=None``.
    mixture_ : ndarray of shape (n_steps + 1,), None, or a list of these
        Weights of the pure steps; None where `xi_` is.
    best_score_ : float or ndarray of shape (n_targets,)
        Negative mean squared error (or GCV) of the choice; that of kernel ridge where the student is given by its
        filter.
    cv_results_ : dict
        "alpha", the penalties, and "scores" of shape (n_alphas, n_steps + 1[, n_targets]), the best negative error with
        0..k steps at each. Where a kernel parameter holds several values also "params", a list of the combinations
        tried, which is the first axis of "scores".
    verdict_ : Verdict or list of Verdict
        Paired leave-one-out comparison with the best plain kernel ridge of the chosen kernel: `gain` (share of its
        error), `standard_error`, `n_steps`, `evidence`, and `sentence`. What is held fixed: see Notes.
    evidence_ : fastdistill.evidence.Evidence, None, or a list of these
        What the data say about a concentrated signal; None unless the strategy is "safe".
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Dual coefficients of the chosen student; float64 unless `kernel` is "precomputed" and X float32.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept of the chosen student.
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

    Notes
    -----
    `fastdistill.evidence` explains and measures the strategy "safe". Where it distils, the leave-one-out residuals of
    the verdict are (y_i − ŷ_i) / (1 − h_i), with the filter held fixed in the eigenbasis of all samples. For the other
    strategies they are exact, teachers refitted too, with the weights held fixed. The choice was made on the same
    samples, so both flatter.

    Cost: O(n³) for each combination of kernel parameters, and once more per fold with `cv`; then O(n² k) per penalty.

    References
    ----------
    .. [1] D. Pareek, S. S. Du and S. Oh, "Understanding the gains from repeated self-distillation", NeurIPS 2024,
       arXiv:2407.04600.
    .. [2] K. Borup and L. N. Andersen, "Even your teacher needs guidance: Ground-truth targets dampen
       regularization imposed by self-distillation", NeurIPS 2021, arXiv:2102.13088.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill import DistilledKernelRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 1, (60, 1))
    >>> y = np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(60)
    >>> model = DistilledKernelRidgeCV(gamma=np.logspace(-1, 3, 9)).fit(X, y)
    >>> float(model.kernel_params_["gamma"]), model.n_steps_
    (10.0, 0)
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
        kernel: str | Callable[..., float] = "rbf",
        gamma: Any = None,
        degree: Any = 3,
        coef0: Any = 1,
        kernel_params: Any = None,
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
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero; a kernel matrix
            that is not square, symmetric and positive semi-definite.
        TypeError
            Parameters or weights of the wrong kind; sparse X with a kernel that cannot take it.
        """
        search = Search.of(self)
        kernels = self._kernels()
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, copy=not self._is_precomputed, **DATA)
        weight = validation.sample_weight(sample_weight, X.shape[0])
        splits = None if self.cv is None else list(check_cv(self.cv, y).split(X, y))
        best: Choices | None = None
        scores = []
        for kernel in kernels:
            folds = None if splits is None else _folds(kernel, X, weight, splits)
            choices = search.run(kernel._spectrum(X, weight), y, weight, folds)
            scores.append(choices.scores)
            if best is None or choices.error < best.error:
                best, self._chosen = choices, kernel
        assert best is not None  # there is a kernel
        best.record(self)
        if any(_is_several(getattr(self, name)) for name in GRID):
            self.cv_results_ |= {"params": [_params(kernel) for kernel in kernels], "scores": np.stack(scores)}
        self.kernel_params_ = _params(self._chosen)
        # float64 also for float32 data, as they cancel in predictions
        self.dual_coef_ = best.of_student("dual_coef")
        self.intercept_ = best.of_student("intercept")
        self.X_fit_ = X
        self._posterior = Posterior(best.tuned[0].path.spectrum, np.atleast_1d(self.alpha_))
        return self

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False, kernel_diag: Any = None) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, return_std: Literal[True], kernel_diag: Any = None) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(
        self, X: Any, return_std: bool = False, kernel_diag: Any = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict with the chosen student: Σ_i dual_coef_i kernel(x, x_i) + intercept.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples; with ``kernel="precomputed"`` kernel(query, train), (n_samples, n_samples_fitted).
        return_std : bool, default=False
            Whether to return the standard deviations of a Gaussian process of noise variance `alpha_` too: distillation
            does not change them.
        kernel_diag : array-like of shape (n_samples,), default=None
            kernel(x, x) of the samples, needed with ``kernel="precomputed"`` and `return_std`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions; float32 if the training data and X are.
        std : ndarray of the shape and dtype of y
            Predictive standard deviations; only with `return_std`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            Another number of features or other names than in `fit`; NaN or inf; `kernel_diag` missing where it is
            needed, given where it is not, or of a wrong length.
        """
        mean = super().predict(X)
        if not return_std:
            return mean
        X = self._check_queries(X)
        values = self._kernel_values(X, self.X_fit_)
        rows = np.asarray(values.toarray() if issparse(values) else values, dtype=np.float64)
        std = np.sqrt(self._posterior.variance(rows, self._kernel_diag(X, kernel_diag)))  # (1 or n_targets, q)
        shared = std[0] if mean.ndim == 1 else std.T
        return mean, np.broadcast_to(shared, mean.shape).astype(mean.dtype)

    def _kernels(self) -> list[DistilledKernelRidge]:
        """A model for every combination of kernel parameters, checked."""
        values = [list(value) if _is_several(value) else [value] for value in (getattr(self, name) for name in GRID)]
        options = {"kernel": self.kernel, "fit_intercept": self.fit_intercept}
        models = [DistilledKernelRidge(**options, **dict(zip(GRID, v, strict=True))) for v in product(*values)]
        if not models:
            raise ValueError("A kernel parameter is an empty array; give at least one value.")
        for model in models:
            model._check_kernel()
        return models

    def _kernel_values(self, X: Any, Y: Any) -> Any:
        return self._chosen._kernel_values(X, Y)


def _is_several(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _params(kernel: DistilledKernelRidge) -> dict[str, Any]:
    return {name: getattr(kernel, name) for name in GRID}


def _folds(kernel: DistilledKernelRidge, X: Any, weight: np.ndarray | None, splits: list[Any]) -> Iterator[Fold]:
    """Training and held-out blocks of the kernel matrix."""
    K = kernel._kernel_values(X, None)
    K = K.toarray() if issparse(K) else K
    for train, test in splits:
        part = None if weight is None else weight[train]
        spectrum = Spectrum.from_kernel(K[np.ix_(train, train)], kernel.fit_intercept, part)
        yield Fold(spectrum, train, test, K[np.ix_(test, train)])
