"""Which solver does a job: the one place where this is decided.

=======================  ================================  ==================  =========================================
job                      shape                             solver              measured, one thread
=======================  ================================  ==================  =========================================
eigenvalues: filters,    dense X                           decomposition       smaller Gram matrix, else SVD (4–8 times)
leave-one-out, tuning,   sparse X                          decomposition       Gram matrix; an SVD up to 2²² entries
limits, tolerance        kernel                            decomposition       0.20 ns · n³
paths of one penalty,    dense X, kernel                   cholesky            0.012 ns · n³ and the Gram matrix
at most `FACTORS` in     sparse X, cheap Gram matrix       cholesky            17 ns a pair of values in a row, and that
all, at each             sparse X, few steps or many       conjugate_gradients 3.8 ns · nnz an iteration, step, column
                         targets
                         sparse X, other                   krylov              3.8 ns · nnz an iteration and target
paths of several         dense X, kernel                   decomposition       as above
penalties                sparse X, small Gram matrix,      decomposition       0.20 ns · side³, side = min(n, p)
                         many targets
                         sparse X, other                   krylov              as above
paths                    LinearOperator, memory map,       krylov              as above; a kernel by rows 9 ns · n²
                         kernel given by rows
=======================  ================================  ==================  =========================================

A solver that the user names is taken instead; the tridiagonal form, and memory maps as such, only by name. Conjugate
gradients, of which nobody knows beforehand how many iterations they need, may take as long as the exact way would
(`iterations`), so that the two together cost at most twice the cheaper one. Where an iterative solver fails, or cannot
say what is asked, the decomposition follows if side ≤ `EXACT_SIDE`; otherwise the Krylov result with its error.

Measured on seven sparse shapes (2000 × 300 to 100 000 × 200), 1 and 20 targets, 1 and 20 penalties, 1 to 3 steps: what
is chosen takes at most 1.74 times as long as the best of all, 1.02 in the median. Through the estimators,
beside `Ridge(tol=1e-10)` of scikit-learn with its one fit, in seconds:

=========================================  =======  =====================  ========================
design                                     Ridge    ``n_steps=0``          ``n_steps=1`` (two fits)
=========================================  =======  =====================  ========================
CSR 5000 × 2000, 1 %, intercept            0.021    0.024                  0.042
one-hot 4000 × 1000, intercept             0.0062   0.0074                 0.012
the same, 20 targets                       0.085                           0.036
CSR 200 000 × 50 000, 1e7 values           1.6      2.2                    2.0
=========================================  =======  =====================  ========================

The last needs 1.1 and 1.3 times the memory of the data, `Ridge` 2.1 times.

Cost: a few multiplications.
"""

from __future__ import annotations

from typing import NamedTuple

FACTORS = 2  # penalties that are factored one by one; for another one all students come from one decomposition
EXACT_SIDE = 2000  # of a Gram matrix that is formed where an iterative solver has failed, or cannot say
SMALL_SIDE = 1000  # of a sparse design's Gram matrix whose eigenvalues may be cheaper than a Krylov basis
EXPECTED = 30  # iterations of an iterative solver, before anything is known
FEWEST, MOST = 100, 1000  # iterations that conjugate gradients are allowed

# Seconds, measured on one core.
PRODUCT, SHARED_PRODUCT = 1.9e-9, 1.0e-9  # a stored value and column: alone, and beside others
VECTOR, CALL = 8e-9, 8e-5  # an entry of the vectors of an iteration; what it costs besides
BASIS = 2.5e-4  # what a step of a Krylov basis costs besides, checks of its error included
PAIR, ENTRY = 17e-9, 3e-9  # of a sparse Gram matrix: pairs of stored values multiplied, entries made dense
FACTOR, EIGEN = 12e-12, 200e-12  # times side³
SOLVE, SHARED_SOLVE = 1e-9, 3e-10  # times side², by a factor: a student alone, and beside others


class Shape(NamedTuple):
    """Of a design or kernel."""

    kind: str  # "dense" (designs and kernels alike), "sparse", or "operator" (products only)
    n: int
    width: int
    stored: int = 0  # values of a sparse design
    pairs: float = 0.0  # multiplications in its smaller Gram matrix

    @property
    def side(self) -> int:
        """Of the smaller Gram matrix."""
        return min(self.n, self.width)


class Job(NamedTuple):
    """Of a path."""

    penalties: int  # different ones
    steps: int
    targets: int
    schedules: int = 1
    factored: int = 0  # penalties with a factor already, this one not counted

    @property
    def columns(self) -> int:
        """That are solved for at each step."""
        return self.targets * self.schedules


def choose(job: Job, shape: Shape) -> str:
    """The solver of a path, not named by the user: "decomposition", "cholesky", "conjugate_gradients" or "krylov"."""
    if shape.kind == "operator":
        return "krylov"
    if job.penalties > 1 or (shape.kind == "dense" and job.factored >= FACTORS):
        exact = shape.kind == "dense" or (
            shape.side <= SMALL_SIDE and gram_seconds(shape) + EIGEN * shape.side**3 <= krylov_seconds(job, shape)
        )
        return "decomposition" if exact else "krylov"
    if shape.kind == "dense":
        return "cholesky"
    if cholesky_seconds(job, shape) <= min(gradients_seconds(job, shape), krylov_seconds(job, shape)):
        return "cholesky"
    return "conjugate_gradients" if gradients_seconds(job, shape) <= krylov_seconds(job, shape) else "krylov"


def iterations(job: Job, shape: Shape) -> int:
    """How many iterations conjugate gradients may take at each step before the exact way is cheaper."""
    if shape.side > EXACT_SIDE:
        return MOST
    each = iteration_seconds(job.columns, shape) * (job.steps + 1)
    return int(min(MOST, max(FEWEST, cholesky_seconds(job, shape) / each)))


def gram_seconds(shape: Shape) -> float:
    """Of the smaller Gram matrix of a sparse design."""
    return PAIR * shape.pairs + ENTRY * shape.side**2


def cholesky_seconds(job: Job, shape: Shape) -> float:
    """Of a Gram matrix, its factor, and the students."""
    students = (job.steps + 1) * job.columns
    solve = SOLVE if job.columns <= 2 else SHARED_SOLVE
    return gram_seconds(shape) + FACTOR * shape.side**3 + students * solve * shape.side**2


def iteration_seconds(columns: int, shape: Shape) -> float:
    """Of conjugate gradients: two products and some vectors."""
    product = PRODUCT if columns == 1 else SHARED_PRODUCT
    return CALL + columns * (2 * product * shape.stored + VECTOR * shape.side)


def gradients_seconds(job: Job, shape: Shape) -> float:
    """Of conjugate gradients, anew at each step."""
    return EXPECTED * (job.steps + 1) * iteration_seconds(job.columns, shape)


def krylov_seconds(job: Job, shape: Shape) -> float:
    """Of one orthogonal basis for each target, which serves all penalties, schedules and steps."""
    each = BASIS + ENTRY * shape.side * EXPECTED
    return EXPECTED * (iteration_seconds(job.targets, shape) + job.targets * each)
