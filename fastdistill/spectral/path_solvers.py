"""Paths without a decomposition: by the solver that `decompositions.choose` or the user names, and what if it fails.

==================  ==================================================================================
solver              what follows in its place, unless the user named it
==================  ==================================================================================
cholesky            condition too large: the decomposition; of large sparse designs the Krylov basis
conjugate_gradients stalled: the same
krylov              error above `ACCEPTED`: the decomposition of a small Gram matrix, otherwise a warning
==================  ==================================================================================

Cost: that of the solver, see `decompositions.choose`.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from fastdistill.spectral.decompositions.cholesky import Cholesky
from fastdistill.spectral.decompositions.choose import EXACT_SIDE, Job, choose, iterations
from fastdistill.spectral.decompositions.conjugate_gradients import ConjugateGradients, Stalled
from fastdistill.spectral.decompositions.krylov import Krylov
from fastdistill.spectral.decompositions.operators import DesignOperator
from fastdistill.spectral.decompositions.solved import Solved
from fastdistill.spectral.decompositions.tridiagonal import Tridiagonal
from fastdistill.spectral.frame import Targets
from fastdistill.spectral.krylov_path import KrylovPath, checked_size
from fastdistill.spectral.path import DistillationPath, checked_penalties, families
from fastdistill.spectral.problems import KernelProblem, Problem
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.queries import Queries
from fastdistill.spectral.solved_path import OnePenaltyPath, TridiagonalPath

# Relative error of the fits of iterative solvers that the user has not named: that of coefficients may be a thousand
# times as large. Beyond the last, another solver is due.
AUTO_TOL, ACCEPTED = 1e-12, 1e-9
# Weights of a schedule multiply to at most this where every step is solved for: each carries the rounding on.
LARGEST_GROWTH = 1e3
ITERATIVE = ("conjugate_gradients", "krylov")
UNEVEN, LARGE = 1e6, 1e8  # squares of columns, beside the smallest of them and beside the penalty
TRACE_TOL = 1e-8  # traces are estimates: their quadrature need not be exact


class PathSolvers:
    """What solves the paths of one problem while it is not decomposed.

    Attributes
    ----------
    problem : Problem
    solver : str
        As the user named it.
    method : str or None
        What solved the last path.
    queries : Queries or None
        How new points enter, since the first path.
    """

    def __init__(self, problem: Problem, solver: str, tol: float) -> None:
        kind = problem.shape.kind
        self.problem, self.solver = problem, "krylov" if kind == "operator" else solver
        self.method: str | None = "krylov" if self.solver == "krylov" else None
        self.queries: Queries | None = None
        self._tol = tol
        self._factors: dict[float, tuple[Cholesky, Queries]] = {}
        self._reduced: tuple[Tridiagonal, Queries] | None = None
        # whether a decomposition can serve where an iterative solver has failed, or cannot say
        self._is_small = kind == "dense" or problem.shape.side <= EXACT_SIDE

    def path(self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, xi: np.ndarray) -> DistillationPath | None:
        """A path of penalties and schedules; None where the decomposition is to make it."""
        if self.solver == "tridiagonal":
            return TridiagonalPath(spectrum, targets, lam, xi, *self._tridiagonal(lam))
        different = np.unique(lam) if lam.ndim else lam.reshape(1)
        factored = sum(known != different[0] for known in self._factors)
        job = Job(len(different), xi.shape[-1], targets.count, 1 if xi.ndim == 1 else len(xi), factored)
        solver = self.solver
        if solver == "auto":
            solver = choose(job, self.problem.shape)
            if solver in ITERATIVE and self._is_small and self._is_uneven(float(different[0])):
                solver = "decomposition"
        if solver == "cholesky" and lam.size == 1:
            factor = self._factor(float(different[0])) if _is_tame(xi) else None
            if factor is not None:
                self.method, self.queries = "cholesky", factor[1]
                masked = self.problem.light_queries() if len(self.problem.frame.light) else None
                return OnePenaltyPath(spectrum, targets, lam, xi, *factor, masked)
            solver = "decomposition" if self._is_small or self.solver == "cholesky" else "krylov"
        path = None
        if solver == "conjugate_gradients":
            path = self._by_gradients(spectrum, targets, lam, xi, iterations(job, self.problem.shape))
            solver = "decomposition" if self._is_small else "krylov"
        if path is None and solver == "krylov":
            path = self._by_basis(spectrum, targets, lam, xi)
        return path

    def _is_uneven(self, lam: float) -> bool:
        """Whether columns are so unlike, and large beside the penalty, that only a graded SVD keeps the small ones."""
        operator = self.problem.products()[0]
        if not isinstance(operator, DesignOperator) or operator.column_squares is None:
            return False
        squares = operator.column_squares[operator.column_squares > 0]
        return bool(len(squares) and squares.max() > max(UNEVEN * squares.min(), LARGE * lam))

    def _factor(self, lam: float) -> tuple[Cholesky, Queries] | None:
        """A Cholesky factor for a penalty, where it loses no digits."""
        if lam == 0.0 or not self.problem.frame.is_masked:
            return None
        if lam not in self._factors:
            factor = self.problem.factor(lam)
            if factor is None:
                return None
            self._factors[lam] = factor
        return self._factors[lam]

    def _tridiagonal(self, lam: np.ndarray) -> tuple[Tridiagonal, Queries]:
        """The tridiagonal form of a kernel, for penalties at which it loses no digits."""
        if self._reduced is None:
            if not isinstance(self.problem, KernelProblem) or len(self.problem.frame.light):
                raise ValueError(
                    "solver='tridiagonal' takes no weights of zero, or next to nothing beside the largest; use "
                    "solver='eigh', or leave these samples out."
                )
            self._reduced, self.method = self.problem.tridiagonal(), "tridiagonal"
            self.queries = self._reduced[1]
        penalties = lam.ravel()
        if not np.all(self._reduced[0].accurate(penalties) & (penalties > 0)):
            raise ValueError(f"solver='tridiagonal' would lose digits at lam={penalties.min():.3g}; use solver='eigh'.")
        return self._reduced

    def _by_gradients(
        self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, xi: np.ndarray, most: int
    ) -> KrylovPath | None:
        """By conjugate gradients; None where they stall."""
        if not self._holds(targets, lam):
            return None
        penalties, schedules, _ = families(lam, xi)
        solver = ConjugateGradients(self.problem.products()[0], AUTO_TOL, most)
        try:
            solved = solver.students(targets.scaled, penalties[:, 0], schedules, with_fits=False)
        except Stalled:
            return None
        return self._made("conjugate_gradients", spectrum, targets, lam, xi, solved, AUTO_TOL)

    def _by_basis(self, spectrum: Decomposed, targets: Targets, lam: np.ndarray, xi: np.ndarray) -> KrylovPath | None:
        """By a Krylov basis; None where its error is too large and a decomposition is at hand."""
        is_named = self.solver == "krylov"
        if not self._holds(targets, lam):
            if is_named or not self._is_small:
                raise ValueError(
                    "The squares of the data, or of the targets, leave float64: rescale X (or K), y and lam, or use a "
                    "decomposition."
                )
            return None
        penalties, schedules, _ = families(lam, xi)
        tol, accepted = (self._tol, self._tol) if is_named else (AUTO_TOL, ACCEPTED)
        solver = Krylov(self.problem.products()[0], tol)
        solved = solver.students(targets.scaled, penalties[:, 0], schedules, with_fits=spectrum.is_kernel, warns=False)
        error = 0.0 if solved.error is None else float(solved.error.max(initial=0.0))
        if error > accepted:
            if self._is_small and not is_named:
                return None
            _warn_of_error(error, accepted)
        return self._made("krylov", spectrum, targets, lam, xi, solved, tol)

    def _holds(self, targets: Targets, lam: np.ndarray) -> bool:
        """Whether sizes of data and targets allow for products of a few; raises where a penalty is out of reach."""
        largest = checked_size(self.problem.products()[0], targets)
        if largest is not None:
            checked_penalties(lam, largest)
        return largest is not None

    def _made(
        self,
        method: str,
        spectrum: Decomposed,
        targets: Targets,
        lam: np.ndarray,
        xi: np.ndarray,
        solved: Solved,
        tol: float,
    ) -> KrylovPath:
        operator, queries = self.problem.products()
        self.method, self.queries = method, queries
        falls_back = self._is_small and self.solver != "krylov"
        traces = None if falls_back else Krylov(operator, max(tol, TRACE_TOL))
        return KrylovPath(spectrum, targets, lam, xi, queries, operator, solved, traces)


def _is_tame(xi: np.ndarray) -> bool:
    """Whether the weights of each schedule multiply to at most `LARGEST_GROWTH`."""
    if xi.ndim == 1:  # the usual one, in a tenth of the time of an array
        return math.prod(max(abs(weight), 1.0) for weight in xi.tolist()) <= LARGEST_GROWTH
    return bool(np.prod(np.maximum(np.abs(xi), 1.0), axis=-1).max() <= LARGEST_GROWTH)


def _warn_of_error(error: float, tol: float) -> None:
    """Of a basis that is as large as the memory of the data allows, or as its space."""
    warnings.warn(
        f"Krylov steps leave fits with relative errors of up to {error:.2g}, above {tol:.2g} (see error_estimate of "
        f"the path). Raise the smallest penalty, loosen tol, or use a decomposition.",
        RuntimeWarning,
        stacklevel=5,
    )
