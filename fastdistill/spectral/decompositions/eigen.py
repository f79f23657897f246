"""Eigenvalues and singular vectors of centred and weighted designs and kernels, and the choice of their rank::

    design   W^½ (X − 1 x̄ᵀ) = U diag(s) Vᵀ, d = s²      kernel   W^½ (K − 1 k̄ᵀ − k̄ 1ᵀ + k̿) W^½ = U diag(d) Uᵀ

Eigenvalues that rounding could have made of zero are dropped. LAPACK is given the negated matrix: its eigenvalues
ascend where those of K descend, so that no n by n array has to be reversed afterwards.

Cost: O(n³) for a kernel; O(n p min(n, p)) for a design, by its smaller Gram matrix where the condition allows and by
the SVD, 4 to 8 times slower, where it does not. Where columns have very different sizes, or weights are very uneven,
neither is exact, and the SVD of ``graded.py`` is taken, which is some times slower again.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from fastdistill.spectral.decompositions.centre import Centre, centred_blocks, shares
from fastdistill.spectral.decompositions.graded import column_norms, graded_svd
from fastdistill.spectral.decompositions.rows import FormedRows

EPS = float(np.finfo(np.float64).eps)

# Below this ratio of the smallest to the largest eigenvalue a Gram matrix, which squares the condition number, gives
# fewer than ten digits (relative error of a student up to eps / ratio), and the SVD is worth its price (4 to 8 times).
GRAM_CONDITION = 1e-5
# A kernel matrix may miss definiteness by this much of its largest eigenvalue before it is called indefinite.
INDEFINITE = 1e-8
# Rows this much heavier than the median cost a weighted kernel six digits: then its factor is decomposed.
HEAVY_ROW = 1e6
# A column that stays this close to its mean, relatively, is constant: two units in the last place.
CONSTANT = 2 * EPS
# Where the spread of a column is below this share of its mean, the mean must be exact beyond its last digit.
ROUNDED_MEAN = 1e8 * EPS
# An SVD is exact to eps of the largest column: where another is this much smaller, the graded SVD is exact for both.
UNEVEN_COLUMNS = 1e3


class WideBasis:
    """V = X_sᵀ A (p, r), A = U / s, of a wide design, as its factors: no product of few rows needs V itself.

    For one target of 300 × 20 000, V would take a third of the time of the fit.
    """

    def __init__(self, scaled: np.ndarray, inner: np.ndarray) -> None:
        self.scaled, self.inner = scaled, inner

    @cached_property
    def array(self) -> np.ndarray:
        """V itself."""
        return self.scaled.T @ self.inner

    def combined(self, coordinates: np.ndarray) -> np.ndarray:
        """V c (N, p) for each row c of `coordinates` (N, r)."""
        return (coordinates @ self.inner.T) @ self.scaled


class Decomposition(NamedTuple):
    """Eigenvalues and bases; every way to decompose returns these."""

    d: np.ndarray  # (r,) eigenvalues of the kernel matrix, descending; positive unless it is an indefinite kernel
    rows: np.ndarray | FormedRows  # U (n, r)
    basis: np.ndarray | WideBasis  # V (p, r) of a design, U of a kernel: queries are projected on it
    centre: Any  # Centre of x̄ of a design, k̄ (n,) of a kernel; None without an intercept
    method: str
    noise: float = 0.0  # eigenvalues of a kernel below this were dropped: rounding could have made them of zero


def decompose_design(
    design: np.ndarray, weight: np.ndarray | None, fit_intercept: bool, solver: str = "auto"
) -> Decomposition:
    """Of a checked dense design (n, p); by "gram" or "svd" where these are named."""
    means = column_means(design, weight) if fit_intercept else None
    if solver == "svd":
        return _svd(*scaled_design(design, weight, means), weight)
    return _decompose_dense(design, weight, means, named=solver == "gram")


def decompose_kernel(
    negated: np.ndarray,
    centre: np.ndarray | None,
    weight: np.ndarray | None,
    scale: float,
    resolution: float,
    *,
    indefinite: bool = False,
) -> Decomposition:
    """Of a scaled kernel K_s, given as `negated` = −K_s (n, n), which is overwritten; see `scaled_kernel`.

    The entries of K have the size `scale`, see `entry_scale`, and are known to a relative `resolution`. Where K_s is
    indefinite this raises or, with `indefinite`, has the negative eigenvalues at the end of d.
    """
    fit_intercept = centre is not None
    if fit_intercept:
        # Rounding mixes the eigenvector of a small d with the centred-out direction, of d = 0, by eps / d, and dual
        # coefficients divide by d. Shifted above all other eigenvalues, that direction stays apart and comes out first.
        constant = np.ones(len(negated)) if weight is None else np.sqrt(weight)
        constant /= np.linalg.norm(constant)
        shift = 2 * np.linalg.norm(negated)
        scipy.linalg.blas.dger(-shift, constant, constant, a=negated.T, overwrite_a=1)  # in place, no n by n temporary
        scale = max(scale, float(shift))
    d, vectors = eigh_negated(negated)
    if fit_intercept:
        d, vectors = d[1:], vectors[:, 1:]
    scale = max(scale, float(d.max(initial=0.0)))
    allowed = max(INDEFINITE, resolution * len(negated)) * scale
    if indefinite and d.min(initial=0.0) < -allowed:
        noise = eigenvalue_noise(len(negated)) * max(scale, -float(d[-1]))
        nonzero = np.abs(d) > noise
        rows = vectors[:, nonzero]
        return Decomposition(d[nonzero], rows, rows, centre, "eigh", noise)
    require_semidefinite(d, allowed)
    noise = eigenvalue_noise(len(negated)) * scale
    rank = np.count_nonzero(d > noise)
    rows = vectors[:, :rank]
    return Decomposition(d[:rank], rows, rows, centre, "eigh", noise)


def require_semidefinite(d: np.ndarray, allowed: float) -> None:
    """An error where the smallest of the descending eigenvalues d lies more than `allowed` below zero."""
    if d.min(initial=0.0) < -allowed:
        raise ValueError(
            f"K must be positive semi-definite: its smallest eigenvalue is {d[-1]:.6g}, its largest {d[0]:.6g} "
            f"(allowed: {-allowed:.3g}). Check the kernel, or clip its eigenvalues."
        )


def has_heavy_rows(weight: np.ndarray | None) -> bool:
    """Whether some weights are so large that the eigenvalues of W^½ K W^½ lose the other samples to rounding."""
    return weight is not None and bool(weight.max() > HEAVY_ROW * np.median(weight[weight > 0]))


def decompose_factor(kernel: np.ndarray, weight: np.ndarray, centre: np.ndarray | None) -> Decomposition:
    """Of a kernel K = F Fᵀ (n, n) with heavy rows, by the graded SVD of the factor F, centred and weighted."""
    d, vectors = eigh_negated(np.negative(kernel, order="C"))
    noise = eigenvalue_noise(len(kernel)) * max(float(d[0]), entry_scale(kernel.diagonal(), None, False))
    rank = np.count_nonzero(d > noise)
    factor = vectors[:, :rank] * np.sqrt(d[:rank])
    scaled, _ = scaled_design(factor, weight, None if centre is None else column_means(factor, weight))
    rows, s, _ = graded_svd(scaled, _directions(len(scaled), weight, centre is not None))
    return Decomposition(np.square(s), rows, rows, centre, "graded", noise)


def scaled_kernel(
    kernel: np.ndarray, weight: np.ndarray | None, fit_intercept: bool, *, overwrite: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """K_s = W^½ (K − 1 k̄ᵀ − k̄ 1ᵀ + k̿) W^½ in C order, and k̄ = K w̄, None without an intercept.

    In place with `overwrite`, where K is contiguous.
    """
    scaled = kernel if overwrite and kernel.flags.c_contiguous and kernel.flags.writeable else kernel.copy(order="C")
    centre = None
    if fit_intercept:
        centre = np.average(kernel, axis=0, weights=weight)
        scaled -= centre
        scaled -= (centre - np.average(centre, weights=weight))[:, None]
    if weight is not None:
        root = np.sqrt(weight)
        scaled *= root
        scaled *= root[:, None]
    return scaled, centre


def _decompose_dense(
    design: np.ndarray, weight: np.ndarray | None, means: np.ndarray | None, *, named: bool
) -> Decomposition:
    """The smaller Gram matrix where its condition allows, or it is `named`, else an SVD."""
    scaled, centre = scaled_design(design, weight, means)
    n, p = scaled.shape
    with np.errstate(over="ignore", invalid="ignore"):  # refused by the eigenproblem
        gram = scaled.T @ scaled if p <= n else scaled @ scaled.T
    np.negative(gram, out=gram)
    d, vectors = eigh_negated(gram)
    full = min(n - (centre is not None), p)
    if full == 0 or d[0] <= 0 or d[full - 1] < GRAM_CONDITION * d[0]:
        if not named or full == 0 or d[0] <= 0:
            return _svd(scaled, centre, weight)
        full = min(full, np.count_nonzero(d > eigenvalue_noise(len(d)) * d[0]))
        warn_if_inexact(d[:full], float(d[0]), "use solver='svd'")
    d, vectors = d[:full], vectors[:, :full]
    if p > n:
        return Decomposition(d, vectors, WideBasis(scaled, vectors / np.sqrt(d)), centre, "gram")
    rows = scaled @ vectors
    rows /= np.sqrt(d)
    return Decomposition(d, rows, vectors, centre, "gram")


def _directions(n: int, weight: np.ndarray | None, centred: bool) -> int:
    """Largest possible rank: the number of samples of positive weight, less one if centred."""
    return (n if weight is None else int(np.count_nonzero(weight))) - centred


def _svd(scaled: np.ndarray, centre: Centre | None, weight: np.ndarray | None) -> Decomposition:
    """LAPACK's SVD, or the graded one where rounding of a large column, or row, would hide a small one."""
    sizes = column_norms(scaled)
    sizes = sizes[sizes > 0]
    uneven = len(sizes) > 0 and sizes.max() > UNEVEN_COLUMNS * sizes.min()
    if uneven or (weight is not None and weight.max() > HEAVY_ROW * weight[weight > 0].min()):
        rows, s, basis = graded_svd(scaled, _directions(len(scaled), weight, centre is not None))
        return Decomposition(np.square(s), rows, basis, centre, "graded")
    u, s, vt = scipy.linalg.svd(scaled, full_matrices=False, check_finite=False)
    rank = np.count_nonzero(s > max(scaled.shape) * EPS * s[0])
    return Decomposition(s[:rank] ** 2, u[:, :rank], vt[:rank].T, centre, "svd")


