"""Residual-as-teacher: a teacher that labels not the inputs but the errors of its student.

A teacher T is a linear smoother of the labelled data (X, y): (T r)(x) is its prediction at x when trained on values r.
The student, ridge regression of penalty λ on other inputs U, takes proximal steps of size η along what the teacher
says of its residuals::

    f ← argmin_g  Σ_j w_j (f(u_j) + η (T r)(u_j) − g(u_j))² + η λ ‖g‖²,     r = y − f(X)

A fixed point does not depend on η. With f(x) = φ(x)ᵀ θ + b, φ(x) = x for a linear student and k(x, U) for a kernel,
and M = U or I for the rows of U, it solves one linear system::

    (λ I + Mᵀ W T φ(X)) θ + Mᵀ W T 1 b = Mᵀ W T y,      1ᵀ W T (φ(X) θ + 1 b) = 1ᵀ W T y

Two spectra: where U = X, without intercepts, and where both kernels have the same eigenvectors, with eigenvalues d of
the student's and teacher filter a, the fit is f y with f = d a / (d a + λ). Matching the teacher, the usual way, gives
a d / (d + λ): what the teacher's filter removes is lost at every λ. Residual-as-teacher recovers it as λ falls.

=============================================  =====================================
Yamamoto and Wainwright 2026                   here
=============================================  =====================================
student soft matching (SM)                     ``method="matching"``
residual-as-teacher (RaT), its fixed point     ``method="residual"``
source and target covariates                   X and U, the `X_unlabelled` of `fit`
=============================================  =====================================

Cost: the teacher's solver for s + 1 + m columns, and O(s³) for the system, where s is the number of features of a
linear student or of rows of U, whichever is smaller; of a kernel student the number of rows of U.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.utils.validation import check_is_fitted, validate_data

from fastdistill.base import validation
from fastdistill.estimators._common import DATA, Regressor, checked_recursion, checked_samples, checked_unlabelled
from fastdistill.estimators.kernel_ridge import DEFINITE, DistilledKernelRidge, Kernel
from fastdistill.estimators.ridge import DistilledRidge
from fastdistill.spectral.spectrum import DESIGN_SOLVERS, KERNEL_SOLVERS, Spectrum

METHODS = ("residual", "matching")
Smoother = DistilledRidge | DistilledKernelRidge
# Relative difference of the two sides of the fixed point beyond which the system was too ill-conditioned.
RESOLVED = 1e-6


class ResidualTeacherRidge(Regressor):
    """A student that learns from what a teacher says of its errors, solved for its fixed point.

    Matching hands every systematic error of the teacher on to the student. Here the teacher, trained on labelled data,
    predicts the residuals y − f(X) of the student f instead, and the student is corrected by these predictions until
    nothing changes [1]_. That fixed point is one linear system: there is no step size and no iteration.

    Parameters
    ----------
    student : str or estimator, default="linear"
        Plain ridge regression: `DistilledRidge` or `DistilledKernelRidge` with ``n_steps=0``,
        :class:`sklearn.linear_model.Ridge`, :class:`sklearn.kernel_ridge.KernelRidge`; or "linear" or the name of a
        kernel ("rbf", ...) for one of them with ``alpha=1``. Its `alpha` is above 0, against the sum of squares over
        the inputs that it trains on.
    teacher : str or estimator, default="rbf"
        The same kinds, but any number of distillation steps.
    method : {"residual", "matching"}, default="residual"
        "matching" trains the student on the teacher's predictions, for comparison.

    Attributes
    ----------
    student_ : DistilledRidge or DistilledKernelRidge
        The fitted student, which predicts.
    teacher_ : DistilledRidge or DistilledKernelRidge
        The teacher, fitted to the labelled data.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where X has string column names.

    See Also
    --------
    DistilledRidge, DistilledKernelRidge : Students and teachers.
    SelfTrainedRidge : Steps on unlabelled inputs without a teacher of another kind.

    Notes
    -----
    Assumes squared loss, a student that is plain ridge, and a teacher whose predictions are linear in its targets. Then
    (λ I + W T φ(X)) α = W T y in the dual coefficients α of the student, bordered by the condition Σ α = 0 of an
    unpenalised intercept. With U = X, a teacher that is plain ridge and no intercepts the system has a solution for
    every λ > 0 (its matrix is λ I plus a product of two positive semi-definite ones); else except at isolated λ.

    It pays where the teacher is biased, as one that smooths too much: matching cannot undo that, while here the bias
    vanishes with the student's penalty. It does not pay where the teacher is good: then matching has less variance.
    Choose `alpha` of the student anew for each method, on held-out labels. Where `alpha` is next to nothing the system
    is ill-conditioned: at a ten-billionth of the kernel's values about six digits of the predictions are left.

    The paper's text could not be had, only its abstract and summaries: iteration and fixed point are as described
    there, the closed form is derived in the head of this module and tested against the iteration run to convergence.

    Cost: as one fit of the teacher to s + 1 + n_targets columns of targets, and O(s³) with s = min(n_features, rows) of
    a linear student and s = rows of a kernel student, where rows are those that the student trains on. Sparse inputs
    of a linear student are made dense.

    References
    ----------
    .. [1] K. Yamamoto and M. J. Wainwright, "Residual-as-teacher: Mitigating bias propagation in student-teacher
       estimation", 2026, arXiv:2603.25466.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdistill import DistilledKernelRidge, ResidualTeacherRidge
    >>> rng = np.random.default_rng(0)
    >>> X, U = rng.uniform(0, 1, (200, 1)), rng.uniform(0.5, 1, (300, 1))
    >>> y = np.sin(6 * X[:, 0]) + 0.2 * rng.standard_normal(200)
    >>> student = DistilledKernelRidge(alpha=0.1, gamma=20.0, n_steps=0)
    >>> teacher = DistilledKernelRidge(alpha=50.0, gamma=20.0, n_steps=0)  # smooths too much
    >>> for method in ("residual", "matching"):
    ...     model = ResidualTeacherRidge(student, teacher, method).fit(X, y, X_unlabelled=U)
    ...     print(method, float(np.mean((model.predict(U) - np.sin(6 * U[:, 0])) ** 2).round(4)))
    residual 0.0157
    matching 0.1141
    """

    def __init__(self, student: Any = "linear", teacher: Any = "rbf", method: str = "residual") -> None:
        self.student = student
        self.teacher = teacher
        self.method = method

    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_unlabelled: Any = None) -> ResidualTeacherRidge:
        """Solve for the student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Inputs of the labelled data, on which the teacher is trained.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the labelled data, at least 0 and not all 0.
        X_unlabelled : {array-like, sparse matrix, sparse array} of shape (n_unlabelled, n_features), default=None
            Inputs that the student is to be good at, on which it is trained; None stands for X, with its weights. A
            pipeline hands it on untransformed: transform it like X first. Searches of scikit-learn split it like X if
            it has as many rows.

        Returns
        -------
        self : ResidualTeacherRidge

        Raises
        ------
        ValueError
            A student with distillation steps or without a penalty; a precomputed kernel; no unique fixed point; else as
            `DistilledRidge.fit`.
        TypeError
            A student or teacher of another kind.
        """
        validation.choice(self.method, "method", METHODS)
        student, teacher = as_smoother(self.student, "student"), as_smoother(self.teacher, "teacher")
        penalty = _student_penalty(student)
        for model, name in ((student, "student"), (teacher, "teacher")):
            _check_kernel(model, name)
        X, y = checked_samples(self, X, y)
        weight = validation.sample_weight(sample_weight, X.shape[0])
        inputs, own = X, weight
        if X_unlabelled is not None:
            inputs, own = checked_unlabelled(self, X_unlabelled), None
        smoother = Teacher(teacher, X, weight, inputs)
        self.teacher_ = clone(teacher).fit(X, y, weight)
        if self.method == "matching":
            self.student_ = clone(student).fit(inputs, self.teacher_.predict(inputs), own)
            return self
        fits, labels = _fixed_point(student, penalty, smoother, X, y, inputs, own)
        labels = labels.reshape(-1, *y.shape[1:]).astype(X.dtype, copy=False)
        self.student_ = clone(student).fit(inputs, labels, own)
        found = self.student_.predict(X)
        size = max(float(np.abs(fits).max()), float(np.abs(y).max()))
        if not np.abs(found - fits.reshape(found.shape)).max() <= max(RESOLVED, 64 * np.finfo(X.dtype).eps) * size:
            raise ValueError(
                f"The fixed point cannot be resolved at the student's alpha={penalty:.6g}: it is too small beside the "
                f"kernels, or the student's kernel and the teacher's disagree on X_unlabelled. Raise alpha."
            )
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict with the student.

        Parameters
        ----------
        X : {array-like, sparse matrix, sparse array} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            Another number of features or other names than in `fit`; NaN or inf.
        """
        check_is_fitted(self)
        return self.student_.predict(validate_data(self, X, reset=False, **DATA))


