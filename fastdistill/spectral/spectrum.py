"""A design or kernel matrix, and every student of it: by eigenvalues d and an orthonormal basis U, or by a solver.

With weights W = diag(w), w̄ = w / Σw, an unpenalised intercept centring by w̄, and rows scaled by sqrt(w)::

    design   X_s = W^½ (X − 1 x̄ᵀ) = U diag(s) Vᵀ,  d = s²          kernel   K_s = W^½ (K − …) W^½ = U diag(d) Uᵀ
    targets  z = Uᵀ W^½ (y − ȳ),  outside = ‖W^½ (y − ȳ)‖² − ‖z‖²

every student is ŷ = ȳ + W^-½ U (f ∘ z) on the training data and ŷ = ȳ + Q (m ∘ z) on queries, where f is its filter
and Q the queries' coordinates: (X_q − x̄) V with m = f / s, or (K_q − k̄) W^½ U with m = f / d and k̄ = K w̄.

======================================  =================================
paper                                   here
======================================  =================================
M: eigenvalues d_j of G = g / n         ``Spectrum.d / n_samples``
B: K = V D Vᵀ                           ``Spectrum.d``
P: X = U diag(s) Vᵀ (their rows: d)     ``Spectrum.d = s²``
======================================  =================================

Cost: that of the solver (``decompositions/choose.py``); of a decomposition, which is made when something needs it,
O(n³) for a kernel and O(n p min(n, p)) for a design (``decompositions/eigen.py``).
"""

from __future__ import annotations

import warnings
from threading import RLock
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.coordinates import Coordinates
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.path import DistillationLimit, DistillationPath, ToleranceRounds, checked_penalties
from fastdistill.spectral.path_solvers import PathSolvers
from fastdistill.spectral.per_step import PerStepPath
from fastdistill.spectral.problems import DesignProblem, ImplicitDesign, ImplicitKernel, KernelProblem, Problem
from fastdistill.spectral.queries import Queries

# A kernel matrix whose rounding is this many times the penalty, and whose eigenvalues all stand this far above that
# rounding, is one of few huge directions: rounding may hide smaller ones.
HIDDEN, DISTINCT = 1e8, 1e3
DESIGN_SOLVERS = ("auto", "svd", "gram", "cholesky", "krylov")
KERNEL_SOLVERS = ("auto", "eigh", "cholesky", "tridiagonal", "krylov")
# What is said where eigenvalues are needed of a solver that the user has named.
WITHOUT_EIGENVALUES = {
    "cholesky": (
        "serves one positive penalty at a time, where K + lam I is well conditioned, and few steps of moderate "
        "weights: coefficients, fits, predictions, errors, dof, gcv and leave-one-out; use solver='auto', which "
        "decomposes for everything else."
    ),
    "tridiagonal": (
        "gives coefficients, fits, predictions, errors, dof and gcv, but no eigenvectors, filters, leave-one-out "
        "predictions, standard deviations, limits or tolerance rounds; use solver='auto', which decomposes for them."
    ),
    "krylov": (
        "gives coefficients, fits, predictions, errors, dof and gcv, but no eigenvalues, filters, leave-one-out "
        "predictions, standard deviations, limits or tolerance rounds; use solver='auto', which decomposes for them "
        "(of an array: a LinearOperator has solver='krylov' only)."
    ),
}


