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

Cost: O(n³) for a kernel; O(n p min(n, p)) for a design. The rank cut, the choice between the SVD and the Gram matrix
and the check of definiteness live in this module and nowhere else.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator

from fastdistill import _validation as validation
from fastdistill.path import DistillationLimit, DistillationPath, Targets, ToleranceRounds

# Below this ratio of the smallest to the largest eigenvalue a Gram matrix, which squares the condition number, leaves
# fewer than ten digits (relative error of a student up to eps / ratio), and the SVD is worth its price (4 to 8 times).
GRAM_CONDITION = 1e-5
# A kernel matrix may miss definiteness by this much of its largest eigenvalue before it is called indefinite.
INDEFINITE = 1e-8
# Rows lighter than this fraction of the heaviest are predicted like queries: U / sqrt(w) would amplify rounding.
LIGHT_ROW = 1e-8
# An ill-conditioned sparse design is made dense for the SVD up to this many entries (1 GiB).
DENSE_ENTRIES = 2**27

EPS = float(np.finfo(np.float64).eps)


class Spectrum:
    """Eigenvalues and eigenvectors of a (centred, weighted) kernel or design matrix, ready for every student.

    Build one with `from_design` or `from_kernel`; the constructor is internal.

    Attributes
    ----------
    d : ndarray (r,)
        Positive eigenvalues of the kernel matrix K, or of X Xᵀ, descending; after centring and weighting.
    rank : int
        Their number r: eigenvalues below max(n, p) · eps of the largest are rounding errors and are cut.
    n_samples : int
    n_features : int or None
        None for a kernel.
    method : {"eigh", "svd", "gram"}
        How it was decomposed.

    Notes
    -----
    float32 input gives float32 results; the decomposition and all sums are carried in float64.
    """

    def __init__(
        self,
        *,
        d: np.ndarray,
        rows: np.ndarray | LinearOperator,
        basis: np.ndarray,
        centre: np.ndarray | None,
        weight: np.ndarray | None,
        is_kernel: bool,
        n_features: int | None,
        method: str,
        dtype: np.dtype,
        data: Any,
    ) -> None:
        self._d = d
        self._rows = rows
        self._basis = basis
        self._centre = centre
        self._weight = weight
        self._is_kernel = is_kernel
        self.n_features = n_features
        self.method = method
        self._dtype = dtype
        self._sqrt_weight = None if weight is None else np.sqrt(weight)
        self._light = None
        if weight is not None:
            light = np.flatnonzero(weight < LIGHT_ROW * weight.max())
            if light.size:
                scale = self._d if is_kernel else np.sqrt(self._d)
                self._light = light, self._query_coordinates(data[light]) / scale

    @classmethod
    def from_design(cls, X: Any, fit_intercept: bool = False, sample_weight: Any = None) -> Spectrum:
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
        1e-5 of its largest, the SVD of X otherwise. Sparse input stays sparse with the Gram matrix.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> S.d, S.rank
        (array([4., 1.]), 2)
        """
        dtype = validation.result_dtype(X)
        design = validation.design(X)
        weight = validation.sample_weight(sample_weight, design.shape[0])
        centre = _column_means(design, weight) if fit_intercept else None
        if isinstance(design, np.ndarray):
            parts = _decompose_dense(_scaled(design, centre, weight), fit_intercept)
        else:
            parts = _decompose_sparse(design, centre, weight)
        d, rows, basis, method = parts
        return cls(
            d=d,
            rows=rows,
            basis=basis,
            centre=centre,
            weight=weight,
            is_kernel=False,
            n_features=design.shape[1],
            method=method,
            dtype=dtype,
            data=design,
        )

    @classmethod
    def from_kernel(cls, K: Any, fit_intercept: bool = False, sample_weight: Any = None) -> Spectrum:
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
            K not square, not symmetric (1e-8 relative), with NaN or inf, or with an eigenvalue below −1e-8 times the largest;
            weights negative, all zero or of the wrong length.
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
        dtype = validation.result_dtype(K)
        kernel = validation.kernel_matrix(K)
        weight = validation.sample_weight(sample_weight, len(kernel))
        negated, centre = _negated_kernel(kernel, fit_intercept, weight)
        scale = max(-negated.min(), negated.max())
        d, vectors = _eigh_negated(negated)
        scale = max(scale, d[0])
        if d[-1] < -INDEFINITE * scale:
            raise ValueError(
                f"K must be positive semi-definite: its smallest eigenvalue is {d[-1]:.6g}, its largest {d[0]:.6g} "
                f"(allowed: {-INDEFINITE:g} times the largest). Check the kernel, or clip its eigenvalues."
            )
        rank = _rank(d, len(kernel), scale)
        rows = vectors[:, :rank]
        return cls(
            d=d[:rank],
            rows=rows,
            basis=rows,
            centre=centre,
            weight=weight,
            is_kernel=True,
            n_features=None,
            method="eigh",
            dtype=dtype,
            data=kernel,
        )

    @property
    def d(self) -> np.ndarray:
        """Eigenvalues (r,), descending."""
        return self._d.astype(self._dtype, copy=False)

    @property
    def rank(self) -> int:
        """Number of eigenvalues kept."""
        return len(self._d)

    @property
    def n_samples(self) -> int:
        """Number of samples, those of zero weight included."""
        return self._rows.shape[0]

    @property
    def n_effective(self) -> int:
        """Number of samples of positive weight, the n of GCV."""
        return self.n_samples if self._weight is None else int(np.count_nonzero(self._weight))

    @property
    def total_weight(self) -> float:
        """Σ w, the number of samples where there are no weights."""
        return float(self.n_samples) if self._weight is None else float(self._weight.sum())

    @property
    def fit_intercept(self) -> bool:
        """Whether an unpenalised intercept is fitted."""
        return self._centre is not None

    @property
    def is_kernel(self) -> bool:
        """Whether this is the spectrum of a kernel matrix (dual coefficients) or of a design (primal coefficients)."""
        return self._is_kernel

    def __repr__(self) -> str:
        shape = f"n_samples={self.n_samples}"
        if self.n_features is not None:
            shape += f", n_features={self.n_features}"
        return (
            f"Spectrum({shape}, rank={self.rank}, method={self.method!r}, fit_intercept={self.fit_intercept})"
        )

    def path(self, y: Any, lam: Any, xi: Any, n_steps: int | None = None) -> DistillationPath:
        """Every student from plain ridge (step 0) to step k: f_t = a ((1 − ξ_t) + ξ_t f_{t−1}), a = d / (d + λ).

        Parameters
        ----------
        y : array-like (n,) or (n, m)
        lam : float or array-like (L,)
            Penalties on ‖·‖² against the sum of (weighted) squared residuals, scikit-learn's `alpha`; at least 0.
        xi : float, array-like (k,) or (Q, k)
            Imitation weights, any real numbers: student t is trained on (1 − ξ_t) y + ξ_t ŷ_{t−1}. A scalar needs `n_steps`.
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
        return DistillationPath(
            self,
            Targets(self, y),
            validation.penalties(lam),
            validation.schedule(xi, n_steps),
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
        Reached linearly at rate |ξ| max_j d_j / (d_j + λ) (Borup and Andersen 2021, the theorem on the limit). O(n r m).

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> S.limit([1.0, 1.0, 1.0], lam=1.0, xi=0.5).coef
        array([0.33333333, 0.33333333])
        """
        xi_values = validation.real_array(xi, "xi", ndim=(0, 1))
        return DistillationLimit(self, Targets(self, y), validation.penalties(lam), xi_values)

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
        The spectrum is that of g, not of g / n. Mobahi, Farajtabar and Bartlett 2020, section 2. O(r) per round and root
        iteration.

        Examples
        --------
        >>> import fastdistill as fd
        >>> S = fd.Spectrum.from_design([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> rounds = S.tolerance_path([1.0, 1.0, 0.0], eps=0.3)
        >>> rounds.n_rounds, rounds.collapsed, rounds.multipliers.round(6)
        (1, True, array([2.198632]))
        """
        return ToleranceRounds(
            self,
            Targets(self, y),
            validation.scalar(eps, "eps", minimum=0.0, strict=True),
            validation.integer(max_rounds, "max_rounds", minimum=1),
        )

    # What the rooms above use; every array is float64.

    def _expand(self, coordinates: np.ndarray) -> np.ndarray:
        """W^-½ U c for each row c of `coordinates` (N, r) -> (N, n)."""
        fitted = (self._rows @ coordinates.T).T
        if self._sqrt_weight is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                fitted = fitted / self._sqrt_weight
            if self._light is not None:
                index, rows = self._light
                fitted[:, index] = coordinates @ rows.T
        return fitted

    def _coefficients(self, coordinates: np.ndarray) -> np.ndarray:
        """Primal (V c) or dual (W^½ U c) coefficients for each row c of `coordinates` (N, r) -> (N, p or n)."""
        coefficients = coordinates @ self._basis.T
        return (
            coefficients * self._sqrt_weight if self._is_kernel and self._weight is not None else coefficients
        )

    def _query_coordinates(self, queries: Any) -> np.ndarray:
        """Coordinates Q (q, r) of checked queries, of which every prediction is ȳ + Q (m ∘ z)."""
        if isinstance(queries, np.ndarray):
            if self._centre is not None:
                queries = queries - self._centre
            if self._is_kernel and self._weight is not None:
                queries = queries * self._sqrt_weight
            return queries @ self._basis
        coordinates = queries @ self._basis
        return coordinates if self._centre is None else coordinates - self._centre @ self._basis

    def _evaluate(self, queries: Any, coefficients: np.ndarray) -> np.ndarray:
        """Centred predictions (N, q) of coefficients (N, p or n) on checked queries."""
        predictions = (queries @ coefficients.T).T
        return predictions if self._centre is None else predictions - (coefficients @ self._centre)[:, None]

    def _check_queries(self, queries: Any) -> Any:
        """Queries through the gate: (q, p) dense or sparse for a design, (q, n) kernel(query, train) for a kernel."""
        if self._is_kernel:
            checked, width = validation.real_array(queries, "Kq", ndim=2), self.n_samples
            meaning = f"Kq must be kernel(query, train) of shape (q, {width})"
        else:
            checked, width = validation.design(queries, "Xq"), self._basis.shape[0]
            meaning = f"Xq must have {width} features"
        if checked.shape[1] != width:
            raise ValueError(f"{meaning}, got shape {checked.shape}.")
        return checked


class _SparseRows(LinearOperator):
    """U = W^½ (X − 1 x̄ᵀ) V / s of a sparse design, as an operator: nothing dense of n rows is stored."""

    def __init__(
        self, design: Any, centre: np.ndarray | None, weight: np.ndarray | None, scaled: np.ndarray
    ) -> None:
        super().__init__(dtype=np.float64, shape=(design.shape[0], scaled.shape[1]))
        self.design, self.scaled = design, scaled
        self.shift = None if centre is None else centre @ scaled
        self.root = None if weight is None else np.sqrt(weight)[:, None]

    def _matmat(self, c: np.ndarray) -> np.ndarray:
        product = self.design @ (self.scaled @ c)
        if self.shift is not None:
            product -= self.shift @ c
        return product if self.root is None else product * self.root

    def _rmatmat(self, y: np.ndarray) -> np.ndarray:
        y = y if self.root is None else y * self.root
        product = self.scaled.T @ (self.design.T @ y)
        return product if self.shift is None else product - np.outer(self.shift, y.sum(axis=0))


def _column_means(design: Any, weight: np.ndarray | None) -> np.ndarray:
    """Weighted column means; dense ones corrected by the mean of what is left, exact also for a large offset."""
    share = np.full(design.shape[0], 1.0 / design.shape[0]) if weight is None else weight / weight.sum()
    means = share @ design
    if isinstance(design, np.ndarray):
        means = means + (share @ design - share.sum() * means)
        means = means + share @ (design - means)
    return np.asarray(means)


def _scaled(design: np.ndarray, centre: np.ndarray | None, weight: np.ndarray | None) -> np.ndarray:
    """W^½ (X − 1 x̄ᵀ); the caller's own array where there is nothing to do."""
    scaled = design
    if centre is not None:
        scaled = design - centre
        # what rounding leaves of a constant column is no direction of the data
        constant = np.abs(scaled).max(axis=0) <= 4 * EPS * np.abs(centre)
        scaled[:, constant] = 0.0
    return scaled if weight is None else scaled * np.sqrt(weight)[:, None]


def _negated_kernel(
    kernel: np.ndarray, fit_intercept: bool, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """−W^½ (K − 1 k̄ᵀ − k̄ 1ᵀ + k̿) W^½ in a new array, and k̄ = K w̄ (None without an intercept)."""
    # Negated, the eigenvalues ascend where those of K descend: no n by n reversal afterwards.
    negated = np.negative(kernel)
    root = 1.0 if weight is None else np.sqrt(weight)
    centre = None
    if fit_intercept:
        centre = np.average(kernel, axis=0, weights=weight)
        level = EPS * len(kernel) * np.abs(negated).max(initial=0.0)
        negated += centre
        negated += (centre - np.average(centre, weights=weight))[:, None]
        if max(negated.max(), -negated.min()) <= level:  # a constant kernel: nothing but rounding is left
            negated[...] = 0.0
    if weight is not None:
        negated *= root
        negated *= root[:, None]
    return negated, centre


def _eigh_negated(negated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (descending) and eigenvectors of −`negated`, which is overwritten."""
    w, vectors = scipy.linalg.eigh(negated.T, driver="evd", overwrite_a=True, check_finite=False)
    return -w, vectors


def _rank(d: np.ndarray, size: int, scale: float) -> int:
    """Number of the descending eigenvalues above rounding error."""
    return int(np.count_nonzero(d > size * EPS * scale))


def _decompose_dense(scaled: np.ndarray, centred: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """d, U, V of a scaled dense design and the method: Gram where its condition allows."""
    n, p = scaled.shape
    gram = scaled.T @ scaled if p <= n else scaled @ scaled.T
    np.negative(gram, out=gram)
    d, vectors = _eigh_negated(gram)
    full = min(n - centred, p)
    if full > 0 and d[full - 1] >= GRAM_CONDITION * d[0] > 0:
        d, vectors = d[:full], vectors[:, :full]
        other = scaled @ vectors if p <= n else scaled.T @ vectors
        other /= np.sqrt(d)
        return (d, other, vectors, "gram") if p <= n else (d, vectors, other, "gram")
    return _svd(scaled)


def _svd(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    u, s, vt = scipy.linalg.svd(scaled, full_matrices=False, check_finite=False)
    rank = _rank(s, max(scaled.shape), s[0])
    return s[:rank] ** 2, u[:, :rank], vt[:rank].T, "svd"


def _decompose_sparse(
    design: Any, centre: np.ndarray | None, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | LinearOperator, np.ndarray, str]:
    """d, U, V of a sparse design and the method: its smaller Gram matrix, centred after the sparse product."""
    n, p = design.shape
    if p <= n:
        weighted = design if weight is None else design.multiply(weight[:, None]).tocsr()
        gram = (design.T @ weighted).toarray()
        scale = gram.diagonal().max()
        np.negative(gram, out=gram)
        if centre is not None:
            gram += np.outer(centre, centre) * (n if weight is None else weight.sum())
    else:
        kernel = (design @ design.T).toarray()
        scale = (kernel.diagonal() * (1.0 if weight is None else weight)).max()
        gram, _ = _negated_kernel(kernel, centre is not None, weight)
    d, vectors = _eigh_negated(gram)
    full = min(n - (centre is not None), p)
    floor = GRAM_CONDITION * max(d[0], scale)
    if full == 0 or d[full - 1] < floor or d[0] <= 0:
        if n * p <= DENSE_ENTRIES:
            return _svd(_scaled(design.toarray(), centre, weight))
        full = _rank(d, max(n, p), max(d[0], scale))
        if np.any(d[:full] < floor):
            warnings.warn(
                f"X ({n} by {p}, sparse) is too large for a dense SVD and its smallest singular value is "
                f"{np.sqrt(d[full - 1] / d[0]):.1e} of its largest: directions that small are inexact. Scale the columns, "
                f"or drop those that nearly depend on others.",
                RuntimeWarning,
                stacklevel=4,
            )
    d, vectors = d[:full], vectors[:, :full]
    s = np.sqrt(d)
    if p <= n:
        return d, _SparseRows(design, centre, weight, vectors / s), vectors, "gram"
    weighted_rows = vectors if weight is None else vectors * np.sqrt(weight)[:, None]
    basis = design.T @ weighted_rows
    if centre is not None:
        basis -= np.outer(centre, weighted_rows.sum(axis=0))
    return d, vectors, basis / s, "gram"