def as_smoother(model: Any, name: str) -> Smoother:
    """A student or teacher as one of this package's estimators."""
    if isinstance(model, str):
        return DistilledRidge(n_steps=0) if model == "linear" else DistilledKernelRidge(n_steps=0, kernel=model)
    if isinstance(model, Ridge) and not model.positive:
        return DistilledRidge(model.alpha, n_steps=0, fit_intercept=model.fit_intercept)
    if isinstance(model, KernelRidge):
        names = ("kernel", "gamma", "degree", "coef0", "kernel_params")
        own = {key: getattr(model, key) for key in names}
        return DistilledKernelRidge(model.alpha, n_steps=0, fit_intercept=False, **own)
    if not isinstance(model, DistilledRidge | DistilledKernelRidge):
        raise TypeError(
            f"{name} must be DistilledRidge, DistilledKernelRidge, scikit-learn's Ridge (without positive=True) or "
            f"KernelRidge, 'linear' or the name of a kernel; got {validation.shown(model)}."
        )
    return model


def _student_penalty(student: Smoother) -> float:
    """The penalty of a student, which must be plain ridge."""
    steps = np.size(student.xi) if student.n_steps is None else validation.integer(student.n_steps, "n_steps")
    if steps:
        raise ValueError(f"student must be plain ridge, but it has {steps} distillation steps; set its n_steps=0.")
    return validation.scalar(student.alpha, "alpha of the student", minimum=0.0, strict=True)