class Spectrum:
    """A (centred, weighted) kernel or design matrix, ready for every student; decomposed when something needs it.

    Build one with `from_design` or `from_kernel`; the constructor is internal.

    Attributes
    ----------
    d : ndarray (r,)
        Positive eigenvalues of the kernel matrix K, or of X Xᵀ, descending; after centring and weighting.
    rank : int
        Their number r: those that rounding could have made of zero are cut.
    n_samples : int
    n_features : int or None
        None for a kernel.
    method : {"eigh", "svd", "gram", "graded", "cholesky", "tridiagonal", "conjugate_gradients", "krylov"}
        How it was decomposed, or, before it was, what solved the last path.

    Notes
    -----
    float32 input gives float32 results; the decomposition and all sums are carried in float64.
    """

    def __init__(
        self, problem: Problem, width: int, dtype: np.dtype, solver: str, *, is_kernel: bool, tol: float = 1e-8
    ) -> None:
        self.frame, self.dtype, self.is_kernel = problem.frame, dtype, is_kernel
        self._width = width
        self._coordinates: Coordinates | None = None
        self._lock = RLock()  # a decomposition overwrites what the solvers read
        # until eigenvalues are needed
        self._solvers: PathSolvers | None = PathSolvers(problem, solver, tol)

    @classmethod
    def from_design(
        cls,
        X: Any,
        fit_intercept: bool = False,
        sample_weight: Any = None,
        solver: str = "auto",
        tol: float = 1e-8,
    ) -> Spectrum:
        """Of a design matrix: W^½ (X − 1 x̄ᵀ) = U diag(s) Vᵀ, d = s².

        Parameters
        ----------
        X : array-like, scipy.sparse or scipy.sparse.linalg.LinearOperator, (n, p)
        fit_intercept : bool
            Centre by the weighted column means, so that an unpenalised intercept is fitted.
        sample_weight : array-like (n,), optional
            Non-negative weights of the squared residuals; a weight of zero leaves the sample out of the fit.
        solver : {"auto", "svd", "gram", "cholesky", "krylov"}
            "auto" takes for each job the cheapest that gives it (`spectral/decompositions/choose.py` has the table);
            `method` says which. "svd", "gram": decompose so. "cholesky": a factor for each penalty of a path of one.
            "krylov": one Krylov basis for all students of a path, to the relative error `tol` of the fits, without a
            decomposition: coefficients, fits, predictions, errors, and estimates of dof and GCV, but no eigenvalues,
            filters or leave-one-out. X is then neither copied nor made dense, and must not change: an array, also a
            memory map (read in blocks of rows), CSR or CSC, or a LinearOperator, for which "auto" means "krylov" too.
        tol : float
            For "krylov" only. Paths hold their `error_estimate`.

        Returns
        -------
        Spectrum

        Raises
        ------
        ValueError
            X empty, not 2-D, or with NaN or inf; weights negative, all zero or of the wrong length.
        TypeError
            X does not hold numbers.

        Warns
        -----
        RuntimeWarning
            A sparse X too ill-conditioned for its Gram matrix, whose factor would take over ten seconds; one that has
            to be made dense, because weights or columns of very different sizes leave no other exact way.

        Notes
        -----
        Nothing is decomposed before it is needed: paths of sparse designs come from an iterative solver where this is
        cheaper, at 1e-12. A decomposition costs O(n p min(n, p)). The smaller Gram matrix (XᵀX or XXᵀ) is decomposed
        where its smallest eigenvalue is above 1e-5 of its largest, the SVD of X otherwise. Sparse input stays sparse
        with the Gram matrix. Where the sizes of columns differ by more than 1e3, a graded SVD (pivoted QR, then
        one-sided Jacobi) is exact to rounding of *each* column, at 6 to 9 times the price of the SVD: time stamps in
        nanoseconds beside fractions lose nothing. Up to two penalties, one a path, are served by Cholesky factors.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> S.d, S.rank
        (array([4., 1.]), 2)
        """
        return cls.from_kept(X, fit_intercept, sample_weight, solver, tol, copies=solver != "krylov")

    @classmethod
    def from_kept(
        cls, X: Any, fit_intercept: Any, sample_weight: Any, solver: str, tol: float = 1e-8, *, copies: bool = False
    ) -> Spectrum:
        """`from_design`, which without `copies` keeps X itself: it must not change as long as the spectrum is used."""
        fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
        validation.choice(solver, "solver", DESIGN_SOLVERS)
        tol = validation.scalar(tol, "tol", minimum=0.0, strict=True)
        dtype = validation.result_dtype(X)
        is_implicit = hasattr(X, "rmatmat") or (solver == "krylov" and isinstance(X, np.memmap))
        design = validation.implicit_design(X) if is_implicit else validation.design(X, copies=copies)
        if is_implicit and solver not in ("auto", "krylov"):
            raise ValueError(f"solver={solver!r} needs an array; a LinearOperator has solver='krylov'.")
        weight = validation.sample_weight(sample_weight, design.shape[0])
        if copies and isinstance(design, np.ndarray) and (design is X or not design.flags.owndata):
            design = design.copy()  # later calls read it again
        frame = Frame(design.shape[0], weight, fit_intercept)
        problem = ImplicitDesign(design, frame) if is_implicit else DesignProblem(design, frame)
        return cls(problem, design.shape[1], dtype, solver, is_kernel=False, tol=tol)

    @classmethod
    def from_kernel(
        cls,
        K: Any,
        fit_intercept: bool = False,
        sample_weight: Any = None,
        solver: str = "auto",
        tol: float = 1e-8,
    ) -> Spectrum:
        """Of a kernel matrix: K = U diag(d) Uᵀ, centred and weighted first where asked.

        Parameters
        ----------
        K : array-like (n, n)
            Symmetric positive semi-definite; kernel values between the training samples.
        fit_intercept : bool
            Fit an unpenalised intercept (scikit-learn's KernelRidge has none).
        sample_weight : array-like (n,), optional
            Non-negative weights of the squared residuals.
        solver : {"auto", "eigh", "cholesky", "tridiagonal", "krylov"}
            As of `from_design`; with "krylov" K is not copied and must not change. "tridiagonal": fits, coefficients,
            errors, dof and GCV over many penalties and steps of a few targets, without eigenvectors; from n = 2000 in
            half the time of "eigh".
        tol : float
            For "krylov" only. Paths hold their `error_estimate`.

        Returns
        -------
        Spectrum

        Raises
        ------
        ValueError
            K not square, not symmetric (1e-8 relative), with NaN or inf, or with an eigenvalue below −1e-8 times the
            largest (−n eps times it for float32 input); weights negative, all zero or of the wrong length.
        TypeError
            K does not hold numbers, or is sparse.

        Notes
        -----
        Cost: a copy of K and a Cholesky factor, which tells whether K is positive semi-definite; then, when something
        needs it, one O(n³) symmetric eigendecomposition, whose eigenvectors overwrite the copy. Up to two penalties,
        one a path, are served by Cholesky factors. "tridiagonal" takes its form at once, and its eigenvalues tell.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_kernel([[2.0, 1.0], [1.0, 2.0]])
        >>> S.d.round(12)
        array([3., 1.])
        """
        if solver == "krylov":
            dtype, kernel = validation.result_dtype(K), validation.kernel_matrix(K)[0]
            return cls.from_kernel_rows(kernel, len(kernel), fit_intercept, sample_weight, tol, dtype)
        validation.scalar(tol, "tol", minimum=0.0, strict=True)
        return cls.from_symmetric(K, fit_intercept, sample_weight, solver)

    @classmethod
    def from_kernel_rows(
        cls, rows: Any, n: int, fit_intercept: Any, sample_weight: Any, tol: float, dtype: Any = np.float64
    ) -> Spectrum:
        """By Krylov bases, of a checked matrix or of a function rows(start, stop) -> (stop − start, n)."""
        fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
        tol = validation.scalar(tol, "tol", minimum=0.0, strict=True)
        frame = Frame(n, validation.sample_weight(sample_weight, n), fit_intercept)
        return cls(ImplicitKernel(rows, frame), n, np.dtype(dtype), "krylov", is_kernel=True, tol=tol)

    @classmethod
    def from_symmetric(
        cls,
        K: Any,
        fit_intercept: Any,
        sample_weight: Any,
        solver: str = "auto",
        *,
        indefinite: bool = False,
        known_definite: bool = False,
    ) -> Spectrum:
        """`from_kernel`, which with `indefinite` may have negative eigenvalues, for penalties above minus the smallest:

        then K + λ I is positive definite and students, fits, predictions and leave-one-out are what they are for a
        kernel; standard deviations, evidence and tolerances are not defined. With `known_definite` K is an
        array of such a kernel, of which neither symmetry nor eigenvalues are checked, and which may be overwritten.
        """
        fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
        validation.choice(solver, "solver", tuple(name for name in KERNEL_SOLVERS if name != "krylov"))
        dtype = validation.result_dtype(K)
        kernel, is_symmetric = K, True
        if not (known_definite and validation.is_ordinary(K)):
            kernel, is_symmetric = validation.kernel_matrix(K)
        weight = validation.sample_weight(sample_weight, len(kernel))
        frame = Frame(len(kernel), weight, fit_intercept)
        resolution = float(np.finfo(dtype).eps)
        problem = KernelProblem(
            kernel,
            frame,
            resolution,
            indefinite=indefinite,
            known_definite=known_definite,
            is_symmetric=is_symmetric,
        )
        if solver == "tridiagonal" and not indefinite:
            problem.require_semidefinite()
        if indefinite or problem.is_definite():
            return cls(problem, len(kernel), dtype, solver, is_kernel=True)
        spectrum = cls(problem, len(kernel), dtype, "eigh", is_kernel=True)
        _ = spectrum.coordinates  # raises where an eigenvalue is negative
        return spectrum

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = RLock()

    @property
    def coordinates(self) -> Coordinates:
        """Eigenvalues and bases: decomposed when first needed, once, whatever the number of threads."""
        if self._coordinates is None:
            with self._lock:
                if self._coordinates is None:
                    self._coordinates = self._decomposed()
        return self._coordinates

    def _decomposed(self) -> Coordinates:
        if self._solvers is None:
            raise ValueError("The decomposition of this spectrum has failed before.")
        problem, solver = self._solvers.problem, self._solvers.solver
        if solver in WITHOUT_EIGENVALUES:
            raise ValueError(f"solver={solver!r} {WITHOUT_EIGENVALUES[solver]}")
        self._solvers = None
        decomposition, queries = problem.decompose(solver)
        if not decomposition.d.all():
            raise ValueError("The squares of the data underflow: their eigenvalues must be positive; rescale the data.")
        self._method = decomposition.method
        light = problem.light_queries() if len(self.frame.light) else None
        return Coordinates(decomposition, self.frame, queries, light, is_kernel=self.is_kernel)

    @property
    def is_decomposed(self) -> bool:
        """Whether eigenvalues and bases are at hand."""
        return self._solvers is None

    @property
    def queries(self) -> Queries:
        """How new points enter."""
        solvers = self._solvers
        return self.coordinates.queries if solvers is None or solvers.queries is None else solvers.queries

    @property
    def smallest(self) -> float:
        """The smallest eigenvalue of an indefinite kernel; 0 of any other, and where a Krylov basis would tell."""
        with self._lock:
            if self._solvers is not None:
                problem = self._solvers.problem
                if self._solvers.solver == "krylov" or (isinstance(problem, KernelProblem) and problem.is_definite()):
                    return 0.0
        return self.coordinates.smallest

    @property
    def method(self) -> str:
        """How it was decomposed, or, before it was, what solved the last path."""
        solvers = self._solvers
        if solvers is None or solvers.method is None:
            _ = self.coordinates
            return self._method
        return solvers.method

    @property
    def d(self) -> np.ndarray:
        """Eigenvalues (r,), descending; read-only."""
        values = validation.held(self.coordinates.d, "eigenvalues", self.dtype).view()
        values.flags.writeable = False
        return values

    @property
    def rank(self) -> int:
        """Number of eigenvalues kept."""
        return self.coordinates.rank

    @property
    def n_samples(self) -> int:
        """Number of samples, those of zero weight included."""
        return self.frame.n_samples

    @property
    def n_effective(self) -> int:
        """Number of samples of positive weight, the n of GCV."""
        return self.frame.n_effective

    @property
    def total_weight(self) -> float:
        """Σ w, the number of samples where there are no weights."""
        return self.frame.total_weight

    @property
    def fit_intercept(self) -> bool:
        """Whether an unpenalised intercept is fitted."""
        return self.frame.fit_intercept

    @property
    def n_features(self) -> int | None:
        """Number of features of a design; None for a kernel."""
        return None if self.is_kernel else self._width

    def __repr__(self) -> str:
        shape = f"n_samples={self.n_samples}"
        if self.n_features is not None:
            shape += f", n_features={self.n_features}"
        solvers = self._solvers
        method = None if solvers is None else solvers.method
        if solvers is None:
            shape, method = f"{shape}, rank={self.rank}", self.method
        return f"Spectrum({shape}, method={method!r}, fit_intercept={self.fit_intercept})"

    def path(self, y: Any, lam: Any, xi: Any, n_steps: int | None = None, per_step: bool = False) -> DistillationPath:
        """Every student from plain ridge (step 0) to step k: f_t = a ((1 − ξ_t) + ξ_t f_{t−1}), a = d / (d + λ).

        Parameters
        ----------
        y : array-like (n,) or (n, m)
        lam : float or array-like (L,)
            Penalties on ‖·‖² against the sum of (weighted) squared residuals, scikit-learn's `alpha`; at least 0.
        xi : float, array-like (k,) or (Q, k)
            Imitation weights, any real numbers: student t is trained on (1 − ξ_t) y + ξ_t ŷ_{t−1}. A scalar needs
            `n_steps`.
        n_steps : int, optional
            k, the number of distillation steps, for a scalar `xi`.
        per_step : bool
            Whether `lam` (k+1,) has a penalty for each step, a_t = d / (d + λ_t): a teacher with another penalty than
            its student. Needs a decomposition; `loo_std` and `influence` are not defined, and folds are refitted.

        Returns
        -------
        DistillationPath
            Its result axes are (L,)(Q,)(k+1,)..., each present only if the input had it; without (L,) if `per_step`.

        Raises
        ------
        ValueError
            Values that are not finite, a negative penalty, shapes that do not match.

        Warns
        -----
        RuntimeWarning
            A kernel matrix holds huge directions beside which rounding hides those that the penalty would keep.

        Notes
        -----
        O(n r m) once, then O(r) per penalty and step; fits and predictions are computed when first asked for.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> S.path([1.0, 1.0, 1.0], lam=1.0, xi=1.0, n_steps=1).coef
        array([[0.4 , 0.5 ],
               [0.32, 0.25]])
        """
        changing = validation.boolean(per_step, "per_step")
        targets, penalties, schedules = (
            self.frame.targets(y),
            validation.penalties(lam),
            validation.schedule(xi, n_steps),
        )
        if changing:
            largest = float(self.coordinates.d[0]) if self.rank else 0.0
            return PerStepPath(self, targets, checked_penalties(penalties, largest), schedules)
        with self._lock:
            solved = None if self._solvers is None else self._solvers.path(self, targets, penalties, schedules)
        if solved is not None:
            return solved
        largest = float(self.coordinates.d[0]) if self.rank else 0.0
        path = DistillationPath(self, targets, checked_penalties(penalties, largest), schedules)
        self._warn_of_lost_directions(path, penalties)
        return path

    def _warn_of_lost_directions(self, path: DistillationPath, penalties: np.ndarray) -> None:
        """Where a kernel matrix of few, huge directions cannot hold the small ones that a penalty would keep."""
        d, noise, smallest = (
            self.coordinates.d,
            self.coordinates.noise,
            penalties.min(initial=np.inf, where=penalties > 0),
        )
        if not self.is_kernel or not len(d) or noise <= HIDDEN * smallest or d[-1] <= DISTINCT * noise:
            return
        if path.rotated.outside.any():
            warnings.warn(
                f"Rounding of K hides every direction with an eigenvalue below {noise:.3g}, far above the "
                f"penalty {smallest:.3g}, which would keep them. If K is a linear kernel of columns of very "
                f"different sizes, scale the columns, or use Spectrum.from_design, which keeps the small ones.",
                RuntimeWarning,
                stacklevel=3,
            )

    def limit(self, y: Any, lam: Any, xi: Any) -> DistillationLimit:
        """The fixed point of infinitely many steps of constant ξ: f = d / (d + λ / (1 − ξ)), ridge of a larger penalty.

        Parameters
        ----------
        y : array-like (n,) or (n, m)
        lam : float or array-like (L,)
        xi : float or array-like (Q,)
            Constant imitation weights; B's ground-truth weight is α = 1 − ξ.

        Returns
        -------
        DistillationLimit
            Axes (L,)(Q,)..., without a step axis. With ξ = 1 it is the zero function (with an intercept: the mean).

        Raises
        ------
        ValueError
            Where |ξ| max a ≥ 1: the steps do not converge.

        Notes
        -----
        Reached linearly at rate |ξ| max_j d_j / (d_j + λ) (Borup and Andersen 2021). O(n r m).

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> S.limit([1.0, 1.0, 1.0], lam=1.0, xi=0.5).coef
        array([0.33333333, 0.33333333])
        """
        xi_values = validation.real_array(xi, "xi", ndim=(0, 1))
        penalties, largest = validation.penalties(lam), float(self.coordinates.d[0]) if self.rank else 0.0
        return DistillationLimit(self, self.frame.targets(y), checked_penalties(penalties, largest), xi_values)

    def tolerance_path(self, y: Any, eps: float, max_rounds: int = 1000) -> ToleranceRounds:
        """Rounds of min R(f) subject to mean squared residual ≤ ε, each on the fit of the round before.

        Round t is kernel ridge with λ_t = n c_t, the multiplier c_t > 0 being the root of
        (1/n) Σ_j (c / (c + d_j / n))² z_j² = ε; the rounds collapse to the zero function once the targets are within ε.

        Parameters
        ----------
        y : array-like (n,) or (n, m)
            Several targets are independent problems: each has its own multipliers and number of rounds.
        eps : float
            Tolerance on the (weighted) mean squared residual, above the part of y that the kernel cannot reach.
        max_rounds : int

        Returns
        -------
        ToleranceRounds

        Raises
        ------
        ValueError
            `eps` not positive, or infeasible; the message names the smallest feasible tolerance.

        Notes
        -----
        The spectrum is that of g, not of g / n. Mobahi, Farajtabar and Bartlett 2020, section 2. O(r) per round and
        iteration of the root.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> rounds = S.tolerance_path([1.0, 1.0, 0.0], eps=0.3)
        >>> rounds.n_rounds, rounds.collapsed, rounds.multipliers.round(6)
        (1, True, array([1.359935]))
        """
        return ToleranceRounds(
            self,
            self.frame.targets(y),
            validation.scalar(eps, "eps", minimum=0.0, strict=True),
            validation.integer(max_rounds, "max_rounds", minimum=1),
        )
