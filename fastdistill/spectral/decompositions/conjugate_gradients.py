"""Students of one penalty by conjugate gradients: k + 1 solves with the centred design or kernel, no decomposition::

    p ≤ n:         (X_sᵀ X_s + lam I) β_t = X_sᵀ u_t,  fit X_s β_t
    n < p, kernel: (K_s + lam I) a_t = u_t,            fit K_s a_t, K_s = X_s X_sᵀ for a design, β_t = X_sᵀ a_t
    targets        u_0 = y_s,  u_t = (1 − ξ_t) y_s + ξ_t fit_{t−1}

A step starts from x = (1 − ξ_t) x_0 + ξ_t x_{t−1}, of which the residual is known without a product: −ξ_t lam x_{t−1}
(and what the first solve has left). So are its right-hand side and the norm of its fit. x_{t−1} lies in the Krylov
space of the first solve, so that the best solution among its directions, which are kept, is nearly the student: a step
needs a few more iterations or none. A preconditioner M would undo that, since M⁻¹ x_{t−1} is elsewhere: Jacobi's is
used only where the diagonal varies so much that k + 1 solves without it take longer. All targets and schedules of a
step share the products; columns that have converged are left out.

Error. With M the preconditioner and mu = lam / max M a bound of the smallest eigenvalue, the Gauss–Radau rule gives an
upper bound of the error in the energy norm (Meurant and Tichý 2013) at three flops an iteration, and the fit is off by
no more; for kernels and n < p it is off by no more than the residual. A student's own bound plus |ξ_t| times that of
its teacher, plus what rounding makes of a residual, over ‖fit‖, is the reported error.

Cost: two products an iteration (one of a kernel), 6 vectors of length min(n, p) for each column, and 2 that are kept,
up to `MOST_ENTRIES` in all. One thread, one student at 1e-12 beside ``Ridge(tol=1e-10)`` of scikit-learn without
students: one-hot 4000 × 1000 with an intercept 1.6 of its time (2.1 with every step solved anew; errors 1e-14 and
1.5e-10), CSR 5000 × 2000 with 1 % filled 1.5 (2.5; 7e-14 and 1.2e-10). The true error is a tenth to a fortieth of the
bound. Without Jacobi's preconditioner a one-hot design of uneven levels took three times the iterations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastdistill.spectral.decompositions.operators import DesignOperator, KernelOperator
from fastdistill.spectral.decompositions.solved import Solved

EPS = float(np.finfo(np.float64).eps)
UNEVEN = 3.0  # largest over smallest diagonal entry beyond which Jacobi's preconditioner pays in one solve
FEW = 60  # directions that are expected
MAX_ITERATIONS = 1000
INEXACT = 1000.0  # times the tolerance: what rounding may leave before the solution is refused
ROUNDING = 8 * EPS  # of a residual, relative to its largest term
MOST_ENTRIES = 2**22  # of the directions that are kept, and their images (32 MiB)


class Stalled(Exception):
    """The iterations do not converge in bounded time: decompose instead."""


class _Solution(NamedTuple):
    """Of (N + lam I) x = b for several columns."""

    x: np.ndarray
    residual: np.ndarray
    bound: np.ndarray  # of the error of the fits


class ConjugateGradients:
    """Students of one penalty.

    Parameters
    ----------
    operator : DesignOperator or KernelOperator
    tol : float
        Relative error of a fit.
    max_iterations : int
        More in one step raise `Stalled`.
    """

    def __init__(
        self, operator: DesignOperator | KernelOperator, tol: float = 1e-12, max_iterations: int = MAX_ITERATIONS
    ) -> None:
        self._operator, self._tol, self._max_iterations = operator, tol, max_iterations
        n, width = operator.shape
        self._is_primal = isinstance(operator, DesignOperator) and width <= n
        self._own_tol = tol
        self._size = 0.0  # largest eigenvalue seen

    def students(self, y_s: np.ndarray, lam: np.ndarray, xi: np.ndarray, *, with_fits: bool = True) -> Solved:
        """Students (P, k+1) of penalties lam (P,), all the same and positive, and weights xi (P, k), targets (n, m).

        Without fits their array may have no rows.

        Raises
        ------
        Stalled
            A step needs more than `max_iterations`, rounding leaves an error far above `tol`, or lam = 0.
        ValueError
            More than one penalty.
        """
        if np.any(lam != lam[0]):
            raise ValueError("Conjugate gradients take one penalty at a time.")
        penalty = float(lam[0])
        if penalty <= 0.0:
            raise Stalled("Without a penalty nothing bounds the error.")
        families, m = len(lam), y_s.shape[1]
        self._own_tol = 0.5 * self._tol / (xi.shape[1] + 1)  # of each step; what it inherits comes from larger fits
        seen = _Directions(m) if xi.shape[1] and 2 * FEW * min(self._operator.shape) * m <= MOST_ENTRIES else None
        scale = self._preconditioner(penalty, 1 if seen is None else len(xi[0]) + 1)
        seen = seen if scale is None else None
        right = y_s
        if isinstance(self._operator, DesignOperator) and self._is_primal:
            right = self._operator.transposed(y_s)
        zero = np.zeros_like(right)
        first = self._solve(right, zero, right, penalty, scale, seen)
        first = _Solution(*(np.tile(a, families) for a in first))
        right_0 = right = np.tile(right, families)
        solution = first
        images = [self._image(right, solution, penalty)]
        solutions, bounds = [solution.x], [solution.bound]
        for t in range(xi.shape[1]):
            step = np.repeat(xi[:, t], m)
            right = (1.0 - step) * right_0 + step * images[-1]
            start = (1.0 - step) * first.x + step * solution.x
            residual = (1.0 - step) * first.residual - (step * penalty) * solution.x
            if seen is not None and penalty <= self._size:  # else the student is far smaller, and rounding would show
                seen.project(start, residual)
            inherited = np.abs(step) * self._largest_filter(penalty) * solution.bound
            solution = self._solve(right, start, residual, penalty, scale)
            solution = solution._replace(bound=solution.bound + inherited)
            images.append(self._image(right, solution, penalty))
            solutions.append(solution.x)
            bounds.append(solution.bound)
        return self._solved(solutions, images, bounds, families, with_fits)

    def _image(self, right: np.ndarray, solution: _Solution, penalty: float) -> np.ndarray:
        """N x, without a product where that loses no digits."""
        if penalty > self._size:
            return self._apply(solution.x)
        return right - solution.residual - penalty * solution.x

    def _solved(
        self,
        solutions: list[np.ndarray],
        images: list[np.ndarray],
        bounds: list[np.ndarray],
        families: int,
        with_fits: bool,
    ) -> Solved:
        """In the shapes of the protocol, from (side, families · m) of every step; images are N times the solutions."""

        def shaped(arrays: list[np.ndarray]) -> np.ndarray:
            stacked = np.stack(arrays)  # (k+1, ..., families · m)
            targets = stacked.shape[-1] // families
            return np.moveaxis(stacked.reshape(*stacked.shape[:-1], families, targets), -2, 0)

        if self._is_primal:
            pairs = zip(solutions, images, strict=True)
            norms = np.sqrt([np.maximum(_dots(x, image), 0.0) for x, image in pairs])
        else:
            norms = np.array([np.linalg.norm(image, axis=0) for image in images])
        errors = np.divide(bounds, norms, out=np.zeros(norms.shape), where=norms > 0)
        if errors.max(initial=0.0) > INEXACT * self._tol:
            raise Stalled(f"Rounding leaves relative errors of {errors.max():.2g}.")
        fits = images
        if self._is_primal:
            fits = [self._operator.product(x) if with_fits else x[:0] for x in solutions]
        elif isinstance(self._operator, DesignOperator):
            solutions = [self._operator.transposed(x) for x in solutions]
        return Solved(shaped(solutions), shaped(fits), shaped(list(errors)))

    def _largest_filter(self, penalty: float) -> float:
        """A bound of d / (d + lam); twice the largest Rayleigh quotient is one for d in all but contrived cases."""
        return min(1.0, 2.0 * self._size / (self._size + penalty))

    def _rounding(self, x: np.ndarray, penalty: float) -> np.ndarray:
        """The effect on the fits (c,) of a residual that is rounding alone."""
        gain = 1.0
        if self._is_primal:
            gain = 0.5 / np.sqrt(penalty) if penalty < self._size else np.sqrt(self._size) / (self._size + penalty)
        return ROUNDING * self._size * gain * np.linalg.norm(x, axis=0)

    def _preconditioner(self, penalty: float, solves: int) -> np.ndarray | None:
        """M (side, 1), the diagonal of the system where it is so uneven that this many solves without M take longer."""
        operator = self._operator
        if isinstance(operator, DesignOperator) and self._is_primal:
            diagonal = operator.column_squares
        else:
            diagonal = operator.diagonal()
        if diagonal is None or diagonal.max() + penalty <= UNEVEN * solves**2 * (diagonal.min() + penalty):
            return None
        return (diagonal + penalty)[:, None]

    def _apply(self, x: np.ndarray) -> np.ndarray:
        """X_sᵀ X_s x, X_s X_sᵀ x or K_s x."""
        if isinstance(self._operator, KernelOperator):
            return self._operator.product(x)
        if self._is_primal:
            return self._operator.transposed(self._operator.product(x))
        return self._operator.product(self._operator.transposed(x))

    def _solve(
        self,
        right: np.ndarray,
        start: np.ndarray,
        residual: np.ndarray,
        penalty: float,
        scale: np.ndarray | None,
        seen: _Directions | None = None,
    ) -> _Solution:
        """(N + lam I) x = right (side, c) from `start`, of a known residual; `seen` takes the directions."""
        out = _Solution(start.copy(), residual.copy(), np.zeros(right.shape[1]))
        active = np.flatnonzero(residual.any(axis=0))
        columns = right[:, active], start[:, active], residual[:, active]
        run = _Run(*columns, penalty, scale, is_primal=self._is_primal)
        for done in range(self._max_iterations):
            bound = run.bound(self._largest_filter(penalty) if done else 1.0)
            small = bound <= self._own_tol * run.fit_norms()
            if small.any():
                which = active[small]
                out.x[:, which], out.residual[:, which], out.bound[which] = (
                    run.x[:, small],
                    run.r[:, small],
                    bound[small],
                )
                active = active[~small]
                run.leave_out(small)
            if not active.size:
                return out._replace(bound=out.bound + self._rounding(out.x, penalty))
            direction = run.p.copy() if seen is not None else run.p
            image = self._apply(run.p)
            largest, curvature = run.step(image)
            self._size = max(self._size, largest)
            if seen is not None:
                seen.add(active, direction, image, curvature)
        raise Stalled(f"No convergence in {self._max_iterations} iterations.")


class _Directions:
    """Of the first solve, p_iᵀ (N + lam I) p_j = 0: a later step starts from its best solution among these."""

    def __init__(self, width: int) -> None:
        self._width = width  # columns of the first solve
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self._entries = 0

    def add(self, columns: np.ndarray, direction: np.ndarray, image: np.ndarray, curvature: np.ndarray) -> None:
        """One direction (side, c) for each of these columns, its image by N + lam I, and pᵀ (N + lam I) p."""
        self._entries += direction.size + image.size
        if self._entries <= MOST_ENTRIES:
            self._parts.append((columns, direction, image, curvature))

    def project(self, x: np.ndarray, residual: np.ndarray) -> None:
        """Of the same columns, once or several times beside one another; both arrays are changed."""
        for columns, direction, image, curvature in self._parts:
            for first in range(0, x.shape[1], self._width):
                which = first + columns
                share = _dots(direction, residual[:, which]) / curvature
                x[:, which] += share * direction
                residual[:, which] -= share * image


class _Run:
    """Preconditioned conjugate gradients of several independent columns, and the Gauss–Radau bound of each."""

    def __init__(
        self,
        right: np.ndarray,
        start: np.ndarray,
        residual: np.ndarray,
        penalty: float,
        scale: np.ndarray | None,
        *,
        is_primal: bool,
    ) -> None:
        self._penalty, self._scale, self._is_primal = penalty, scale, is_primal
        self._mu = penalty if scale is None else penalty / float(scale.max())
        self.right, self.x, self.r = (np.array(a, order="C") for a in (right, start, residual))
        self.z = self.r if scale is None else self.r / scale
        self.p = self.z.copy()
        self.rz = _dots(self.r, self.z)
        self.radau = np.full(right.shape[1], 1.0 / self._mu)

    def bound(self, largest_filter: float) -> np.ndarray:
        """Of the error of the fits (c,)."""
        if self._is_primal:
            return np.sqrt(largest_filter * self.radau * self.rz)
        return largest_filter * np.linalg.norm(self.r, axis=0)

    def fit_norms(self) -> np.ndarray:
        """‖X x‖ or ‖K x‖ (c,), without a product; of a kernel at least what rounding makes of zero."""
        image = self.right - self.r
        image -= self._penalty * self.x
        if self._is_primal:
            return np.sqrt(np.maximum(_dots(image, self.x), 0.0))
        return np.maximum(np.linalg.norm(image, axis=0), EPS * np.linalg.norm(self.right, axis=0))

    def leave_out(self, which: np.ndarray) -> None:
        """Columns that have converged."""
        for name in ("right", "x", "r", "p", "z"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:, ~which]))
        self.rz, self.radau = self.rz[~which], self.radau[~which]

    def step(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """By N p, which becomes (N + lam I) p.

        Returns a lower bound of the largest eigenvalue of N, and pᵀ (N + lam I) p (c,).
        """
        squares, of_image = _dots(self.p, self.p), _dots(self.p, image)
        curvature = of_image + self._penalty * squares
        alpha = self.rz / curvature
        image += self._penalty * self.p
        self.x += alpha * self.p
        self.r -= alpha * image
        if self._scale is None:
            self.z = self.r
        else:
            np.divide(self.r, self._scale, out=self.z)
        rz = _dots(self.r, self.z)
        beta = rz / self.rz
        rest = self.radau - alpha
        sound = rest > 0  # where rounding has undone it, the cruder bound ‖r‖² / mu
        cruder = np.full_like(rest, 1.0 / self._mu)
        self.radau = np.divide(rest, self._mu * rest + beta, out=cruder, where=sound)
        self.rz = rz
        self.p *= beta
        self.p += self.z
        return float((of_image / squares).max()), curvature


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products (c,) of the columns."""
    return np.einsum("ij,ij->j", a, b)