def _kernel_of(model: Smoother) -> Kernel | None:
    """The kernel of a student or teacher; None for a linear one."""
    return None if isinstance(model, DistilledRidge) else Kernel.of(model)


def _check_kernel(model: Smoother, name: str) -> None:
    """Raise where a kernel cannot be evaluated between any samples, or need not be positive semi-definite."""
    kernel = _kernel_of(model)
    if kernel is None:
        return
    kernel.check()
    if kernel.is_precomputed:
        raise ValueError(f"The {name} cannot have kernel='precomputed': kernels between other samples are needed too.")
    if isinstance(kernel.kernel, str) and kernel.kernel not in (*DEFINITE, "poly", "polynomial"):
        raise ValueError(f"The kernel of the {name} must be positive semi-definite; {kernel.kernel!r} need not be.")


class Teacher:
    """T: columns of values at the labelled inputs -> predictions, at other inputs, of a teacher trained on them."""

    def __init__(self, model: Smoother, X: Any, weight: np.ndarray | None, queries: Any) -> None:
        kernel = _kernel_of(model)
        self._recursion = checked_recursion(model, DESIGN_SOLVERS if kernel is None else KERNEL_SOLVERS)
        if self._recursion[0].ndim or self._recursion[1].ndim > 1:
            raise ValueError("The teacher must have one penalty and one schedule for all targets.")
        X, queries = (rows.astype(np.float64, copy=False) for rows in (X, queries))
        if kernel is None:
            self._spectrum = Spectrum.from_kept(X, model.fit_intercept, weight, model.solver, model.tol)
            self._queries = queries
        else:
            self._spectrum = kernel.spectrum(X, weight, model.solver, model.tol)
            self._queries = _dense(kernel.values(queries, X))

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """(n, c) -> (q, c), for columns of any sizes beside each other: each is brought to unit size first."""
        _, exponents = np.frexp(np.abs(columns).max(axis=0))
        students = self._spectrum.path(np.ldexp(columns, -exponents), *self._recursion)
        return np.ldexp(students.predict(self._queries)[-1], exponents)


def _fixed_point(
    student: Smoother, penalty: float, teacher: Teacher, X: Any, y: np.ndarray, inputs: Any, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Fits f(X) (n, m) of the fixed point, and the targets f(U) + (T r)(U) (N, m) of the step that ends in it."""
    at_source, at_inputs, moments = _features(student, X, inputs, weight)
    s, n = at_source.shape[1], len(y)
    constant = np.ones((n, int(student.fit_intercept)))
    y = y.reshape(n, -1).astype(np.float64, copy=False)
    taught = teacher(np.concatenate([at_source, constant, y], axis=1))
    weighted = taught if weight is None else weight[:, None] * taught
    system = weighted if moments is None else moments.T @ weighted
    if student.fit_intercept:
        system = np.concatenate([system, weighted.sum(axis=0, keepdims=True)])
    matrix, wanted = system[:, : len(system)].copy(), system[:, len(system) :]
    matrix[np.arange(s), np.arange(s)] += penalty
    solution = _solved(matrix, wanted, penalty)
    coef, level = solution[:s], solution[s:].sum(axis=0)  # 0 without an intercept
    labels = at_inputs @ coef + level + taught[:, len(system) :] - taught[:, : len(system)] @ solution
    return at_source @ coef + level, labels


def _features(
    student: Smoother, X: Any, inputs: Any, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """φ at the labelled inputs (n, s) and at those of the student (N, s), and M (N, s), None for the identity."""
    kernel = _kernel_of(student)
    if kernel is not None:
        X, inputs = (rows.astype(np.float64, copy=False) for rows in (X, inputs))
        return _dense(kernel.values(X, inputs)), _dense(kernel.values(inputs, None)), None
    source, own = (_dense(rows).astype(np.float64, copy=False) for rows in (X, inputs))
    if student.fit_intercept:  # about their mean, where coefficients and intercept do not mix
        centre = np.average(own, axis=0, weights=weight)
        source, own = source - centre, own - centre
    if own.shape[1] <= own.shape[0]:
        return source, own, own
    return source @ own.T, own @ own.T, None


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if issparse(values) else values)


def _solved(matrix: np.ndarray, wanted: np.ndarray, penalty: float) -> np.ndarray:
    """The solution of a square system, rows and columns scaled to one size first."""
    rows = np.abs(matrix).max(axis=1, keepdims=True)
    rows[rows == 0.0] = 1.0
    matrix = matrix / rows
    columns = np.abs(matrix).max(axis=0)
    columns[columns == 0.0] = 1.0
    try:
        return np.linalg.solve(matrix / columns, wanted / rows) / columns[:, None]
    except np.linalg.LinAlgError:
        raise ValueError(
            f"There is no unique fixed point at the student's alpha={penalty:.6g}; take a slightly different one."
        ) from None
