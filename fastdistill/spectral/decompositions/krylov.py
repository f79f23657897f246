"""Students of all penalties, weights and steps from one Krylov basis, without a decomposition of the whole.

The dual coefficients a_t of student t are a function of K_s applied to y_s, so all of them lie in the Krylov space of
K_s and y_s (the primal ones in that of X_sᵀ X_s and X_sᵀ y_s). With an orthonormal basis V (·, j) of that space and the
projected matrix T = Vᵀ K V = Q diag(d) Qᵀ, b = ‖b‖ V e₁ the start::

    z = ‖b‖ Q[0, :]      a_t = V Q (f_t(d)/d ∘ z)      residual of step t: ρ_t = β_j (Q (f_t/d ∘ z))_j

* A design with n < p: b = y_s, K = X_s X_sᵀ, a dual; coefficients X_sᵀ a, fits V Q (f ∘ z).
* A design with p ≤ n: b = X_sᵀ y_s, K = X_sᵀ X_s, so that a is the primal β; fits X_s β.
* A kernel: b = y_s, K = K_s, fits V Q (f ∘ z).

For a design T = L Lᵀ comes from the Golub–Kahan bidiagonalisation, d = s² from the SVD of L, so that no digits are lost
by squaring X. Only the vectors on the *smaller* side of X are stored and reorthogonalised: on designs with singular
values from 1 to 1e-12 and lam from 1e-2 to 1e-10 the fits were as exact as with both sides (4e-12 at lam = 1e-10), the
coefficients too (6e-11), for n < p up to seven times less (3e-10 against 5e-11), at min(n, p) / (n + p) of the
memory.
Several targets have a basis each and share the products: 0.36 of the time of one after the other for ten targets and a
dense kernel of 2000, 0.7–0.8 for a sparse design (and 1.1–1.35 for two targets).

Error. Rounding apart, the fit of a step is off by what its teacher is off and by the effect of its residual::

    E_t ≤ |ξ_t| max(a) E_{t−1} + γ |ρ_t − ξ_t ρ_{t−1}|   γ = max s / (s² + lam) ≤ 1 / (2 sqrt(lam))     (p ≤ n)
    E_t ≤ |ξ_t| max(a) E_{t−1} + |ρ_t|                                                        (kernel, or n < p)

This bound, divided by ‖fit‖, decides when the basis is large enough for every student (`tol`), and is reported as the
error; of a kernel together with the effect of its rounding, 4 eps ‖K‖ ‖a‖, which no further step can mend. Measured, it
is 1.5 to 7 times the true error (p ≤ n), 2 to 100 times (n < p; 4000 where the students all but interpolate). For lam
far below the smallest s² found, γ takes half the smallest s once that has settled; a design with still smaller ones, of
which y shows nothing, would then be missed.

Cost: a product with X and one with X_sᵀ a step (one with K), 4 · min(n, p) · j flops for the orthogonality of vector j,
O(j³) for a check, min(n, p) · 8 bytes of memory a step, and the students themselves. One thread, `tol` 1e-8:

===============================================================  =========  =====  ============================
problem                                                          seconds    steps  beside it
===============================================================  =========  =====  ============================
CSR 5000 × 20 000, 0.2 %: 20 penalties 0.01..100, 3 students     0.053      37     ``Ridge(tol=1e-8)`` 0.028
CSR 200 000 × 50 000, 1e7 values: 5 penalties, 3 students        1.9        32     peak 1.9 × the data's memory
RBF kernel of 2000, 3 penalties ≥ 0.1, `tol` 1e-6                0.11       66     ``scipy.linalg.eigh`` 1.26
===============================================================  =========  =====  ============================

A kernel evaluated by rows takes 9 ns an entry and step for an RBF of five columns (50 steps of 20 000² for penalties
≥ 1), and the memory of a block (8 MiB and what the function itself allocates) and of the basis: 50 MB for n = 100 000.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.linalg

from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.decompositions.operators import DesignOperator, KernelOperator
from fastdistill.spectral.decompositions.solved import Solved

EPS = float(np.finfo(np.float64).eps)
# A new vector this small beside the operator is rounding: the space is invariant and the students are exact.
BREAKDOWN = 10 * EPS
ROUNDING = 4 * EPS  # of a kernel, relative to its norm
# Reorthogonalise once more where the first time took away more than this share of the vector.
ONCE_MORE = 1e-4
BLOCK_VECTORS = 32  # vectors that the stored basis grows by
SMALLEST_BUDGET = 2**26  # bytes of basis always allowed; beyond, at most as much as the data take
FIRST_CHECK, GROWTH = 6, 1.12  # steps before the first check, and from one check to the next
MOST_STEPS = 1000  # the last check of so many takes a second
MANY_NODES = 40  # of a quadrature, beyond which the SVD of a bidiagonal matrix takes too long
EXPECTED_STEPS = 100  # of a basis, when targets are grouped to fit the budget


class Ritz(NamedTuple):
    """T = Q diag(d) Qᵀ after j steps."""

    d: np.ndarray  # (j,)
    vectors: np.ndarray  # Q (j, j)
    coupling: float  # β_j, 0 where the space is invariant


class _Basis(Protocol):
    """A growing basis of one start vector."""

    norm: float
    is_exact: bool

    def __len__(self) -> int: ...
    def ritz(self) -> Ritz: ...
    def combined(self, coordinates: np.ndarray) -> np.ndarray: ...


class _Vectors:
    """Orthonormal vectors of length n, stored in blocks so that growing copies nothing."""

    def __init__(self, n: int) -> None:
        self._n, self._count = n, 0
        self._blocks: list[np.ndarray] = []

    def __len__(self) -> int:
        return self._count

    def append(self, vector: np.ndarray) -> None:
        if self._count % BLOCK_VECTORS == 0:
            self._blocks.append(np.empty((BLOCK_VECTORS, self._n)))
        self._blocks[-1][self._count % BLOCK_VECTORS] = vector
        self._count += 1

    def _filled(self) -> list[np.ndarray]:
        return [block[: self._count - i * BLOCK_VECTORS] for i, block in enumerate(self._blocks)]

    def orthogonalise(self, vector: np.ndarray) -> float:
        """Take the stored vectors out of `vector`, in place; its norm afterwards."""
        before = float(np.linalg.norm(vector))
        for _ in range(3):
            taken = 0.0
            for block in self._filled():
                parts = block @ vector
                vector -= parts @ block
                taken += float(parts @ parts)
            norm = float(np.linalg.norm(vector))
            if taken <= (ONCE_MORE * norm) ** 2 or norm <= EPS * before:
                break
        return norm

    def combined(self, coordinates: np.ndarray) -> np.ndarray:
        """coordinates (S, j) @ the first j vectors: (S, n)."""
        out = np.zeros((len(coordinates), self._n))
        start = 0
        for block in self._filled():
            part = coordinates[:, start : start + len(block)]
            out += part @ block[: part.shape[1]]
            start += len(block)
        return out


class _Growing:
    """What the bases share: the vectors, their couplings, and when the space is invariant."""

    def __init__(self, start: np.ndarray, *, keeps: bool) -> None:
        self.norm = float(np.linalg.norm(start))
        self.is_exact = self.norm == 0.0
        self.vector = start / self.norm if self.norm else start  # the next to be multiplied
        self.off: list[float] = []  # β_1, ..., β_j
        self.size = 0.0  # of the operator, a lower bound
        self._vectors = _Vectors(len(start)) if keeps else None
        if self._vectors is not None:
            self._vectors.append(self.vector)

    def __len__(self) -> int:
        return len(self.off)

    def combined(self, coordinates: np.ndarray) -> np.ndarray:
        assert self._vectors is not None
        return self._vectors.combined(coordinates)

    def _append(self, vector: np.ndarray) -> None:
        """The next vector, up to its parts along the stored ones."""
        norm = float(np.linalg.norm(vector)) if self._vectors is None else self._vectors.orthogonalise(vector)
        if norm <= BREAKDOWN * self.size or len(self.off) + 1 >= len(vector):
            norm, self.is_exact = 0.0, True
        else:
            self.vector = vector / norm
            if self._vectors is not None:
                self._vectors.append(self.vector)
        self.off.append(norm)


class _Lanczos(_Growing):
    """T (j, j) tridiagonal of a kernel: K V = V T + β_j v_{j+1} e_jᵀ."""

    def __init__(self, start: np.ndarray, *, keeps: bool) -> None:
        super().__init__(start, keeps=keeps)
        self._diagonal: list[float] = []
        self._before: np.ndarray | None = None

    def extend(self, image: np.ndarray) -> None:
        """By K v of the current vector."""
        diagonal = float(self.vector @ image)
        image -= diagonal * self.vector
        if self._before is not None:
            image -= self.off[-1] * self._before
        self._before = self.vector
        self._diagonal.append(diagonal)
        self.size = max(self.size, abs(diagonal), self.off[-1] if self.off else 0.0)
        self._append(image)

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """d and the first row of Q."""
        ritz = self.ritz()
        return ritz.d, ritz.vectors[0]

    def ritz(self) -> Ritz:
        if not self.off:
            return Ritz(np.zeros(0), np.zeros((0, 0)), 0.0)
        d, vectors = scipy.linalg.eigh_tridiagonal(self._diagonal, self.off[:-1])
        largest = float(np.abs(d).max())
        if self._vectors is not None and d[0] < -1e-8 * largest:
            raise ValueError(
                f"K must be positive semi-definite: an eigenvalue is at most {d[0]:.6g}, its largest at least "
                f"{largest:.6g} (allowed: {-1e-8 * largest:.3g}). Check the kernel, or clip its eigenvalues."
            )
        d[d <= len(self.vector) * EPS * largest] = 0.0
        return Ritz(d, vectors, self.off[-1])


class _Bidiagonal(_Growing):
    """L (j, j) lower bidiagonal of a design F: F V = U Lᵀ, Fᵀ U = V L + β_j v_{j+1} e_jᵀ, so that T = L Lᵀ."""

    def __init__(self, start: np.ndarray, *, keeps: bool) -> None:
        super().__init__(start, keeps=keeps)
        self._diagonal: list[float] = []
        self.other: np.ndarray | None = None  # u_j
        self._last: tuple[int, Ritz] | None = None  # by their number of steps
        self._smallest: list[tuple[int, float]] = []  # singular values above rounding, at the steps they were seen

    def turn(self, image: np.ndarray) -> None:
        """By F v of the current vector; the space is invariant where nothing is left of it."""
        if self.other is not None:
            image -= self.off[-1] * self.other
        norm = float(np.linalg.norm(image))
        self.size = max(self.size, norm, self.off[-1] if self.off else 0.0)
        if norm <= BREAKDOWN * self.size:
            norm, self.is_exact = 0.0, True
            self.off.append(0.0)
        else:
            self.other = image / norm
        self._diagonal.append(norm)

    def extend(self, image: np.ndarray) -> None:
        """By Fᵀ u of the vector on the other side."""
        image -= self._diagonal[-1] * self.vector
        self._append(image)

    def ritz(self) -> Ritz:
        j = len(self.off)
        if not j:
            return Ritz(np.zeros(0), np.zeros((0, 0)), 0.0)
        if self._last is None or self._last[0] != j:
            factor = np.diag(self._diagonal) + np.diag(self.off[:-1], -1)
            vectors, s, _ = scipy.linalg.svd(factor, check_finite=False)
            s[s <= len(self.vector) * EPS * s[0]] = 0.0
            self._smallest.append((j, float(s.min(initial=np.inf, where=s > 0.0))))
            self._last = j, Ritz(np.square(s), vectors, self._diagonal[-1] * self.off[-1])
        return self._last[1]

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """d and the first row of Q by T itself: the squares of small d lose digits that no trace needs, in O(j²)."""
        diagonal, off = np.array(self._diagonal), np.array(self.off[:-1])
        squares = np.square(diagonal)
        squares[1:] += np.square(off)
        d, vectors = scipy.linalg.eigh_tridiagonal(squares, diagonal[:-1] * off)
        return d, vectors[0]

    def smallest_settled(self) -> float:
        """Half the smallest singular value seen, where it has not moved in the last eighth of the steps; else 0."""
        j, now = self._smallest[-1]
        before = next((s for i, s in reversed(self._smallest) if i <= j - 1 - j // 8), np.inf)
        return 0.5 * now if before <= 1.1 * now < np.inf else 0.0


class Krylov:
    """Students of all penalties, weights and steps in the Krylov space of one set of targets.

    Parameters
    ----------
    operator : DesignOperator or KernelOperator
    tol : float
        Largest relative error of a fit.
    max_steps : int, optional
        By default as many as min(n, p), as the basis fits in three quarters of the memory of the data, or 64 MiB, and
        `MOST_STEPS`.
    """

    def __init__(self, operator: DesignOperator | KernelOperator, tol: float = 1e-8, max_steps: int | None = None):
        self._operator, self._tol = operator, tol
        n, width = operator.shape
        self._is_kernel = isinstance(operator, KernelOperator)
        self._is_primal = not self._is_kernel and width <= n
        self._side = width if self._is_primal else n
        self._budget = max(SMALLEST_BUDGET, operator.nbytes * 3 // 4)
        steps = max(2, self._budget // (8 * max(1, self._side)))
        self._max_steps = min(self._side, steps, MOST_STEPS) if max_steps is None else max_steps
        self._y: np.ndarray | None = None  # the targets of the bases that are kept
        self._bases: list[Any] = []

    def students(
        self, y_s: np.ndarray, lam: np.ndarray, xi: np.ndarray, *, with_fits: bool = True, warns: bool = True
    ) -> Solved:
        """Students (P, k+1) of penalties lam (P,) and weights xi (P, k), targets y_s (n, m).

        Without fits their array may have no rows. `warns` where an error stays above the tolerance.

        The bases of the last targets are kept, and extended when a smaller penalty needs more of them; of so many
        targets that their bases would not fit the budget none is kept.
        """
        lam, xi = np.ascontiguousarray(lam, dtype=np.float64), np.ascontiguousarray(xi, dtype=np.float64)
        m, shape = y_s.shape[1], (*xi.shape[:1], xi.shape[1] + 1)
        students = len(lam) * shape[1]
        height = max(1, self._budget // (8 * self._side * min(EXPECTED_STEPS, self._max_steps)))
        rotated = np.empty((students, m, self._side))
        fits = None if self._is_primal else np.empty_like(rotated)
        bounds, errors = np.empty((*shape, m)), np.empty((*shape, m))
        for first in range(0, m, height):
            bases = self._started(y_s, first, min(m, first + height))
            self._grow(bases, lam, xi)
            for i, basis in enumerate(bases, first):
                ritz = basis.ritz()
                coordinates, bounds[..., i] = self._coordinates(basis, ritz, lam, xi)
                errors[..., i] = bounds[..., i] + self._rounding(ritz, coordinates)
                flat = coordinates.reshape(students, -1)
                rotated[:, i] = basis.combined(flat @ ritz.vectors.T)
                if fits is not None:
                    fits[:, i] = basis.combined((ritz.d * flat) @ ritz.vectors.T)
            if height < m:
                self._y, self._bases = None, []
        if warns:
            self._warn(bounds, lam)
        return self._solved(rotated.reshape(*shape, m, -1), fits, errors, with_fits)

    def _solved(self, rotated: np.ndarray, fits: np.ndarray | None, errors: np.ndarray, with_fits: bool) -> Solved:
        """In the shapes of the protocol, with the side that was not stored."""
        families, size, m, side = rotated.shape
        operator = self._operator

        def other_side(apply: Any) -> np.ndarray:
            product = apply(np.ascontiguousarray(rotated.reshape(-1, side).T))
            return np.moveaxis(product.reshape(-1, families, size, m), 0, 2)

        coefficients = np.moveaxis(rotated, 2, 3)
        if fits is None:
            return Solved(coefficients, other_side(operator.product) if with_fits else coefficients[..., :0, :], errors)
        fitted = np.moveaxis(fits.reshape(rotated.shape), 2, 3)
        if isinstance(operator, DesignOperator):
            coefficients = other_side(operator.transposed)
        return Solved(coefficients, fitted, errors)

    def _started(self, y_s: np.ndarray, first: int, stop: int) -> list[Any]:
        """Bases of the targets first..stop: those kept, or new ones."""
        if self._y is None or not np.array_equal(self._y, y_s):
            targets = y_s[:, first:stop]
            operator, start = self._operator, targets
            if isinstance(operator, DesignOperator) and self._is_primal:
                start = operator.transposed(targets)
            self._bases = [self._basis(start[:, i], keeps=True) for i in range(stop - first)]
            self._y = y_s.copy()
        return self._bases

    def _basis(self, start: np.ndarray, *, keeps: bool) -> Any:
        kind = _Lanczos if self._is_kernel else _Bidiagonal
        return kind(np.ascontiguousarray(start, dtype=np.float64), keeps=keeps)

    def _grow(self, bases: list[Any], lam: np.ndarray, xi: np.ndarray) -> None:
        """Extend every basis until all its students are within the tolerance; the smallest penalty decides first."""
        hardest = lam == lam.min(initial=np.inf)
        left = [basis for basis in bases if not self._within(basis, lam, xi, hardest)]
        while left:
            length = min(len(basis) for basis in left)
            self._advance(left, max(FIRST_CHECK, int(GROWTH * length) + 2) - length)
            left = [b for b in left if len(b) < self._max_steps and not self._within(b, lam, xi, hardest)]

    def _within(self, basis: Any, lam: np.ndarray, xi: np.ndarray, hardest: np.ndarray) -> bool:
        if basis.is_exact:
            return True
        if not len(basis):
            return False
        ritz = basis.ritz()
        return all(
            self._coordinates(basis, ritz, lam[which], xi[which])[1].max(initial=0.0) <= self._tol
            for which in (hardest, ~hardest)
            if which.any()
        )

    def _advance(self, bases: list[Any], steps: int) -> None:
        """Extend the bases by some steps; they share the products."""
        operator = self._operator
        for _ in range(steps):
            bases = [basis for basis in bases if not basis.is_exact and len(basis) < self._max_steps]
            if isinstance(operator, DesignOperator):
                forward, back = operator.transposed, operator.product
                if self._is_primal:
                    forward, back = back, forward
                for basis, image in _images(forward, bases, "vector"):
                    basis.turn(image)
                bases = [basis for basis in bases if not basis.is_exact]
                for basis, image in _images(back, bases, "other"):
                    basis.extend(image)
            else:
                for basis, image in _images(operator.product, bases, "vector"):
                    basis.extend(image)
            if not bases:
                return

    def _coordinates(self, basis: Any, ritz: Ritz, lam: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f/d ∘ z (P, k+1, j) of every student, and the bounds (P, k+1) of the relative errors of their fits."""
        out = _filters(ritz.d, lam, xi, "DUAL")
        if not ritz.d.size:
            return out, np.zeros(out.shape[:2])
        out *= basis.norm * ritz.vectors[0]
        norms = np.linalg.norm(out * (np.sqrt(ritz.d) if self._is_primal else ritz.d), axis=2)
        residual = ritz.coupling * (out @ ritz.vectors[-1])
        if self._is_primal:
            residual[:, 1:] -= xi * residual[:, :-1].copy()
            gain = self._gain(basis, ritz.d, lam)[:, None]
            residual = np.multiply(residual, gain, out=np.zeros_like(residual), where=residual != 0.0)
        if not self._is_kernel:
            out[..., ritz.d == 0.0] = 0.0  # no direction of X_s: what rounding leaves of it would be divided by lam
        errors = np.abs(residual)
        with np.errstate(divide="ignore", invalid="ignore"):
            carry = np.abs(xi) / (1.0 + np.nan_to_num(lam / _largest(ritz.d)))[:, None]
        for t in range(1, errors.shape[1]):
            errors[:, t] += carry[:, t - 1] * errors[:, t - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return out, np.where(errors == 0.0, 0.0, errors / norms)

    def _rounding(self, ritz: Ritz, coordinates: np.ndarray) -> np.ndarray:
        """What rounding a kernel moves its fits by, relatively (P, k+1); a design is not squared and loses less."""
        if not (self._is_kernel and ritz.d.any()):
            return np.zeros(coordinates.shape[:2])
        sizes, fits = np.linalg.norm(coordinates, axis=2), np.linalg.norm(coordinates * ritz.d, axis=2)
        return ROUNDING * ritz.d.max() * np.divide(sizes, fits, out=np.zeros_like(fits), where=fits > 0)

    @staticmethod
    def _gain(basis: Any, d: np.ndarray, lam: np.ndarray) -> np.ndarray:
        """max s / (s² + lam) over the singular values that X_s can have, (P,)."""
        root = np.sqrt(np.minimum(lam, _largest(d)))
        if lam.min() < 0.25 * d[d > 0].min(initial=np.inf):
            # far below the squares of those found: bound those that there are, not those that there could be
            root = np.maximum(root, basis.smallest_settled())
        bottom = np.square(root) + lam
        return np.divide(root, bottom, out=np.full(len(lam), np.inf), where=bottom > 0)

    def _warn(self, errors: np.ndarray, lam: np.ndarray) -> None:
        """Of students whose error is above the tolerance."""
        if errors.size and errors.max() > self._tol:
            which = np.flatnonzero(errors.max(axis=(1, 2)) > self._tol)
            warnings.warn(
                f"{self._max_steps} Krylov steps leave fits with relative errors of up to {errors.max():.2g}, above "
                f"tol={self._tol:.2g}, for penalties up to {lam[which].max():.3g}. Raise max_steps, raise the smallest "
                "penalty, loosen tol, or use a decomposition.",
                RuntimeWarning,
                stacklevel=3,
            )

    def traces(
        self, lam: np.ndarray, xi: np.ndarray, random_state: Any = None, n_probes: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Traces (P, k+1) of the students' smoothers and their standard errors, by stochastic Lanczos quadrature.

        The mean of gᵀ f(K) g over vectors g of random signs; each form is a Gauss quadrature of as many nodes as its
        error needs to be a twentieth of the standard error. With at least min(n, p) probes they are the unit vectors:
        exact, standard error 0. `random_state` is a seed or a `numpy.random.Generator`.
        """
        lam, xi = np.ascontiguousarray(lam, dtype=np.float64), np.ascontiguousarray(xi, dtype=np.float64)
        side, exact = self._side, n_probes >= self._side
        rng = np.random.default_rng(random_state)
        probes = np.sqrt(side) * np.eye(side) if exact else rng.choice([-1.0, 1.0], size=(side, n_probes))
        bases = [self._basis(column, keeps=exact) for column in probes.T]
        before = np.full((len(lam), xi.shape[1] + 1), np.inf)
        while True:
            length = max(len(basis) for basis in bases)
            self._advance(bases, max(FIRST_CHECK, int(GROWTH * length) + 2) - length)
            values = np.array([self._quadrature(basis, lam, xi) for basis in bases])
            mean = values.mean(axis=0)
            error = np.zeros_like(mean) if exact else values.std(axis=0, ddof=1) / np.sqrt(n_probes)
            moved = np.abs(mean - before) > np.maximum(self._tol * np.abs(mean), 0.05 * error)
            if not moved.any() or all(b.is_exact or len(b) >= self._max_steps for b in bases):
                return mean, error
            before = mean

    @staticmethod
    def _quadrature(basis: Any, lam: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """gᵀ f(K) g (P, k+1) of the start g."""
        if len(basis) > MANY_NODES:
            d, first = basis.nodes()
        else:
            ritz = basis.ritz()
            d, first = ritz.d, ritz.vectors[0]
        return _filters(np.maximum(d, 0.0), lam, xi, "FILTER") @ np.square(basis.norm * first)


def _largest(d: np.ndarray) -> float:
    """No eigenvalue is larger: twice the largest Ritz value of a few steps, in all but contrived cases."""
    return 2.0 * float(d.max()) if len(d) >= FIRST_CHECK else np.inf


def _images(apply: Any, bases: list[Any], side: str) -> list[tuple[Any, np.ndarray]]:
    """Every basis with the product of its current vector, one product for all."""
    if not bases:
        return []
    images = apply(np.column_stack([getattr(basis, side) for basis in bases]))
    return [(basis, np.ascontiguousarray(images[:, i])) for i, basis in enumerate(bases)]


def _filters(d: np.ndarray, lam: np.ndarray, xi: np.ndarray, form: str) -> np.ndarray:
    """Multipliers (P, k+1, j) of every student."""
    kernels = compiled_kernels()
    out = np.empty((len(lam), xi.shape[1] + 1, len(d)))
    penalties = np.repeat(lam[:, None], out.shape[1], axis=1)
    kernels.student_grid(np.ascontiguousarray(d), penalties, xi, getattr(kernels, form), out)
    return out
