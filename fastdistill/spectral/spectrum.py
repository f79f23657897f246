"""One decomposition, kept as one currency: eigenvalues d, an orthonormal basis U of the samples, and a map to queries.

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

Cost: that of the decomposition (``_decompose.py``: its ways, the rank cut and the check of definiteness live there and
nowhere else), O(n³) for a kernel and O(n p min(n, p)) for a design.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.coordinates import Coordinates
from fastdistill.spectral.decompositions.cholesky import Cholesky
from fastdistill.spectral.decompositions.tridiagonal import Tridiagonal
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.path import DistillationLimit, DistillationPath, ToleranceRounds
from fastdistill.spectral.problems import DesignProblem, KernelProblem, Problem
from fastdistill.spectral.queries import Queries
from fastdistill.spectral.solved_path import OnePenaltyPath, TridiagonalPath

# A kernel matrix whose rounding is this many times the penalty, and whose eigenvalues all stand this far above that
# rounding, is one of few huge directions: smaller ones may have been lost in it.
LOST, DISTINCT = 1e8, 1e3
# Penalties over the largest eigenvalue: below, 1 / lam overflows beside d; above, fits of usual targets underflow.
SMALLEST_RATIO, LARGEST_RATIO = 1e-304, 1e200
DESIGN_SOLVERS = ("auto", "svd", "gram", "cholesky")
KERNEL_SOLVERS = ("auto", "eigh", "cholesky", "tridiagonal")
# Penalties that are factored one by one; for another one all students come from one decomposition.
FACTORS = 2


class Spectrum:
    """Eigenvalues and eigenvectors of a (centred, weighted) kernel or design matrix, ready for every student.

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
    method : {"eigh", "svd", "gram"}
        How it was decomposed.

    Notes
    -----
    float32 input gives float32 results; the decomposition and all sums are carried in float64.
    """

    def __init__(self, problem: Problem, width: int, dtype: np.dtype, solver: str, *, is_kernel: bool) -> None:
        self.frame, self.dtype, self.is_kernel = problem.frame, dtype, is_kernel
        self._problem: Problem | None = problem
        self._width, self._solver = width, solver
        self._factors: dict[float, tuple[Cholesky, Queries]] = {}
        self._method: str | None = None
        self._reduced: tuple[Tridiagonal, Queries] | None = None

    @classmethod
    def from_design(
        cls, X: Any, fit_intercept: bool = False, sample_weight: Any = None, solver: str = "auto"
    ) -> Spectrum:
        """Decompose a design matrix: W^½ (X − 1 x̄ᵀ) = U diag(s) Vᵀ, d = s².

        Parameters
        ----------
        X : array-like or scipy.sparse, (n, p)
        fit_intercept : bool
            Centre by the weighted column means, so that an unpenalised intercept is fitted.
        sample_weight : array-like (n,), optional
            Non-negative weights of the squared residuals; a weight of zero leaves the sample out of the fit.

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
            A sparse X too ill-conditioned for its Gram matrix and too large (over 2²⁷ entries) to be made dense.

        Notes
        -----
        Cost O(n p min(n, p)). The smaller Gram matrix (XᵀX or XXᵀ) is decomposed where its smallest eigenvalue is above
        1e-5 of its largest, the SVD of X otherwise. Sparse input stays sparse with the Gram matrix. Where the sizes of
        columns differ by more than 1e3, a graded SVD (pivoted QR, then one-sided Jacobi) is exact to rounding of *each*
        column, at 6 to 9 times the price of the SVD: time stamps in nanoseconds beside fractions lose nothing.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> S.d, S.rank
        (array([4., 1.]), 2)
        """
        return cls.of_design(X, fit_intercept, sample_weight, solver, copy=True)

    @classmethod
    def of_design(
        cls, X: Any, fit_intercept: Any, sample_weight: Any, solver: str = "auto", *, copy: bool = False
    ) -> Spectrum:
        """`from_design`, which without a copy reads the caller's array until it is decomposed."""
        fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
        validation.choice(solver, "solver", DESIGN_SOLVERS)
        dtype = validation.result_dtype(X)
        design = validation.design(X)
        weight = validation.sample_weight(sample_weight, design.shape[0])
        if copy and isinstance(design, np.ndarray) and (design is X or not design.flags.owndata):
            design = design.copy()
        problem = DesignProblem(design, Frame(design.shape[0], weight, fit_intercept))
        return cls(problem, design.shape[1], dtype, solver, is_kernel=False)

    @classmethod
    def from_kernel(
        cls, K: Any, fit_intercept: bool = False, sample_weight: Any = None, solver: str = "auto"
    ) -> Spectrum:
        """Decompose a kernel matrix: K = U diag(d) Uᵀ, centred and weighted first where asked.

        Parameters
        ----------
        K : array-like (n, n)
            Symmetric positive semi-definite; kernel values between the training samples.
        fit_intercept : bool
            Fit an unpenalised intercept (scikit-learn's KernelRidge has none).
        sample_weight : array-like (n,), optional
            Non-negative weights of the squared residuals.

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
        Cost: one O(n³) symmetric eigendecomposition; besides it, one copy of K, which the eigenvectors overwrite.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_kernel([[2.0, 1.0], [1.0, 2.0]])
        >>> S.d.round(12)
        array([3., 1.])
        """
        return cls.from_symmetric(K, fit_intercept, sample_weight, solver)

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
        validation.choice(solver, "solver", KERNEL_SOLVERS)
        dtype = validation.result_dtype(K)
        kernel = K if known_definite and validation.is_ordinary(K) else validation.kernel_matrix(K)
        weight = validation.sample_weight(sample_weight, len(kernel))
        frame = Frame(len(kernel), weight, fit_intercept)
        resolution = float(np.finfo(dtype).eps)
        problem = KernelProblem(kernel, frame, resolution, indefinite=indefinite, known_definite=known_definite)
        spectrum = cls(problem, len(kernel), dtype, solver, is_kernel=True)
        if not (indefinite or problem.is_definite()):
            spectrum.coordinates  # noqa: B018 - raises where an eigenvalue is negative
        return spectrum

    @cached_property
    def coordinates(self) -> Coordinates:
        """Eigenvalues and bases: decomposed when first needed."""
        if self._problem is None:
            raise ValueError("The decomposition of this spectrum has failed before.")
        problem, self._problem, self._factors = self._problem, None, {}
        decomposition, queries = problem.decompose(self._solver)
        if not decomposition.d.all():
            raise ValueError("The squares of the data underflow: their eigenvalues must be positive; rescale the data.")
        self._method = decomposition.method
        light = problem.light_queries() if len(self.frame.light) else None
        return Coordinates(decomposition, self.frame, queries, light, is_kernel=self.is_kernel)

    @property
    def is_decomposed(self) -> bool:
        """Whether eigenvalues and bases are at hand."""
        return self._problem is None

    @property
    def queries(self) -> Queries:
        """How new points enter."""
        if self._factors:
            return next(iter(self._factors.values()))[1]
        return self.coordinates.queries

    @property
    def smallest(self) -> float:
        """The smallest eigenvalue of an indefinite kernel; 0 of any other."""
        if isinstance(self._problem, KernelProblem) and self._problem.is_definite():
            return 0.0
        return self.coordinates.smallest

    @property
    def method(self) -> str:
        """How it was decomposed, or, before it was, what solved the last path."""
        if self._method is None:
            self.coordinates  # noqa: B018
        return str(self._method)

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
        if self.is_decomposed:
            shape += f", rank={self.rank}"
        return f"Spectrum({shape}, method={self._method!r}, fit_intercept={self.fit_intercept})"

    def path(self, y: Any, lam: Any, xi: Any, n_steps: int | None = None) -> DistillationPath:
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

        Returns
        -------
        DistillationPath
            Its result axes are (L,)(Q,)(k+1,)..., each present only if the input had it.

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
        targets, penalties, schedules = (
            self.frame.targets(y),
            validation.penalties(lam),
            validation.schedule(xi, n_steps),
        )
        if self._solver == "tridiagonal":
            return TridiagonalPath(self, targets, penalties, schedules, *self._tridiagonal(penalties))
        factor = self._factor(float(penalties.ravel()[0])) if penalties.size == 1 else None
        if factor is not None:
            return OnePenaltyPath(self, targets, penalties, schedules, *factor)
        path = DistillationPath(self, targets, self._check_penalties(penalties), schedules)
        self._warn_of_lost_directions(path, penalties)
        return path

    def _factor(self, lam: float) -> tuple[Cholesky, Queries] | None:
        """A Cholesky factor for a penalty, while factors cost less than the decomposition and lose no digits."""
        if self._problem is None or self._solver not in ("auto", "cholesky") or lam == 0.0 or len(self.frame.light):
            return None
        if lam not in self._factors:
            if self._solver == "auto" and len(self._factors) == FACTORS:
                return None
            factor = self._problem.factor(lam)
            if factor is None:
                return None
            self._factors[lam] = factor
            self._method = "cholesky"
        return self._factors[lam]

    def _tridiagonal(self, penalties: np.ndarray) -> tuple[Tridiagonal, Queries]:
        """The tridiagonal form, for penalties at which it loses no digits."""
        if self._reduced is None:
            if not isinstance(self._problem, KernelProblem) or len(self.frame.light):
                raise ValueError(
                    "solver='tridiagonal' takes no weights of zero, or next to nothing beside the largest; use "
                    "solver='eigh', or leave these samples out."
                )
            self._reduced, self._method = self._problem.tridiagonal(), "tridiagonal"
        accurate = self._reduced[0].accurate(penalties.ravel())
        if not np.all(accurate & (penalties.ravel() > 0)):
            worst = float(penalties.min())
            raise ValueError(f"solver='tridiagonal' would lose digits at lam={worst:.3g}; use solver='eigh'.")
        return self._reduced

    def _warn_of_lost_directions(self, path: DistillationPath, penalties: np.ndarray) -> None:
        """Where a kernel matrix of few, huge directions cannot hold the small ones that a penalty would keep."""
        d, noise, smallest = (
            self.coordinates.d,
            self.coordinates.noise,
            penalties.min(initial=np.inf, where=penalties > 0),
        )
        if not self.is_kernel or not len(d) or noise <= LOST * smallest or d[-1] <= DISTINCT * noise:
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
        return DistillationLimit(self, self.frame.targets(y), self._check_penalties(lam), xi_values)

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

    def _check_penalties(self, lam: Any) -> np.ndarray:
        """Penalties through the gate, of a size beside the eigenvalues for which filters keep their digits."""
        penalties, largest = validation.penalties(lam), float(self.coordinates.d[0]) if self.rank else 0.0
        positive = penalties[penalties > 0] / largest if largest else np.empty(0)
        for ratio in (positive.min(initial=1.0), positive.max(initial=1.0)):
            if not SMALLEST_RATIO <= ratio <= LARGEST_RATIO:
                raise ValueError(
                    f"lam={ratio * largest:.3g} is too {'small' if ratio < 1 else 'large'} beside the largest "
                    f"eigenvalue {largest:.3g} of the kernel matrix (or of X Xᵀ): students would lose their digits in "
                    f"float64. Rescale X (or K) or lam; lam=0 is no penalty."
                )
        return penalties
