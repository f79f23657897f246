"""Stationary mean and covariance of distillation SGD on least squares, exactly, and the exactly best weight.

For f_n(x) = ½ (⟨a_n, x⟩ − b_n)² + (l2/2) ‖x‖² the step x⁺ = x − γ (∇f_B(x) − λ ∇f_B(θ) [+ λ ∇f(θ)]) is affine in x,
with independent batches B. Its stationary mean is x̄ = x* + λ (θ − x*) for `kd` and x* for `kd_unbiased`, and its
covariance Σ solves

    Σ = E[P Σ P] + γ² c Cov_n(g_n),    P = I − γ (A_B + l2 I),    A_B = mean of a aᵀ over the batch,
    E[P Σ P] = (I − γH) Σ (I − γH) + γ² c (E[a aᵀ Σ a aᵀ] − A Σ A),    A = XᵀX/N,    H = A + l2 I,

where g_n = ∇f_n(x̄) − λ ∇f_n(θ) [+ λ ∇f(θ)] and c is the share of a single sample in a batch (1/τ with replacement).
The second moment about x* is Σ + (x̄ − x*)(x̄ − x*)ᵀ; its trace, the plateau of E‖x_t − x*‖², is quadratic in λ, so the
best λ follows from three solves.

For `kd` this has a closed form. The step with targets b is the plain step with targets (1 − λ) b + λ ⟨a, θ⟩, whose
residuals at x̄ are 1 − λ times those of plain SGD at x*: Σ(λ) = (1 − λ)² Σ(0) *whatever the teacher*, and

    λ* = s / (s + ‖θ − x*‖²),    s = tr Σ(0),    tr M(λ*) = (1 − λ*) s.

Symmetric matrices are kept as vectors of their lower triangle, with √2 off the diagonal: the map of Σ is then a
symmetric matrix, positive definite exactly where the variance is stable.

| MATH of the paper's setting [S]     | here                                            |
|-------------------------------------|-------------------------------------------------|
| x*, θ, λ, γ, τ                      | `optimum`, `teacher`, `kd_weight`, `step_size`, `batch_size` |

Cost: O(N p⁴) for the fourth moments and O(p⁶) for the solve: up to 88 parameters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import linear_losses as losses
from fastdistill.base import validation as check

_BLOCK = 1 << 22  # numbers in a block of fourth moments


class KDStationary(NamedTuple):
    """Where distillation SGD settles on least squares; see `kd_stationary`."""

    mean: np.ndarray  # (P,)
    covariance: np.ndarray  # (P, P) about the mean
    second_moment: np.ndarray  # (P, P) about the optimum
    optimum: np.ndarray  # (P,) x*

    @property
    def distance(self) -> float:
        """E‖x − x*‖², the height of the plateau."""
        return float(np.trace(self.second_moment))


def kd_stationary(
    X: Any,
    y: Any,
    teacher: Any,
    step_size: float,
    kd_weight: float,
    *,
    variant: str = "kd",
    l2: float = 0.0,
    batch_size: int = 1,
    fit_intercept: bool = False,
    replace: bool = True,
) -> KDStationary:
    """Stationary mean and covariance of distillation SGD on least squares.

    x̄ = x* + λ (θ − x*)  (`kd`) or x*  (`kd_unbiased`),    Σ = E[P Σ P] + γ² c Cov_n(∇f_n(x̄) − λ ∇f_n(θ))

    Parameters
    ----------
    X : array-like or scipy.sparse (n, p)
        Of full column rank, unless l2 > 0.
    y : array-like (n,)
    teacher : array-like (p,), or (p + 1,) with an intercept as the last entry
    step_size : float
        γ, above zero and below `largest_stable_step`.
    kd_weight : float
        λ, any real number.
    variant : {"kd", "kd_unbiased"}
    l2 : float
        Penalty (l2/2)‖coef‖² of every f_n (teacher gradients carry it too); an intercept is not penalised.
    batch_size : int
        Samples averaged in a step.
    fit_intercept : bool
    replace : bool
        Whether the samples of a batch are drawn with replacement; batches are independent in either case.

    Returns
    -------
    KDStationary
        `mean` (P,), `covariance` (P, P), `second_moment` (P, P) about the `optimum` x* (P,), and `distance`, its trace.

    Raises
    ------
    ValueError
        A step beyond the largest stable one (the message names it), X without full column rank and l2 = 0, more than
        88 parameters, or bad arguments.

    Notes
    -----
    Exact, for ½ squared residuals and ``order="replace"`` of `fastdistill.run_sgd`; goes beyond [S], whose bounds hold
    this to a constant. `kd` scales the covariance by (1 − λ)² for every teacher. O(N p⁴ + p⁶).

    Examples
    --------
    >>> from fastdistill.theory import kd_stationary
    >>> at = kd_stationary([[1.0], [1.0], [2.0]], [0.0, 2.0, 2.0], teacher=[1.5], step_size=0.1, kd_weight=0.5)
    >>> at.mean, round(float(at.covariance[0, 0]), 6), round(at.distance, 6)
    (array([1.25]), 0.004902, 0.067402)
    """
    problem = _LeastSquares(X, y, teacher, l2, batch_size, fit_intercept, replace)
    weight = check.scalar(kd_weight, "kd_weight")
    variant = check.choice(variant, "variant", losses.VARIANTS)
    mean, noise = problem.mean_and_noise(weight, variant)
    gamma, factor = problem.factored(step_size)
    covariance = problem.solve(factor, gamma**2 * noise)
    shift = mean - problem.optimum
    return KDStationary(mean, covariance, covariance + np.outer(shift, shift), problem.optimum)


def kd_stationary_weight(
    X: Any,
    y: Any,
    teacher: Any,
    step_size: float,
    *,
    variant: str = "kd",
    l2: float = 0.0,
    batch_size: int = 1,
    fit_intercept: bool = False,
    replace: bool = True,
) -> float:
    """The weight whose stationary distance to the minimiser is exactly the smallest, on least squares.

    λ* = argmin E‖x_∞ − x*‖², a quadratic in λ;    for `kd` λ* = s / (s + ‖θ − x*‖²), s = E‖x_∞ − x*‖² of plain SGD

    Parameters
    ----------
    X, y, teacher, step_size, variant, l2, batch_size, fit_intercept, replace
        As in `kd_stationary`.

    Returns
    -------
    float
        0.0 where the weight makes no difference.

    Raises
    ------
    ValueError
        As `kd_stationary`.

    Notes
    -----
    Beyond [S]: `fastdistill.optimal_kd_weight` minimises a bound of this distance. Three solves with one factorisation.

    Examples
    --------
    >>> from fastdistill.theory import kd_stationary_weight
    >>> round(kd_stationary_weight([[1.0], [1.0], [2.0]], [0.0, 2.0, 2.0], teacher=[1.5], step_size=0.1), 6)
    0.072727
    """
    problem = _LeastSquares(X, y, teacher, l2, batch_size, fit_intercept, replace)
    variant = check.choice(variant, "variant", losses.VARIANTS)
    gamma, factor = problem.factored(step_size)
    distance = []
    for weight in (-1.0, 0.0, 1.0):
        mean, noise = problem.mean_and_noise(weight, variant)
        shift = mean - problem.optimum
        distance.append(np.trace(problem.solve(factor, gamma**2 * noise)) + shift @ shift)
    slope, curvature = 0.5 * (distance[2] - distance[0]), 0.5 * (distance[0] + distance[2]) - distance[1]
    return float(-0.5 * slope / curvature) if curvature > 0 else 0.0


def largest_stable_step(
    X: Any, *, l2: float = 0.0, batch_size: int = 1, fit_intercept: bool = False, replace: bool = True
) -> float:
    """The step size below which SGD on least squares has a finite stationary variance.

    γ_max = 1 / λ_max(Q, S),    S: M ↦ HM + MH,    Q: M ↦ HMH + c (E[a aᵀ M a aᵀ] − A M A)

    Parameters
    ----------
    X, l2, batch_size, fit_intercept, replace
        As in `kd_stationary`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `kd_stationary`.

    Notes
    -----
    Exact, for every teacher and weight: the map M ↦ E[P M P] keeps the cone of semi-definite matrices, so that its
    largest eigenvalue 1 − γ(…) decides. With one sample it is 2/‖a‖². O(N p⁴ + p⁶).

    Examples
    --------
    >>> from fastdistill.theory import largest_stable_step
    >>> round(largest_stable_step([[1.0], [2.0]]), 6)
    0.588235
    """
    checked = check.design(X, largest=check.LARGEST_FACTOR)
    n, p = checked.shape
    width = p + check.boolean(fit_intercept, "fit_intercept")
    return _LeastSquares(checked, np.zeros(n), np.zeros(width), l2, batch_size, fit_intercept, replace).largest_step()


class _LeastSquares:
    """Moments of a least-squares problem, and the map of the stationary covariance on half-vectorised matrices."""

    def __init__(
        self, X: Any, y: Any, teacher: Any, l2: Any, batch_size: Any, fit_intercept: Any, replace: Any
    ) -> None:
        points = {"teacher": check.real_array(teacher, "teacher", ndim=1)}
        checked, (self.teacher,) = losses.checked_problem(
            X, check.real_array(y, "y", ndim=1), points, loss="squared", l2=l2, fit_intercept=fit_intercept
        )
        self.share = losses.checked_share(checked.X.shape[0], batch_size, replace)
        rows = checked.X if isinstance(checked.X, np.ndarray) else checked.X.toarray()
        self.rows = np.column_stack([rows, np.ones(len(rows))]) if checked.fit_intercept else rows
        n, width = self.rows.shape
        if width * (width + 1) // 2 > losses.LARGEST_HESSIAN:
            raise ValueError(
                f"X has {width} parameters; the exact covariance, a system of {width}⁴/4 numbers, is for 88 at most."
            )
        self.penalty = np.full(width, checked.l2)
        if checked.fit_intercept:
            self.penalty[-1] = 0.0
        self.gram = self.rows.T @ self.rows / n
        self.hessian = self.gram + np.diag(self.penalty)
        eigenvalues = np.linalg.eigvalsh(self.hessian)
        if eigenvalues[0] < losses.smallest_above_rounding(eigenvalues) or eigenvalues[-1] <= 0.0:
            raise ValueError(
                f"X has no full column rank (smallest eigenvalue of the Hessian {eigenvalues[0]:.3g}): the minimiser "
                f"is not unique. Use l2 > 0, or drop dependent columns."
            )
        self.targets = checked.targets
        self.optimum = np.linalg.solve(self.hessian, self.rows.T @ self.targets / n)
        self.lower = np.tril_indices(width)
        self.scale = np.where(self.lower[0] == self.lower[1], 1.0, np.sqrt(2.0))

    def mean_and_noise(self, weight: float, variant: str) -> tuple[np.ndarray, np.ndarray]:
        """Stationary mean, and the covariance of the batch gradient there."""
        mean = self.optimum if variant == "kd_unbiased" else self.optimum + weight * (self.teacher - self.optimum)
        # of the gradients at the mean, only what depends on the sample has a covariance
        residual = self.rows @ (mean - weight * self.teacher) - (1.0 - weight) * self.targets
        gradients = self.rows * residual[:, None]
        gradients -= gradients.mean(axis=0)
        return mean, self.share * gradients.T @ gradients / len(residual)

    def factored(self, step_size: Any) -> tuple[float, np.ndarray]:
        """The checked step, and the Cholesky factor of Σ ↦ Σ − E[P Σ P]."""
        gamma = check.scalar(step_size, "step_size", minimum=0.0, strict=True, largest=check.LARGEST_FACTOR)
        linear, quadratic = self._maps()
        try:
            return gamma, np.linalg.cholesky(gamma * linear - gamma**2 * quadratic)
        except np.linalg.LinAlgError:
            raise ValueError(
                f"step_size={gamma:.6g} is too large: the variance of the iterates grows without bound from a step of "
                f"{self.largest_step():.6g} on."
            ) from None

    def solve(self, factor: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The symmetric matrix that the factored map takes to `right`."""
        from scipy.linalg import solve_triangular

        half = solve_triangular(factor, right[self.lower] * self.scale, lower=True)
        out = np.empty_like(right)
        out[self.lower] = solve_triangular(factor, half, lower=True, trans=1) / self.scale
        out.T[self.lower] = out[self.lower]
        return out

    def largest_step(self) -> float:
        from scipy.linalg import eigh

        linear, quadratic = self._maps()
        last = len(linear) - 1
        return float(1.0 / eigh(quadratic, linear, eigvals_only=True, subset_by_index=[last, last])[0])

    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        """M ↦ HM + MH and M ↦ HMH + c (E[a aᵀ M a aᵀ] − A M A)."""
        linear = 2.0 * self._symmetric_product(self.hessian, np.eye(len(self.hessian)))
        fourth = self._fourth_moment() - self._symmetric_product(self.gram, self.gram)
        return linear, self._symmetric_product(self.hessian, self.hessian) + self.share * fourth

    def _symmetric_product(self, B: np.ndarray, C: np.ndarray) -> np.ndarray:
        """M ↦ (B M C + C M B) / 2 of symmetric B and C."""
        i, j = self.lower
        out = B[np.ix_(i, i)] * C[np.ix_(j, j)] + B[np.ix_(i, j)] * C[np.ix_(j, i)]
        out += C[np.ix_(i, i)] * B[np.ix_(j, j)] + C[np.ix_(i, j)] * B[np.ix_(j, i)]
        return 0.25 * out * np.multiply.outer(self.scale, self.scale)

    def _fourth_moment(self) -> np.ndarray:
        """M ↦ E[a aᵀ M a aᵀ]: the mean of w wᵀ over the half-vectorised w = a aᵀ."""
        i, j = self.lower
        out = np.zeros((len(i), len(i)))
        step = max(1, _BLOCK // len(i))
        for start in range(0, len(self.rows), step):
            block = self.rows[start : start + step]
            w = block[:, i] * block[:, j] * self.scale
            out += w.T @ w
        return out / len(self.rows)