def warn_if_inexact(d: np.ndarray, scale: float, advice: str) -> None:
    """Where the Gram matrix was taken although its eigenvalues d, descending, say that it is ill-conditioned."""
    if len(d) and d[-1] < GRAM_CONDITION * scale:
        warnings.warn(
            f"The smallest singular value of X is {np.sqrt(d[-1] / d[0]):.1e} of its largest: directions that small "
            f"are inexact by the Gram matrix. For exact ones {advice}.",
            RuntimeWarning,
            stacklevel=5,
        )


def column_means(design: Any, weight: np.ndarray | None) -> np.ndarray:
    """Weighted column means (p,); those of a dense design are exact also where they are far larger than the spread."""
    share = shares(weight, design.shape[0])
    means = share @ design
    if isinstance(design, np.ndarray):
        means = means + (means - share.sum() * means)
        means = means + sum(share[index] @ block for index, block in centred_blocks(design, means))
    return np.asarray(means)


def scaled_design(
    design: np.ndarray, weight: np.ndarray | None, means: np.ndarray | None
) -> tuple[np.ndarray, Centre | None]:
    """X_s = W^½ (X − 1 x̄ᵀ), and x̄; X itself, not a copy, where there is nothing to do."""
    scaled, centre = design, None
    if means is not None:
        scaled = design - means
        largest, rest = np.maximum(scaled.max(axis=0), -scaled.min(axis=0)), None
        # a constant column is zero once centred, but for rounding errors
        scaled[:, largest <= CONSTANT * np.abs(means)] = 0.0
        if weight is not None or np.any(largest <= ROUNDED_MEAN * np.abs(means)):
            # a heavy row nearly equals the mean: their difference needs a mean exact beyond its own last digit
            share = shares(weight, len(design))
            rest = share @ scaled
            scaled -= rest
        centre = Centre(means, largest, rest)
    return scaled if weight is None else scaled * np.sqrt(weight)[:, None], centre


def eigh_negated(negated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (descending) and eigenvectors of −`negated`, which is overwritten."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(negated.sum()):
            raise ValueError("The squares of the data overflow; rescale the data.")
    # LAPACK itself: `scipy.linalg.eigh` calls the same after 0.1 ms of its own
    w, vectors, info = lapack.dsyevd(negated.T, lower=1, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError(f"The eigenvalues did not converge (LAPACK's syevd, info = {info}).")
    return -w, vectors


def entry_scale(diagonal: np.ndarray, weight: np.ndarray | None, centred: bool) -> float:
    """Largest entry of the weighted matrix, four times that if centred: eps times it is an error of eigenvalues."""
    largest = np.abs(diagonal if weight is None else diagonal * weight).max()
    return float(4 * largest if centred else largest)


def eigenvalue_noise(size: int) -> float:
    """Size, relative to the largest, that rounding can give to an eigenvalue of zero.

    Measured on kernels of exact low rank, n = 12 to 1500: 0.1 to 3.7 eps, growing slower than sqrt(n). The usual n eps
    would cut directions that still carry digits: at n = 600, λ = 1e-6 d_max they cost an RBF fit 5e-8.
    """
    return max(16.0, 0.25 * size**0.5) * EPS
