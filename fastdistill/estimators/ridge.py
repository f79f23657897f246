"""Self-distilled ridge regression: the last student of a design's distillation path, with scikit-learn's interface.

With the centred, weighted design X_s = U diag(s) Vᵀ, targets z = Uᵀ W^½ (y − ȳ) and the filters of
`fastdistill.kernels`::

    f_0 = s² / (s² + λ),   f_t = f_0 ((1 − ξ_t) + ξ_t f_{t−1}),   coef_ = V ((f_k / s) ∘ z)

======================================  ==================
paper                                   here
======================================  ==================
P: ridge penalty λ                      ``alpha``
P: imitation parameters ξ_1, …, ξ_k     ``xi``
B: ground-truth weights α_t = 1 − ξ_t   ``1 - xi``
======================================  ==================

Cost: that of the cheapest solver, at most O(n p min(n, p)), and O(k p min(n, p)) for the students.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from fastdistill.estimators._common import (
    affine,
    as_linear_model,
    checked_queries,
    checked_recursion,
    checked_samples,
    far_from_zero,
    last_student,
)
from fastdistill.estimators._intervals import IntervalRegressor, TrainingData, design_spectrum, given_students
from fastdistill.spectral.spectrum import DESIGN_SOLVERS, Spectrum


class LinearModel:
    """X coef_ᵀ + intercept_, computed so that it does not cancel where columns are far from zero."""

    coef_: np.ndarray
    intercept_: Any
    _means: Any

    def _use_model_of(self, fitted: LinearModel) -> None:
        """The coefficients of another model of the same data."""
        self.coef_, self.intercept_, self._means = fitted.coef_, fitted.intercept_, fitted._means

    def _linear_values(self, X: Any) -> np.ndarray:
        X = checked_queries(self, X)
        return affine(X, self.coef_.T, self.intercept_, np.result_type(X.dtype, self.coef_.dtype), self._means)


class LinearPredictor(LinearModel):
    """A linear model whose predictions are its values."""

    def predict(self, X: Any) -> np.ndarray:
        """Predict with the last student: X coef_ᵀ + intercept_.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions; float32 if the training data and X are.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            Another number of features or other names than in `fit`; NaN or inf.
        """
        return self._linear_values(X)


class LinearRegressor(LinearPredictor, IntervalRegressor):
    """Base of the ridge regressors, whose predictions are linear in X."""

    def _query_blocks(self, X: Any) -> Iterator[Any]:
        yield X


class DistilledRidge(LinearRegressor):
    """Ridge regression distilled into itself, ``n_steps`` times, at the price of one ridge fit.

    Student 0 is ridge regression on y. Student t minimises, over β and an unpenalised β₀,
    Σ_i w_i (u_i − x_iᵀβ − β₀)² + alpha ‖β‖² with the targets u = (1 − ξ_t) y + ξ_t ŷ_{t−1}, where ŷ_{t−1} are the
    fitted values of the student before. The model is the last student.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Ridge penalty on ‖β‖², at least 0, on the scale of :class:`sklearn.linear_model.Ridge`: against the sum of
        (weighted) squared residuals. Every student has the same penalty; an array gives each target its own.
    xi : float or array-like of shape (n_steps,) or (n_steps, n_targets), default=1.0
        Imitation weights, any real numbers: 0 ignores the teacher, 1 ignores y, negative values move away from the
        teacher. A number serves all steps; a 1-D array is the schedule ξ_1, …, ξ_k of all targets, a 2-D array has one
        in each column.
    n_steps : int or None, default=1
        Number k of distillation steps; 0 is plain ridge. With an array `xi` its length, or None.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept.
    tol : float, default=1e-8
        Relative error of the fits with ``solver="krylov"``; other solvers are exact to rounding.
    solver : {"auto", "svd", "gram", "cholesky", "krylov"}, default="auto"
        "auto" takes the cheapest exact one; of a sparse X, which is never made dense as a whole, conjugate gradients or
        a Krylov basis at 1e-12 where these cost less. "svd" and "gram" decompose X, or its smaller Gram matrix;
        "cholesky" factors that for each penalty. "krylov" takes one Krylov basis for all steps, needs memory for little
        more than X, and warns where `tol` is out of reach.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the last student; float32 if X is. A single column of targets counts as one target, as in
        :class:`sklearn.linear_model.Ridge`, but for `intercept_` of shape (1,).
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept of the last student; 0.0 with ``fit_intercept=False``.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledKernelRidge : The same for kernels.
    fastdistill.Spectrum.path : Every student of every penalty and schedule from the same decomposition.
    fastdistill.tune : Chooses the penalty and the weights.
    sklearn.linear_model.Ridge : The model of ``n_steps=0``.

    Notes
    -----
    Nothing is refitted: in the basis of the left singular vectors of the (centred, weighted) design the fitted values
    of student t are the targets times the filter

        f_t = a ((1 − ξ_t) + ξ_t f_{t−1}),   f_0 = a = s² / (s² + alpha)   [1]_, [2]_.

    With constant ξ the students converge to ridge regression of the penalty alpha / (1 − ξ) where |ξ| max a < 1 [1]_.
    Weights chosen freely can lower the risk below that of the best ridge [2]_, and overfit when chosen on few data.

    Cost: O(n p min(n, p)) once, O(k p min(n, p)) for the steps; of a sparse X some hundred products with it at most,
    where this is less. float32 data give float32 results; sums are carried
    in float64. Sample weights of zero equal dropping the samples, integer weights repeating them.

    References
    ----------
    .. [1] K. Borup and L. N. Andersen, "Even your teacher needs guidance: Ground-truth targets dampen
       regularization imposed by self-distillation", NeurIPS 2021, arXiv:2102.13088.
    .. [2] D. Pareek, S. S. Du and S. Oh, "Understanding the gains from repeated self-distillation", NeurIPS 2024,
       arXiv:2407.04600.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill import DistilledRidge
    >>> X = np.array([[2.0, 0.0], [0.0, 1.0], [-2.0, 0.0], [0.0, -1.0]])
    >>> y = np.array([5.0, 2.0, -3.0, 0.0])
    >>> model = DistilledRidge(alpha=2.0, xi=[1.0, -0.5], n_steps=None).fit(X, y)
    >>> model.coef_.round(4), float(model.intercept_)
    (array([1.888 , 0.6875]), 1.0)
    >>> model.predict([[1.0, 1.0]]).round(4)
    array([3.5755])
    """

    def __init__(
        self,
        alpha: Any = 1.0,
        xi: Any = 1.0,
        n_steps: int | None = 1,
        fit_intercept: bool = True,
        tol: float = 1e-8,
        solver: str = "auto",
    ) -> None:
        self.alpha = alpha
        self.xi = xi
        self.n_steps = n_steps
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.solver = solver

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledRidge:
        """Fit the last student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the squared residuals, at least 0 and not all 0.

        Returns
        -------
        self : DistilledRidge

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero; penalties or
            schedules of another number than the targets.
        TypeError
            Parameters or weights of the wrong kind.

        Warns
        -----
        RuntimeWarning
            An iterative solver does not reach its tolerance.
        """
        penalty, schedule = checked_recursion(self, DESIGN_SOLVERS)
        X, y = checked_samples(self, X, y)
        spectrum = Spectrum.from_kept(X, self.fit_intercept, sample_weight, self.solver, self.tol)
        coef, intercept = last_student(spectrum, y, penalty, schedule, "coef")
        self.coef_, self.intercept_ = as_linear_model(coef, intercept, self.fit_intercept)
        self._means = far_from_zero(spectrum, y, sample_weight)
        spectrum_of = partial(design_spectrum, fit_intercept=self.fit_intercept)
        self._training = TrainingData(spectrum_of, X, y, sample_weight, given_students(penalty, schedule, y))
        return self
