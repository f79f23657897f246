"""Many small ridge problems in one call: every student of every problem, b_t = A⁻¹ ((1 − ξ_t) Xᵀy + ξ_t XᵀX b_{t−1}).

The students are those of ``Spectrum.from_design(X[i]).path(y[i], lam[i], xi)`` to 1e-9. Each problem takes one Cholesky
factor of A = XᵀX + λI (`fastdistill.kernels.batched_students`) where that is accurate enough, and a `Spectrum` where it
is not.

==========================  ==================================
paper                       here
==========================  ==================================
P: imitation parameter ξ_t  ``xi[t - 1]``
==========================  ==================================

Cost: O(n p² + p³ + k p²) a problem, some microseconds for 64 × 8, where one call of any estimator takes hundreds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.compiled import compiled_kernels
from fastdistill.spectral.spectrum import Spectrum

CHUNK_ENTRIES = 2**16  # entries of X that one call of the kernel works on: half a megabyte, within a core's own cache


class BatchedStudents(NamedTuple):
    """Students 0..k of every problem: predictions are ``X[i] @ coef[i, t] + intercept[i, t]``."""

    coef: np.ndarray  # (B, k+1, p[, m])
    intercept: np.ndarray  # (B, k+1[, m])


class _Problems(NamedTuple):
    """Checked arguments of `batched_path`."""

    X: np.ndarray  # (B, n, p)
    y: np.ndarray  # (B, n, m)
    lam: np.ndarray  # (B,)
    xi: np.ndarray  # (B or 1, k)
    weight: np.ndarray | None  # (B or 1, n)
    fit_intercept: bool

    def of(self, chunk: slice) -> _Problems:
        """The problems of `chunk`; a single row of `xi` or `weight` serves them all."""
        xi = self.xi if len(self.xi) == 1 else self.xi[chunk]
        weight = self.weight if self.weight is None or len(self.weight) == 1 else self.weight[chunk]
        return _Problems(self.X[chunk], self.y[chunk], self.lam[chunk], xi, weight, self.fit_intercept)


def batched_path(
    X: Any,
    y: Any,
    lam: Any,
    xi: Any,
    n_steps: int | None = None,
    *,
    fit_intercept: bool = False,
    sample_weight: Any = None,
    n_threads: int | None = None,
) -> BatchedStudents:
    """Students 0..k of B independent problems of one shape: b_t = A⁻¹ ((1 − ξ_t) Xᵀy + ξ_t XᵀX b_{t−1}), A = XᵀX + λI.

    Parameters
    ----------
    X : array-like (B, n, p)
    y : array-like (B, n) or (B, n, m)
    lam : float or array-like (B,)
        The penalty of every problem, or one for each; at least 0.
    xi : float, array-like (k,) or (B, k)
        Imitation weights of every problem, or a schedule for each; a scalar needs `n_steps`.
    n_steps : int, optional
        k, for a scalar `xi`.
    fit_intercept : bool
    sample_weight : array-like (n,) or (B, n), optional
        Non-negative, positive somewhere in every problem.
    n_threads : int, optional
        By default as many as the process may use; the results do not depend on it.

    Returns
    -------
    BatchedStudents
        ``coef`` (B, k+1, p[, m]) and ``intercept`` (B, k+1[, m]), zero without one; float32 only for float32 `X`.

    Raises
    ------
    ValueError
        NaN or inf, a negative penalty or weight, shapes that do not match; a problem whose squares overflow.
    TypeError
        `X` sparse, or no numbers.

    Notes
    -----
    O(n p² + p³ + k p² m) a problem. A problem with λ = 0 and dependent columns, or any other whose columns' mean
    variance inflation, penalty included, exceeds 1e5 / p goes through `Spectrum.from_design`, which takes some hundred
    times longer and gives the least-norm students. From compiled code call `fastdistill.kernels.batched_students`, or
    `ridge_students` for one problem at a time.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((1000, 64, 8)), rng.standard_normal((1000, 64))
    >>> students = fd.batched_path(X, y, lam=1.0, xi=[1.0, 0.5, -1.0], fit_intercept=True)
    >>> students.coef.shape, students.intercept.shape
    ((1000, 4, 8), (1000, 4))
    """
    dtype = validation.result_dtype(X)
    problems, is_single = _checked(X, y, lam, xi, n_steps, fit_intercept, sample_weight)
    goals, scale = validation.in_units(problems.y)
    problems = problems._replace(y=goals)
    n_threads = validation.thread_count(n_threads)
    n_problems, n, p = problems.X.shape
    steps, m = problems.xi.shape[1] + 1, problems.y.shape[2]
    students = BatchedStudents(np.empty((n_problems, steps, p, m)), np.empty((n_problems, steps, m)))
    size = max(1, CHUNK_ENTRIES // (n * p))
    chunks = [slice(start, start + size) for start in range(0, n_problems, size)]

    def solve(chunk: slice) -> None:
        students.coef[chunk], students.intercept[chunk] = _solved(problems.of(chunk), chunk.start)

    if n_threads == 1 or len(chunks) == 1:
        for chunk in chunks:
            solve(chunk)
    else:
        with ThreadPoolExecutor(min(n_threads, len(chunks))) as pool:
            list(pool.map(solve, chunks))
    parts = (
        validation.held(part, what, dtype, scale, 1)
        for part, what in zip(students, ("coefficients", "intercepts"), strict=True)
    )
    return BatchedStudents(*(part[..., 0] if is_single else part for part in parts))


def _checked(
    X: Any, y: Any, lam: Any, xi: Any, n_steps: int | None, fit_intercept: bool, sample_weight: Any
) -> tuple[_Problems, bool]:
    """The checked arguments, and whether y came without the m axis."""
    rows = validation.real_array(X, "X", ndim=3)
    if rows.size == 0:
        raise ValueError(f"X is empty: shape {rows.shape}; at least one problem, sample and feature are needed.")
    validation.each_sized(rows, "X")
    goals = validation.sized(validation.real_array(y, "y", ndim=(2, 3)), "y", validation.LARGEST_LINEAR)
    is_single = goals.ndim == 2
    goals = goals[:, :, None] if is_single else goals
    if goals.shape[:2] != rows.shape[:2] or goals.shape[2] == 0:
        raise ValueError(f"y must have shape (B, n) or (B, n, m) for X (B, n, p) = {rows.shape}, got {np.shape(y)}.")
    penalty = validation.penalties(lam)
    if penalty.ndim == 1 and len(penalty) != len(rows):
        raise ValueError(f"lam must be a number or one for each of the {len(rows)} problems, got {len(penalty)}.")
    schedules = np.atleast_2d(validation.schedule(xi, n_steps))
    if np.ndim(xi) == 2 and len(schedules) != len(rows):
        raise ValueError(f"A 2-D xi must hold a schedule for each of the {len(rows)} problems, got {len(schedules)}.")
    weight = validation.batched_weights(sample_weight, len(rows), rows.shape[1])
    intercept = validation.boolean(fit_intercept, "fit_intercept")
    return _Problems(rows, goals, np.broadcast_to(penalty, len(rows)), schedules, weight, intercept), is_single


def _solved(problems: _Problems, first: int) -> tuple[np.ndarray, np.ndarray]:
    """coef (b, k+1, p, m) and intercept (b, k+1, m); errors count problems from `first`."""
    # copies: writeable and contiguous, the one kind that the kernel is compiled for
    X, y, lam, xi = (np.array(part, order="C") for part in problems[:4])
    weight = np.ones((1, X.shape[1])) if problems.weight is None else np.array(problems.weight, order="C")
    steps = xi.shape[1] + 1
    coef = np.empty((len(X), steps, X.shape[2], y.shape[2]))
    intercept, inflation = np.empty((len(X), steps, y.shape[2])), np.empty(len(X))
    kernels = compiled_kernels()
    with np.errstate(all="ignore"):  # what overflows is not used; only interpreted kernels warn
        kernels.batched_students(X, y, weight, lam, xi, problems.fit_intercept, coef, intercept, inflation)
    for i in np.flatnonzero(~(inflation <= kernels.LARGEST_INFLATION)):
        try:
            coef[i], intercept[i] = _by_spectrum(problems.of(slice(i, i + 1)))
        except ValueError as err:
            raise ValueError(f"Problem {first + i}: {err}") from None
    return coef, intercept


def _by_spectrum(problem: _Problems) -> tuple[np.ndarray, np.ndarray]:
    """coef (k+1, p, m) and intercept (k+1, m) of one problem, by its `Spectrum`."""
    weight = None if problem.weight is None else problem.weight[0]
    path = Spectrum.from_design(problem.X[0], problem.fit_intercept, weight).path(
        problem.y[0], problem.lam[0], problem.xi[0]
    )
    return path.coef, path.intercept
