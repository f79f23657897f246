"""Self-distilled kernel ridge regression: the last student of a kernel's distillation path, scikit-learn's interface.

With the centred, weighted kernel matrix K_s = U diag(d) Uᵀ, targets z = Uᵀ W^½ (y − ȳ) and the filters of
`fastdistill.kernels`::

    f_0 = d / (d + λ),   f_t = f_0 ((1 − ξ_t) + ξ_t f_{t−1}),   dual_coef_ = W^½ U ((f_k / d) ∘ z)
    predictive variance k(x, x) − k_xᵀ (K + λ W⁻¹)⁻¹ k_x (+ the constant's)  [`fastdistill.spectral.gaussian_process`]

======================================  ==================
paper                                   here
======================================  ==================
B: ridge penalty λ                      ``alpha``
B: ground-truth weights α_t             ``1 - xi``
M: no ground truth                      ``xi=1``
M: multiplier c of G = g / n            ``alpha / n``
G: noise variance                       ``alpha``
======================================  ==================

Cost: one O(n³) eigendecomposition, O(k n²) for the students, O(q n) kernel values for q predictions, O(q n r) for their
standard deviations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, Literal, overload

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.metrics.pairwise import kernel_metrics, pairwise_kernels

from fastdistill.base import validation
from fastdistill.estimators._common import affine, checked_queries, checked_recursion, checked_samples, last_student
from fastdistill.estimators._intervals import IntervalRegressor, TrainingData, given_students
from fastdistill.spectral.gaussian_process import Posterior
from fastdistill.spectral.neural_tangent import Network, ntk_kernel
from fastdistill.spectral.spectrum import KERNEL_SOLVERS, Spectrum

DIAGONAL_BLOCK = 64  # samples
DECOMPOSING = ("auto", "eigh")  # solvers whose spectrum gives eigenvalues when they are asked for
VALUES = 2**24  # kernel values of a block of predictions (128 MiB)
STORED = 2**25  # entries of the largest matrix that a Krylov basis is given whole (256 MiB)
NTK = "ntk"
# Positive semi-definite by construction, for any data and the parameters that are admitted.
DEFINITE = ("linear", "rbf", "laplacian", "cosine", "chi2", NTK)
WITH_GAMMA = ("rbf", "laplacian", "poly", "polynomial", "sigmoid", "chi2")
# K + λ I counts as positive definite where its smallest eigenvalue is above this fraction of −min d: beyond it, less
# than four digits of a fit would be left.
DEFINITE_BY = 1e-12
# Columns are lost in X Xᵀ where its rounding is more than this share of what the penalty leaves of them.
LOST_SHARE = 1e-5
EPS = float(np.finfo(np.float64).eps)

_ADVICE = {
    "sigmoid": "The sigmoid kernel is indefinite for most gamma, coef0 and data; 'rbf' is definite for all.",
    "additive_chi2": "The additive chi-squared kernel is definite only up to a constant: set fit_intercept=True.",
}


class KernelRegressor(IntervalRegressor):
    """Base of the kernel regressors, which are Σ_i dual_coef_i kernel(x, x_i) + intercept."""

    kernel: Any
    dual_coef_: np.ndarray
    intercept_: Any
    X_fit_: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = Kernel.of(self).is_precomputed
        return tags

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients of the features (n_features,) or (n_targets, n_features), of the linear kernel only."""
        if not (isinstance(self.kernel, str) and self.kernel == "linear"):
            raise AttributeError(f"coef_ is only available with kernel='linear', not with kernel={self.kernel!r}.")
        coef = np.asarray(self.X_fit_.T @ self.dual_coef_).T
        return np.ascontiguousarray(coef, dtype=self.X_fit_.dtype)

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False, kernel_diag: Any = None) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, return_std: Literal[True], kernel_diag: Any = None) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(
        self, X: Any, return_std: bool = False, kernel_diag: Any = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict with the last student: Σ_i dual_coef_i kernel(x, x_i) + intercept.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples; with ``kernel="precomputed"`` kernel(query, train), (n_samples, n_samples_fitted).
        return_std : bool, default=False
            Whether to return the standard deviations of the Gaussian-process view too. They are those of the function;
            for a new noisy target add alpha to their squares.
        kernel_diag : array-like of shape (n_samples,), default=None
            kernel(x, x) of the samples: the prior variances, needed with ``kernel="precomputed"`` and `return_std`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions; float32 if the training data and X are.
        std : ndarray of the shape and dtype of y
            Predictive standard deviations, the same for every target of the same penalty; only with `return_std`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            Another number of features or other names than in `fit`; NaN or inf; `kernel_diag` missing where it is
            needed, given where it is not, or of a wrong length; `return_std` with an indefinite kernel.
        """
        X = checked_queries(self, X)
        dtype = np.result_type(X.dtype, self.X_fit_.dtype)
        parts = [self._predict_part(rows, dtype, return_std, kernel_diag) for rows in self._parts(X, kernel_diag)]
        mean = np.concatenate([part[0] for part in parts])
        return (mean, np.concatenate([part[1] for part in parts])) if return_std else mean

    def _query_blocks(self, X: Any) -> Iterator[Any]:
        for rows in self._parts(X, None):
            values = self._kernel.values(rows, self.X_fit_)
            yield values.toarray() if issparse(values) else values

    def _parts(self, X: Any, kernel_diag: Any) -> list[Any]:
        """Samples whose kernel values fill a block, so that those of all of them are never stored."""
        height = max(1, VALUES // self.X_fit_.shape[0])
        if self._kernel.is_precomputed or kernel_diag is not None or X.shape[0] <= height:
            return [X]
        rows = X.tocsr() if issparse(X) else X
        return [rows[start : start + height] for start in range(0, X.shape[0], height)]

    def _predict_part(self, X: Any, dtype: Any, return_std: bool, kernel_diag: Any) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and, where asked for, their standard deviations."""
        values = self._kernel.values(X, self.X_fit_)
        mean = affine(values, self.dual_coef_, self.intercept_, dtype)
        if not return_std:
            return mean, mean
        if self._posterior is None:
            raise ValueError(
                "The kernel matrix of the training data is indefinite, so that no Gaussian process has it for a "
                "covariance: there are no standard deviations. Use a positive semi-definite kernel, such as 'rbf'."
            )
        rows = np.asarray(values.toarray() if issparse(values) else values, dtype=np.float64)
        std = np.sqrt(self._posterior.variance(rows, self._kernel.diagonal(X, kernel_diag)))  # (1 or n_targets, q)
        return mean, np.broadcast_to(std[0] if mean.ndim == 1 else std.T, mean.shape).astype(dtype)


class DistilledKernelRidge(KernelRegressor):
    """Kernel ridge regression distilled into itself, ``n_steps`` times, at the price of one eigendecomposition.

    Student 0 is kernel ridge regression on y. Student t minimises, over g in the space of the kernel and an
    unpenalised constant b, Σ_i w_i (u_i − g(x_i) − b)² + alpha ‖g‖² with the targets u = (1 − ξ_t) y + ξ_t ŷ_{t−1},
    where ŷ_{t−1} are the fitted values of the student before. The model is the last student,
    Σ_i dual_coef_i kernel(x, x_i) + intercept.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Penalty on ‖g‖², at least 0, on the scale of :class:`sklearn.kernel_ridge.KernelRidge`: against the sum of
        (weighted) squared residuals. Every student has the same penalty; an array gives each target its own.
    xi : float or array-like of shape (n_steps,) or (n_steps, n_targets), default=1.0
        Imitation weights, any real numbers: 0 ignores the teacher, 1 ignores y, negative values move away from the
        teacher. A number serves all steps; a 1-D array is the schedule ξ_1, …, ξ_k of all targets, a 2-D array has one
        in each column.
    n_steps : int or None, default=1
        Number k of distillation steps; 0 is plain kernel ridge. With an array `xi` its length, or None.
    kernel : str or callable, default="rbf"
        A name that :func:`sklearn.metrics.pairwise.pairwise_kernels` knows, "ntk" (:func:`fastdistill.ntk_kernel`, the
        neural tangent kernel), "precomputed", or a function of two samples that returns a number. With "precomputed", X
        is the kernel matrix: (n_samples, n_samples) in `fit`, kernel(query, train) in `predict`. A kernel that is not
        positive semi-definite, as "sigmoid" for most data, is fitted with a warning where every `alpha` exceeds minus
        the smallest eigenvalue of its matrix (see Notes).
    gamma : float or None, default=None
        Parameter of the kernels "rbf", "laplacian", "poly", "sigmoid" and "chi2", at least 0; None stands for
        scikit-learn's default, 1 / n_features (1 for "chi2"). Ignored by the others.
    degree : float, default=3
        Degree of the polynomial kernel. Ignored by the others.
    coef0 : float, default=1
        Constant of the kernels "poly" and "sigmoid". Ignored by the others.
    kernel_params : dict or None, default=None
        Keyword arguments of a callable kernel, or "depth", "weight_variance" and "bias_variance" of "ntk". Ignored by
        the others.
    fit_intercept : bool, default=True
        Whether to fit an unpenalised intercept, which :class:`sklearn.kernel_ridge.KernelRidge` has not.
    tol : float, default=1e-8
        Relative error of the fits with ``solver="krylov"``; other solvers are exact to rounding.
    solver : {"auto", "eigh", "cholesky", "krylov"}, default="auto"
        "auto" factors the kernel matrix, or decomposes it where a factor would lose digits. "krylov" takes one Krylov
        basis for all steps: some tens of products with the matrix, which for more than 5792 samples is never stored
        but evaluated in blocks at each; with penalties not far below its largest eigenvalues a tenth of the time. It
        needs a positive semi-definite kernel and gives no standard deviations.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Dual coefficients of the last student, zero at samples of zero weight; float64 unless `kernel` is
        "precomputed" and X float32.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Σ_i dual_coef_i x_i, the coefficients of the features; only with ``kernel="linear"``.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept of the last student; 0.0 with ``fit_intercept=False``.
    X_fit_ : {ndarray, sparse matrix, sparse array} of shape (n_samples, n_features)
        A copy of the training data, needed for predictions; with "precomputed" the kernel matrix itself.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledRidge : The linear model; faster than ``kernel="linear"``.
    fastdistill.Spectrum.path : Every student of every penalty and schedule from the same decomposition.
    fastdistill.tune : Chooses the penalty and the weights.
    sklearn.kernel_ridge.KernelRidge : The model of ``n_steps=0, fit_intercept=False``.
    sklearn.gaussian_process.GaussianProcessRegressor : The same with ``optimizer=None``, with standard deviations.

    Notes
    -----
    Nothing is refitted: in the eigenbasis of the (centred, weighted) kernel matrix the fitted values of student t are
    the targets times the filter

        f_t = a ((1 − ξ_t) + ξ_t f_{t−1}),   f_0 = a = d / (d + alpha)   [1]_, [2]_, [3]_.

    With ``xi=1`` every step shrinks the small eigendirections further, until the model collapses to zero (with an
    intercept: to the mean) [1]_. With constant ξ the students converge to kernel ridge of the penalty
    alpha / (1 − ξ) where |ξ| max a < 1 [2]_. Weights chosen freely can lower the risk below that of the best
    ridge [3]_, and overfit when chosen on few data.

    Cost: one Cholesky factor, n³ / 3, O(k n²) for the steps, n kernel values for each prediction; an
    eigendecomposition, ten times as much, where the factor would lose digits. Kernels are evaluated and sums carried in
    float64; float32 data give float32 predictions. Sample weights of zero equal dropping the samples,
    integer weights repeating them.

    Every student is the posterior mean of a Gaussian process of noise variance alpha (divided by the sample weights),
    and ``predict(X, return_std=True)`` gives its standard deviations [4]_. They depend on X, the kernel and alpha, not
    on targets: whatever `xi` and `n_steps`, they are those of plain kernel ridge. The first call
    decomposes the kernel matrix for them, O(n³), and keeps the eigenvectors of eigenvalues above 1e-5 alpha.

    Where the kernel matrix is indefinite but K + alpha I positive definite, the dual coefficients are those of
    :class:`sklearn.kernel_ridge.KernelRidge`. No space of functions has such a kernel: the model no longer minimises
    the objective above, a student may amplify (f > 1), and there are no standard deviations.

    References
    ----------
    .. [1] H. Mobahi, M. Farajtabar and P. L. Bartlett, "Self-distillation amplifies regularization in Hilbert space",
       NeurIPS 2020, arXiv:2002.05715.
    .. [2] K. Borup and L. N. Andersen, "Even your teacher needs guidance: Ground-truth targets dampen
       regularization imposed by self-distillation", NeurIPS 2021, arXiv:2102.13088.
    .. [3] D. Pareek, S. S. Du and S. Oh, "Understanding the gains from repeated self-distillation", NeurIPS 2024,
       arXiv:2407.04600.
    .. [4] K. Borup and L. N. Andersen, "Self-distillation for Gaussian process regression and classification", 2023,
       arXiv:2304.02641.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill import DistilledKernelRidge
    >>> X = np.linspace(0, 1, 11)[:, np.newaxis]
    >>> y = np.sin(2 * np.pi * X[:, 0])
    >>> model = DistilledKernelRidge(alpha=0.2, xi=0.75, n_steps=3, gamma=80.0).fit(X, y)
    >>> model.predict([[0.25], [0.7]]).round(4)
    array([ 0.7516, -0.7139])
    >>> mean, std = model.predict([[0.25], [2.0]], return_std=True)
    >>> std.round(4)
    array([0.42  , 1.0893])
    """

    def __init__(
        self,
        alpha: Any = 1.0,
        xi: Any = 1.0,
        n_steps: int | None = 1,
        kernel: str | Callable[..., float] = "rbf",
        gamma: float | None = None,
        degree: float = 3,
        coef0: float = 1,
        kernel_params: dict[str, Any] | None = None,
        fit_intercept: bool = True,
        tol: float = 1e-8,
        solver: str = "auto",
    ) -> None:
        self.alpha = alpha
        self.xi = xi
        self.n_steps = n_steps
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.solver = solver

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledKernelRidge:
        """Fit the last student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features) or (n_samples, n_samples)
            Training data; with ``kernel="precomputed"`` the symmetric kernel matrix.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the squared residuals, at least 0 and not all 0.

        Returns
        -------
        self : DistilledKernelRidge

        Raises
        ------
        ValueError
            Values out of range, NaN or inf, shapes that do not match, weights negative or all zero; penalties or
            schedules of another number than the targets; a kernel matrix K that is not square and symmetric, or
            K + alpha I not positive definite.
        TypeError
            Parameters or weights of the wrong kind; sparse X with a kernel that cannot take it.

        Warns
        -----
        RuntimeWarning
            The kernel matrix is indefinite, ``kernel="linear"`` loses columns of X in it beside larger ones, or an
            iterative solver does not reach its tolerance.
        """
        penalty, schedule = checked_recursion(self, KERNEL_SOLVERS)
        kernel = Kernel.of(self)
        kernel.check()
        # The copy keeps the model as it is when the caller reuses the memory of X.
        X, y = checked_samples(self, X, y, copy=not kernel.is_precomputed)
        spectrum = kernel.spectrum(X, sample_weight, self.solver, self.tol)
        penalties = np.atleast_1d(penalty)
        if not kernel.admitted(spectrum, penalties).all():
            raise ValueError(kernel.refusal(spectrum, float(penalties.min())))
        if warning := kernel.warning(spectrum):
            warnings.warn(warning, RuntimeWarning, stacklevel=2)
        coef, intercept = last_student(spectrum, y, penalty, schedule, "dual_coef")
        # In float64 also for float32 data: of order y / alpha, they cancel in predictions (linear kernel, n = 200,
        # alpha = 1e-3: relative error 2e-3 when stored as float32, 5e-8 so).
        self.dual_coef_, self.intercept_ = coef, intercept if self.fit_intercept else 0.0
        self.X_fit_ = X
        self._posterior = posterior(kernel, spectrum, X, sample_weight, penalties, self.solver)
        self._kernel = kernel
        self._training = None
        if self.solver != "krylov":
            self._training = TrainingData(
                kernel.spectrum, X, y, sample_weight, given_students(penalty, schedule, y), always_stored=True
            )
        kernel.warn_of_lost_columns(X, float(penalties.min()), getattr(self, "feature_names_in_", None))
        return self


@dataclass(frozen=True, eq=False)
class Kernel:
    """The kernel of an estimator: its values, its matrix on training data, and the penalties that this admits."""

    kernel: Any
    gamma: Any
    degree: Any
    coef0: Any
    kernel_params: Any
    fit_intercept: bool

    @classmethod
    def of(cls, model: Any) -> Kernel:
        """From the parameters of an estimator, which have the names of the fields."""
        return cls(*(getattr(model, field.name) for field in fields(cls)))

    @property
    def is_precomputed(self) -> bool:
        """Whether X is the kernel matrix itself."""
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    @property
    def is_tangent(self) -> bool:
        """Whether it is the neural tangent kernel, the only one that scikit-learn does not evaluate."""
        return isinstance(self.kernel, str) and self.kernel == NTK

    @property
    def is_definite(self) -> bool:
        """Whether every matrix of this kernel is positive semi-definite."""
        return isinstance(self.kernel, str) and self.kernel in DEFINITE

    def check(self) -> None:
        """Raise where a parameter is of the wrong kind or out of range."""
        if not callable(self.kernel):
            validation.choice(self.kernel, "kernel", (*kernel_metrics(), NTK, "precomputed"))
        if self.gamma is not None:
            validation.scalar(self.gamma, "gamma", minimum=0.0)
        validation.scalar(self.degree, "degree", minimum=0.0)
        validation.scalar(self.coef0, "coef0")
        if self.kernel_params is not None and not isinstance(self.kernel_params, dict):
            raise TypeError(f"kernel_params must be a dict or None, got {validation.shown(self.kernel_params)}.")
        if self.is_tangent:
            unknown = [name for name in self.kernel_params or {} if name not in Network._fields]
            if unknown:
                raise ValueError(
                    f"kernel='ntk' has no parameter {validation.shown(unknown[0])}; kernel_params takes "
                    f"{', '.join(Network._fields)}."
                )
            Network(**self.kernel_params or {}).checked()

    def values(self, X: Any, Y: Any) -> Any:
        """kernel(X, Y) in float64 and dense; with "precomputed" X as it is."""
        if self.is_precomputed:
            return X
        X = X.astype(np.float64, copy=False)
        if callable(self.kernel):
            params = self.kernel_params or {}
        else:
            params = {"degree": self.degree, "coef0": self.coef0}
            if self.gamma is not None:  # chi2_kernel does not take None for its default
                params["gamma"] = self.gamma
        # Y=None says that both are the same data, so that the matrix is exactly symmetric
        Y = None if Y is None else Y.astype(np.float64, copy=False)
        if self.kernel == "laplacian":
            X, Y = short_indices(X), short_indices(Y)
        if callable(self.kernel):
            return pairwise_kernels(X, Y, metric=self.kernel, filter_params=True, **params)
        validation.sized(X.data if issparse(X) else X, "X", smallest=0.0)
        if self.is_tangent:
            return ntk_kernel(X, Y, **self.kernel_params or {})
        with np.errstate(over="ignore", invalid="ignore"):
            values = pairwise_kernels(X, Y, metric=self.kernel, filter_params=True, **params)
        if not np.isfinite(values.data if issparse(values) else values).all():
            raise ValueError(
                f"The values of kernel={self.kernel!r} overflow: X is too large. Rescale X, for example by dividing "
                f"its columns by their standard deviations."
            )
        return values

    def _check_tells_apart(self, K: Any, X: Any) -> None:
        """Raise where all kernel values are equal although samples differ: with the default gamma X is too small."""
        values, rows = (a.toarray() if issparse(a) else a for a in (K, X))
        if values.min() == values.max() and np.any(rows != rows[0]):
            raise ValueError(
                f"All values of kernel={self.kernel!r} are {values.max():.3g}: X, with entries up to "
                f"{validation.largest_entry(rows):.3g} in size, is too small for the default gamma. Rescale X, for "
                f"example by dividing its columns by their standard deviations, or set gamma."
            )

    def diagonal(self, X: Any, given: Any) -> Any:
        """kernel(x, x) of checked samples (q,): as given for a precomputed kernel, evaluated for any other."""
        if self.is_precomputed:
            if given is None:
                raise ValueError(
                    "With kernel='precomputed', return_std=True needs kernel_diag=, the kernel(x, x) of each sample."
                )
            return given
        if given is not None:
            raise ValueError(f"kernel_diag is for kernel='precomputed'; kernel={self.kernel!r} is evaluated.")
        if hasattr(self.kernel, "diag"):  # scikit-learn's kernel objects
            return self.kernel.diag(X.astype(np.float64, copy=False))
        # What is off the diagonal of a block is wasted, but a call costs scikit-learn 200 µs, as much as the waste.
        rows = X.tocsr() if issparse(X) else X
        size = 1 if callable(self.kernel) else DIAGONAL_BLOCK
        blocks = (rows[start : start + size] for start in range(0, X.shape[0], size))
        return np.concatenate([np.diagonal(self.values(block, None)).copy() for block in blocks])

    def spectrum(self, X: Any, weight: Any, solver: str = "auto", tol: float = 1e-8) -> Spectrum:
        """The spectrum of the training kernel; what is wrong with that matrix is said in terms of the kernel."""
        if solver == "krylov" and X.shape[0] ** 2 > STORED and not self.is_precomputed:
            return self._spectrum_of_rows(X, weight, tol)
        K = self.values(X, None)
        if not (callable(self.kernel) or self.is_precomputed):
            validation.sized(X.data if issparse(X) else X, "X")
        if self.kernel in WITH_GAMMA and self.gamma is None:
            self._check_tells_apart(K, X)
        return self.spectrum_of(K, validation.sample_weight(weight, X.shape[0]), solver, tol)

    def _spectrum_of_rows(self, X: Any, weight: Any, tol: float) -> Spectrum:
        """By blocks of rows, evaluated at every product."""
        X = X.tocsr() if issparse(X) else X
        n = X.shape[0]
        if not callable(self.kernel):
            validation.sized(X.data if issparse(X) else X, "X")

        def rows(start: int, stop: int) -> np.ndarray:
            values = self.values(X[start:stop], X)
            return np.asarray(values.toarray() if issparse(values) else values)

        if self.kernel in WITH_GAMMA and self.gamma is None:
            self._check_tells_apart(rows(0, 1), X)
        return Spectrum.from_kernel_rows(rows, n, self.fit_intercept, weight, tol)

    def spectrum_of(self, K: Any, weight: np.ndarray | None, solver: str = "auto", tol: float = 1e-8) -> Spectrum:
        """The spectrum of a kernel matrix, which may be indefinite but for Krylov bases."""
        K = K.toarray() if issparse(K) else K
        try:
            if solver == "krylov":
                return Spectrum.from_kernel(K, self.fit_intercept, weight, solver, tol)
            return Spectrum.from_symmetric(
                K, self.fit_intercept, weight, solver, indefinite=True, known_definite=self.is_definite
            )
        except ValueError as err:
            raise ValueError(f"Cannot fit with kernel={self.kernel!r}. {err}") from err

    def admitted(self, spectrum: Spectrum, penalties: np.ndarray) -> np.ndarray:
        """Which penalties (L,) leave K + λ I positive definite."""
        least = spectrum.smallest
        return np.ones(len(penalties), dtype=bool) if least == 0.0 else penalties > -least * (1.0 + DEFINITE_BY)

    def warning(self, spectrum: Spectrum) -> str:
        """What to warn of where K is not positive semi-definite, but K + λ I is; empty where K is."""
        if spectrum.smallest == 0.0:
            return ""
        return (
            f"kernel={self.kernel!r} is indefinite on these data (eigenvalues of its matrix from "
            f"{spectrum.smallest:.3g} to {spectrum.d[0]:.3g}). The fit solves (K + alpha I) a = y, but no longer "
            f"minimises a penalised error, has no standard deviations, and a distillation step may amplify."
        )

    def warn_of_lost_columns(self, X: Any, penalty: float, names: Any) -> None:
        """Where X Xᵀ of the linear kernel rounds away columns that the penalty keeps; one float64 holds 16 digits."""
        if not (isinstance(self.kernel, str) and self.kernel == "linear"):
            return
        largest = abs(X).max(axis=0)
        largest = np.asarray(largest.toarray() if issparse(largest) else largest, dtype=np.float64).ravel()
        with np.errstate(over="ignore"):
            rounding = EPS * np.square(largest.max(initial=0.0)) * X.shape[0]
            squares = np.square(largest) * X.shape[0]
        lost = np.flatnonzero((squares > 0) & (rounding > LOST_SHARE * (squares + penalty)) & (squares > EPS * penalty))
        if len(lost):
            names = [f"column {j}" for j in range(X.shape[1])] if names is None else names
            warnings.warn(
                f"kernel='linear' loses {validation.shown(names[lost[0]])}"
                f"{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}: in X Xᵀ the squares of columns of very "
                f"different sizes (up to {largest.max():.3g}, here {largest[lost[0]]:.3g}) are added up, and rounding "
                f"takes the small ones. Scale the columns (StandardScaler), or use DistilledRidge, which keeps them.",
                RuntimeWarning,
                stacklevel=3,
            )

    def refusal(self, spectrum: Spectrum, penalty: float) -> str:
        """What to say where K + λ I is not positive definite."""
        advice = _ADVICE.get(self.kernel, "") if isinstance(self.kernel, str) else ""
        smallest = spectrum.smallest
        return (
            f"Cannot fit with kernel={self.kernel!r} and alpha={penalty:.6g}. K must be positive semi-definite, or "
            f"alpha above minus its smallest eigenvalue, which is {smallest:.6g}: use an alpha above "
            f"{-smallest:.6g}, check the kernel, or clip its eigenvalues. {advice}"
        ).rstrip()


class RefusedPosterior:
    """Of a model whose kernel matrix is never to be decomposed."""

    def variance(self, Kq: np.ndarray, kernel_diag: Any) -> np.ndarray:
        """There is none."""
        raise ValueError("solver='krylov' gives no standard deviations; use solver='auto'.")


class DeferredPosterior:
    """Standard deviations of a fitted model: its kernel matrix is decomposed when they are first asked for."""

    def __init__(self, spectrum: Spectrum | Callable[[], Spectrum], penalties: np.ndarray) -> None:
        self._spectrum, self._penalties = spectrum, penalties

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_prepared"}

    @cached_property
    def _prepared(self) -> Posterior:
        spectrum = self._spectrum if isinstance(self._spectrum, Spectrum) else self._spectrum()
        return Posterior(spectrum.coordinates, self._penalties)

    def variance(self, Kq: np.ndarray, kernel_diag: Any) -> np.ndarray:
        """As of `Posterior`."""
        return self._prepared.variance(Kq, kernel_diag)


def posterior(
    kernel: Kernel, spectrum: Spectrum, X: Any, weight: Any, penalties: np.ndarray, solver: str
) -> Posterior | DeferredPosterior | RefusedPosterior | None:
    """What standard deviations of a model of the samples X need; an indefinite kernel has none."""
    if solver == "krylov":
        return RefusedPosterior()
    if spectrum.smallest < 0.0:
        return None
    if spectrum.is_decomposed:
        return Posterior(spectrum.coordinates, penalties)
    if kernel.is_precomputed and solver in DECOMPOSING:  # the spectrum has a copy of the caller's matrix
        return DeferredPosterior(spectrum, penalties)
    own, own_weight = X.copy() if kernel.is_precomputed else X, None if weight is None else np.array(weight)
    return DeferredPosterior(partial(kernel.spectrum, own, own_weight), penalties)


def short_indices(X: Any) -> Any:
    """A sparse X with 32-bit indices where they fit: scikit-learn's Manhattan distance takes no others."""
    if not issparse(X) or max(X.nnz, *X.shape) > np.iinfo(np.int32).max:
        return X
    X = X.tocsr()
    return csr_array((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), shape=X.shape)
