"""Iterative solvers against dense decompositions: operators, Krylov bases, conjugate gradients."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

from fastdistill.spectral.decompositions import krylov
from fastdistill.spectral.decompositions.conjugate_gradients import ConjugateGradients, Stalled
from fastdistill.spectral.decompositions.krylov import Krylov
from fastdistill.spectral.decompositions.operators import DesignOperator, KernelOperator, operator_means

ROUNDING = 1e-11
KINDS = ["normal", "graded", "low rank", "sparse", "power law", "uneven columns"]


class Oracle(NamedTuple):
    """Students by an SVD, every filter written out."""

    coefficients: np.ndarray
    fits: np.ndarray
    traces: np.ndarray


def oracle(design: np.ndarray, y: np.ndarray, lam: np.ndarray, xi: np.ndarray) -> Oracle:
    U, s, Vt = np.linalg.svd(design, full_matrices=False)
    used = s > max(design.shape) * 2.3e-16 * s[:1].max(initial=0.0)
    U, s, Vt = U[:, used], s[used], Vt[used]
    z = U.T @ y
    coefficients, fits, traces = [], [], []
    for penalty, weights in zip(lam, xi, strict=True):
        filters = [s**2 / (s**2 + penalty)]
        for weight in weights:
            filters.append(filters[0] * ((1 - weight) + weight * filters[-1]))
        coefficients.append([Vt.T @ ((f / s)[:, None] * z) for f in filters])
        fits.append([U @ (f[:, None] * z) for f in filters])
        traces.append([f.sum() for f in filters])
    return Oracle(np.array(coefficients), np.array(fits), np.array(traces))


def make_design(rng: np.random.Generator, kind: str, n: int, p: int) -> np.ndarray:
    X = rng.standard_normal((n, p))
    turn = np.linalg.qr(rng.standard_normal((p, p)))[0]
    if kind == "graded":
        return X * np.logspace(0, -6, p) @ turn
    if kind == "power law":
        return X / np.arange(1, p + 1) ** 2 @ turn
    if kind == "low rank":
        return X[:, :7] @ rng.standard_normal((7, p))
    if kind == "sparse":
        return X * (rng.random((n, p)) < 0.15)
    return X * np.logspace(-1, 1, p) if kind == "uneven columns" else X


class Problem(NamedTuple):
    operator: DesignOperator
    scaled: np.ndarray  # X_s, dense
    y: np.ndarray


def make_problem(rng, kind, n, p, weighted=False, fit_intercept=True, m=2, noise=1.0) -> Problem:
    X = make_design(rng, kind, n, p)
    weight = rng.integers(0, 4, n) + rng.random(n) * (rng.random(n) < 0.7) if weighted else None
    w = np.ones(n) if weight is None else weight
    y = X @ rng.standard_normal((p, m)) + noise * rng.standard_normal((n, m))
    scaled = X
    if fit_intercept:
        scaled, y = X - w @ X / w.sum(), y - w @ y / w.sum()
    root = np.sqrt(w)[:, None]
    means = operator_means(X, weight) if fit_intercept else None
    given = scipy.sparse.csr_array(X) if kind == "sparse" else X
    return Problem(DesignOperator(given, weight, means), root * scaled, root * y)


LAM = np.repeat([1e-3, 1e-1, 1.0, 300.0], 2)
XI = np.tile([[0.5, -1.3, 2.0], [1.0, 1.0, 1.0]], (4, 1))


def relative(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Relative errors of the columns (..., w, m) -> (..., m)."""
    size = np.linalg.norm(expected, axis=-2)
    return np.linalg.norm(found - expected, axis=-2) / np.where(size > 0, size, 1.0)


REGIMES = [
    pytest.param(*shape, kind, weighted, intercept, id=f"{shape[0]}x{shape[1]}-{kind}-w{weighted}-i{intercept}")
    for shape in [(45, 20), (20, 45)]
    for kind in KINDS
    for weighted, intercept in [(False, False), (True, True), (False, True), (True, False)]
    if weighted == intercept or kind == "normal"
]


@pytest.mark.parametrize(("n", "p", "kind", "weighted", "intercept"), REGIMES)
class TestRegimes:
    def test_krylov_of_a_design(self, rng, n, p, kind, weighted, intercept):
        problem = make_problem(rng, kind, n, p, weighted, intercept)
        solved = Krylov(problem.operator, tol=1e-9).students(problem.y, LAM, XI)
        expected = oracle(problem.scaled, problem.y, LAM, XI)
        assert solved.coefficients.shape == expected.coefficients.shape == (8, 4, p, 2)
        assert solved.fits.shape == (8, 4, n, 2)
        assert solved.error.max() <= 1e-9
        assert np.all(relative(solved.fits, expected.fits) <= 3 * solved.error + ROUNDING)
        assert relative(solved.coefficients, expected.coefficients).max() <= 1e-6

    def test_krylov_of_a_kernel(self, rng, n, p, kind, weighted, intercept):
        problem = make_problem(rng, kind, n, p, weighted, intercept)
        solved = Krylov(KernelOperator(problem.scaled @ problem.scaled.T), tol=1e-9).students(problem.y, LAM, XI)
        expected = oracle(problem.scaled, problem.y, LAM, XI)
        assert solved.coefficients.shape == (8, 4, n, 2)
        assert solved.error.max() <= 1e-9
        assert np.all(relative(solved.fits, expected.fits) <= 3 * solved.error + ROUNDING)
        primal = problem.scaled.T @ solved.coefficients
        assert relative(primal, expected.coefficients).max() <= 1e-6

    def test_conjugate_gradients(self, rng, n, p, kind, weighted, intercept):
        problem = make_problem(rng, kind, n, p, weighted, intercept)
        kernel = KernelOperator(problem.scaled @ problem.scaled.T)
        for penalty in (1e-1, 30.0, 1e5):
            lam, xi = np.full(2, penalty), XI[:2]
            expected = oracle(problem.scaled, problem.y, lam, xi)
            design = ConjugateGradients(problem.operator).students(problem.y, lam, xi)
            dual = ConjugateGradients(kernel).students(problem.y, lam, xi)
            assert design.coefficients.shape == (2, 4, p, 2)
            assert design.fits.shape == dual.fits.shape == dual.coefficients.shape == (2, 4, n, 2)
            for solved, primal in [(design, design.coefficients), (dual, problem.scaled.T @ dual.coefficients)]:
                assert solved.error.shape == (2, 4, 2)
                assert solved.error.max() <= 1e-9
                assert np.all(relative(solved.fits, expected.fits) <= 3 * solved.error + 1e-12)
                assert relative(primal, expected.coefficients).max() <= 1e-8

    def test_traces_with_enough_probes_are_exact(self, rng, n, p, kind, weighted, intercept):
        problem = make_problem(rng, kind, n, p, weighted, intercept)
        expected = oracle(problem.scaled, problem.y, LAM, XI).traces
        for operator in (problem.operator, KernelOperator(problem.scaled @ problem.scaled.T)):
            values, errors = Krylov(operator, tol=1e-9).traces(LAM, XI, n_probes=45)
            np.testing.assert_allclose(values, expected, rtol=1e-6)
            assert not errors.any()


def as_csr_64(X):
    X = scipy.sparse.csr_matrix(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def as_memory_map(X, folder):
    X.tofile(folder / "X")
    return np.memmap(folder / "X", dtype=X.dtype, mode="r", shape=X.shape)


FORMATS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "integers": lambda X: X.astype(np.int32),
    "float32": lambda X: X.astype(np.float32),
    "csr": scipy.sparse.csr_array,
    "csr float32": lambda X: scipy.sparse.csr_array(X.astype(np.float32)),
    "csr int64": as_csr_64,
    "csc": scipy.sparse.csc_array,
    "csc matrix": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_array,
    "operator": aslinearoperator,
}


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", [*FORMATS, "memory map"])
def test_products_of_every_format(rng, monkeypatch, tmp_path, name, weighted, columns):
    monkeypatch.setattr("fastdistill.spectral.decompositions.operators.BLOCK_ENTRIES", 50)
    n, p = 30, 12
    X = np.round(8 * rng.standard_normal((n, p))) * (rng.random((n, p)) < 0.4)  # exact in every type
    given = as_memory_map(X, tmp_path) if name == "memory map" else FORMATS[name](X)
    weight = rng.random(n) if weighted else None
    w = np.ones(n) if weight is None else weight
    B, A = rng.standard_normal((p, columns)), rng.standard_normal((n, columns))
    for means in (None, operator_means(given, weight)):
        scaled = np.sqrt(w)[:, None] * (X - (0.0 if means is None else w @ X / w.sum()))
        operator = DesignOperator(given, weight, means)
        assert operator.shape == (n, p)
        np.testing.assert_allclose(operator.product(B), scaled @ B, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(operator.transposed(A), scaled.T @ A, rtol=1e-12, atol=1e-12)
        if name == "operator":
            assert operator.column_squares is None
            assert operator.diagonal() is None
        else:
            np.testing.assert_allclose(operator.column_squares, np.square(scaled).sum(axis=0), rtol=1e-12)
            np.testing.assert_allclose(operator.diagonal(), np.square(scaled).sum(axis=1), rtol=1e-12)


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="LinearOperator"):
        DesignOperator([[1.0, 2.0]])
    with pytest.raises(TypeError, match="needs n"):
        KernelOperator(lambda start, stop: np.eye(3)[start:stop])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_columns_far_from_zero_keep_their_digits(rng, form, weighted):
    n = 40
    X = rng.standard_normal((n, 4))
    X[:, 1] += 1e12
    X[:, 2] = -4e9
    X[:, 3] *= rng.random(n) < 0.3
    weight = rng.random(n) if weighted else None
    w = np.longdouble(np.ones(n) if weight is None else weight)
    exact = np.longdouble(X - [0.0, 1e12, 0.0, 0.0])
    exact = np.sqrt(w)[:, None] * (exact - w @ exact / w.sum())
    exact[:, 2] = 0.0
    given = form(X)
    operator = DesignOperator(given, weight, operator_means(given, weight))
    B, A = rng.standard_normal((4, 2)), rng.standard_normal((n, 2))
    np.testing.assert_allclose(operator.product(B), np.asarray(exact @ B, dtype=float), rtol=0, atol=1e-13)
    np.testing.assert_allclose(operator.transposed(A), np.asarray(exact.T @ A, dtype=float), rtol=0, atol=1e-12)
    np.testing.assert_allclose(operator.column_squares, np.asarray((exact**2).sum(axis=0), dtype=float), atol=1e-12)
    y = operator.product(B)
    solved = Krylov(operator).students(y, np.array([1e-3]), np.zeros((1, 1)))
    expected = oracle(np.asarray(exact, dtype=float), y, np.array([1e-3]), np.zeros((1, 1)))
    assert relative(solved.coefficients, expected.coefficients).max() <= 1e-8


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_kernel_is_centred_implicitly(rng, monkeypatch, weighted, fit_intercept):
    monkeypatch.setattr("fastdistill.spectral.decompositions.operators.KERNEL_ENTRIES", 100)
    n = 25
    points = rng.standard_normal((n, 2))
    K = np.exp(-np.square(points[:, None] - points).sum(axis=2))
    weight = rng.random(n) if weighted else None
    w = np.ones(n) if weight is None else weight
    centring = np.eye(n) - np.outer(np.ones(n), w / w.sum()) * fit_intercept
    scaled = np.sqrt(w)[:, None] * (centring @ K @ centring.T) * np.sqrt(w)
    B = rng.standard_normal((n, 3))
    operator = KernelOperator(K, weight=weight, fit_intercept=fit_intercept)
    np.testing.assert_allclose(operator.diagonal(), scaled.diagonal(), rtol=1e-10, atol=1e-13)
    by_rows = KernelOperator(lambda start, stop: K[start:stop], n, weight, fit_intercept)
    assert by_rows.diagonal() is None
    for each in (operator, by_rows):
        np.testing.assert_allclose(each.product(B), scaled @ B, rtol=1e-12, atol=1e-13)
    y = scaled @ B
    for solver in (Krylov(by_rows), ConjugateGradients(by_rows), ConjugateGradients(operator)):
        solved = solver.students(y, np.array([0.01]), np.array([[0.7]]))
        dual = np.linalg.solve(scaled + 0.01 * np.eye(n), y)
        dual = np.linalg.solve(scaled + 0.01 * np.eye(n), 0.3 * y + 0.7 * scaled @ dual)
        assert relative(solved.fits[0, 1], scaled @ dual).max() <= 1e-7


class Counting(DesignOperator):
    """How many products were taken."""

    count = 0

    def product(self, matrix):
        self.count += 1
        return super().product(matrix)

    def transposed(self, matrix):
        self.count += 1
        return super().transposed(matrix)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "p"), [(120, 80), (80, 120)])
def test_the_error_is_bounded_at_every_step(rng, kind, n, p):
    """Also of students that are far from done, and of a warning that says so."""
    lam, xi = np.repeat([1e-4, 1e-2, 1.0, 1e3], 2), np.tile([[0.6, -5.0, -5.0], [1.0, 1.5, 9.0]], (4, 1))
    problem = make_problem(rng, kind, n, p)
    kernel = KernelOperator(problem.scaled @ problem.scaled.T)
    expected = oracle(problem.scaled, problem.y, lam, xi)
    for operator in (problem.operator, kernel):
        for steps in (1, 2, 4, 8, 16, 32, 64):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                solved = Krylov(operator, tol=1e-12, max_steps=steps).students(problem.y, lam, xi)
            off = np.linalg.norm(solved.fits - expected.fits, axis=2)
            assert np.all(
                off <= solved.error * np.linalg.norm(solved.fits, axis=2) + ROUNDING * np.abs(problem.y).max()
            )


def test_the_bound_is_made_of_the_residuals_of_the_steps(rng):
    """‖X_sᵀ (u_t − fit) − lam coef‖ / (2 sqrt(lam)), and what the teacher is off."""
    scaled = make_problem(rng, "normal", 120, 80).scaled
    y, penalty, weight = rng.standard_normal((120, 1)), 1e-3, -3.0
    with pytest.warns(RuntimeWarning, match="Krylov steps"):
        solved = Krylov(DesignOperator(scaled), max_steps=10).students(y, np.array([penalty]), np.array([[weight]]))
    coefficients, fits = solved.coefficients[0], solved.fits[0]
    targets = np.stack([y, (1 - weight) * y + weight * fits[0]])
    own = np.linalg.norm(scaled.T @ (targets - fits) - penalty * coefficients, axis=1)[:, 0] / (2 * penalty**0.5)
    found = solved.error[0, :, 0] * np.linalg.norm(fits, axis=1)[:, 0]
    np.testing.assert_allclose(found, [own[0], own[1] + abs(weight) * own[0]], rtol=1e-3)


@pytest.mark.parametrize(("n", "p"), [(120, 80), (80, 120)])
def test_too_few_steps_are_told(rng, n, p):
    problem = make_problem(rng, "normal", n, p)
    with pytest.warns(RuntimeWarning, match="3 Krylov steps leave .* Raise max_steps"):
        solved = Krylov(problem.operator, max_steps=3).students(problem.y, np.array([0.1]), np.zeros((1, 0)))
    assert solved.error.max() > 1e-8


@pytest.mark.parametrize("kind", ["normal", "power law", "sparse"])
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10])
def test_it_stops_at_the_tolerance_and_not_much_later(rng, kind, tol):
    problem = make_problem(rng, kind, 400, 150)
    operator = Counting(problem.scaled)
    lam, xi = np.array([10.0, 100.0]), np.array([[0.5], [0.5]])
    solved = Krylov(operator, tol=tol).students(problem.y[:, :1], lam, xi)
    expected = oracle(problem.scaled, problem.y[:, :1], lam, xi)
    errors = relative(solved.fits, expected.fits)
    assert errors.max() <= solved.error.max() <= tol
    assert errors.max() > 1e-6 * tol
    assert operator.count < 150


@pytest.mark.parametrize(("n", "p"), [(300, 100), (100, 300)])
def test_a_student_harder_than_those_of_the_smallest_penalty(rng, n, p):
    problem = make_problem(rng, "normal", n, p)
    lam, xi = np.array([10.0, 11.0]), np.array([[0.0] * 4, [-8.0] * 4])
    solved = Krylov(problem.operator).students(problem.y, lam, xi)
    assert solved.error.max() <= 1e-8
    assert relative(solved.fits, oracle(problem.scaled, problem.y, lam, xi).fits).max() <= 1e-8


@pytest.mark.parametrize("penalty", [0.0, 1e-10])
def test_a_tiny_penalty_of_a_good_design_costs_no_more_steps(rng, penalty):
    operator = Counting(make_problem(rng, "normal", 800, 100).scaled)
    lam, xi = np.array([penalty]), np.array([[0.5]])
    y = rng.standard_normal((800, 1))
    solved = Krylov(operator).students(y, lam, xi)
    assert relative(solved.fits, oracle(operator.product(np.eye(100)), y, lam, xi).fits).max() <= 1e-8
    assert operator.count <= 70


@pytest.mark.parametrize(("n", "p"), [(300, 100), (100, 300)])
def test_one_basis_serves_smaller_penalties(rng, n, p):
    scaled = make_problem(rng, "power law", n, p).scaled
    y = rng.standard_normal((n, 1))
    none = np.zeros((1, 1))
    operator, fresh = Counting(scaled), Counting(scaled)
    solver = Krylov(operator)
    solver.students(y, np.array([1.0]), none)
    large = operator.count
    again = solver.students(y, np.array([1.0]), none)
    assert operator.count - large <= 1  # what is not stored
    before = operator.count
    small = solver.students(y, np.array([1e-3]), none)
    expected = Krylov(fresh).students(y, np.array([1e-3]), none)
    assert operator.count - before < fresh.count - 2
    assert relative(small.fits, expected.fits).max() <= 2e-8
    assert relative(again.fits, oracle(scaled, y, np.array([1.0]), none).fits).max() <= 1e-8
    other = y[::-1].copy()
    turned = solver.students(other, np.array([1.0]), none)
    assert relative(turned.fits, oracle(scaled, other, np.array([1.0]), none).fits).max() <= 1e-8


@pytest.mark.parametrize(("n", "p"), [(90, 60), (60, 90)])
def test_targets_in_groups_that_fit_the_budget(rng, monkeypatch, n, p):
    problem = make_problem(rng, "normal", n, p, m=5)
    whole = Krylov(problem.operator).students(problem.y, LAM, XI)
    monkeypatch.setattr(krylov, "SMALLEST_BUDGET", 2 * 60 * 60 * 8)
    groups = Krylov(Counting(aslinearoperator(problem.scaled)))
    for _ in range(2):
        found = groups.students(problem.y, LAM, XI)
        assert relative(found.fits, whole.fits).max() <= 1e-8
        assert relative(found.coefficients, whole.coefficients).max() <= 1e-6


@pytest.mark.parametrize(("n", "p"), [(50, 30), (30, 50)])
def test_an_invariant_space_ends_the_steps(rng, n, p):
    scaled = make_problem(rng, "low rank", n, p).scaled
    operator = Counting(scaled)
    y = rng.standard_normal((n, 1))
    solved = Krylov(operator, tol=1e-13).students(y, np.array([1e-2]), np.array([[0.3]]))
    expected = oracle(scaled, y, np.array([1e-2]), np.array([[0.3]]))
    assert operator.count <= 2 * 10
    assert relative(solved.fits, expected.fits).max() <= 1e-12
    tiny = np.array([1e-9]), np.zeros((1, 0))
    found, expected = Krylov(operator).students(y, *tiny), oracle(scaled, y, *tiny)
    assert relative(found.coefficients, expected.coefficients).max() <= 1e-10
    operator.count = 0
    single = scaled @ np.linalg.svd(scaled)[2][:1].T  # one singular vector
    Krylov(operator, tol=1e-13).students(single, np.array([1.0]), np.zeros((1, 0)))
    assert operator.count <= 2 * 3


@pytest.mark.parametrize("solver", [Krylov, ConjugateGradients])
@pytest.mark.parametrize(("n", "p"), [(1, 1), (1, 4), (4, 1), (6, 3), (3, 6)])
def test_tiny_problems_and_zero_targets(rng, solver, n, p):
    X = rng.standard_normal((n, p))
    y = np.zeros((n, 2))
    y[:, 1] = rng.standard_normal(n)
    lam, xi = np.full(2, 0.1), np.array([[0.5], [1.0]])
    solved = solver(DesignOperator(X)).students(y, lam, xi)
    expected = oracle(X, y, lam, xi)
    np.testing.assert_allclose(solved.fits, expected.fits, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(solved.coefficients, expected.coefficients, rtol=1e-10, atol=1e-13)
    assert not solved.error[..., 0].any()
    zero = solver(DesignOperator(np.zeros((n, p)))).students(y, lam, xi)
    assert not zero.fits.any()
    assert not zero.coefficients.any()
    kernel = solver(KernelOperator(X @ X.T)).students(y, lam, xi)
    np.testing.assert_allclose(kernel.fits, expected.fits, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", ["normal", "low rank", "uneven columns"])
@pytest.mark.parametrize(("n", "p"), [(60, 25), (25, 60)])
def test_without_a_penalty_it_is_least_squares(rng, n, p, kind):
    problem = make_problem(rng, kind, n, p)
    lam, xi = np.array([0.0]), np.array([[0.5, 2.0]])
    solved = Krylov(problem.operator).students(problem.y, lam, xi)
    expected = np.linalg.pinv(problem.scaled, rcond=1e-12) @ problem.y
    assert relative(solved.fits[0, 2], problem.scaled @ expected).max() <= 1e-8
    assert relative(solved.coefficients[0, 2], expected).max() <= 1e-8
    with pytest.raises(Stalled, match="penalty"):
        ConjugateGradients(problem.operator).students(problem.y, lam, xi)


def test_least_squares_that_do_not_converge_say_so(rng):
    problem = make_problem(rng, "graded", 100, 60)
    with pytest.warns(RuntimeWarning, match="Krylov steps"):
        solved = Krylov(problem.operator, max_steps=20).students(problem.y, np.zeros(1), np.zeros((1, 0)))
    assert solved.error.min() > 1e-8


def test_an_indefinite_kernel_is_refused(rng):
    turn = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    K = turn * np.linspace(-1, 3, 20) @ turn.T
    with pytest.raises(ValueError, match="positive semi-definite"):
        Krylov(KernelOperator(K)).students(rng.standard_normal((20, 1)), np.array([0.1]), np.zeros((1, 0)))


@pytest.mark.parametrize(("n", "p"), [(600, 150), (150, 600)])
def test_traces_are_within_their_standard_errors(rng, n, p):
    problem = make_problem(rng, "power law", n, p)
    lam = np.array([1e-3, 1e-1, 1e3])
    xi = np.tile([0.5, 1.2], (3, 1))
    expected = oracle(problem.scaled, problem.y, lam, xi).traces
    for operator in (problem.operator, KernelOperator(problem.scaled @ problem.scaled.T)):
        values, errors = Krylov(operator).traces(lam, xi, random_state=3, n_probes=24)
        assert values.shape == errors.shape == (3, 3)
        assert np.all(np.abs(values - expected) <= 4 * errors)
        assert np.all(errors[:2] <= 0.2 * expected[:2])
        np.testing.assert_array_equal(values, Krylov(operator).traces(lam, xi, random_state=3, n_probes=24)[0])
        assert np.any(values != Krylov(operator).traces(lam, xi, random_state=4, n_probes=24)[0])


def test_the_spread_over_probes_is_the_standard_error(rng):
    scaled = make_problem(rng, "normal", 200, 80).scaled
    lam, xi = np.array([50.0]), np.zeros((1, 0))
    runs = [Krylov(DesignOperator(scaled)).traces(lam, xi, random_state=i, n_probes=8) for i in range(60)]
    values, errors = (np.array(part)[:, 0, 0] for part in zip(*runs, strict=True))
    assert 0.75 <= values.std() / np.sqrt(np.mean(errors**2)) <= 1.3
    assert abs(values.mean() - oracle(scaled, np.zeros((200, 1)), lam, xi).traces[0, 0]) <= 4 * values.std() / 60**0.5


def one_hot(rng, n, sizes):
    blocks = [np.eye(size)[(size * rng.random(n) ** 2).astype(int)] for size in sizes]
    return scipy.sparse.csr_array(np.hstack(blocks))


def test_one_hot_columns_take_few_iterations(rng):
    X = one_hot(rng, 500, (3, 10, 40, 80))
    y = rng.standard_normal((500, 1))
    y -= y.mean()
    operator = Counting(X, None, operator_means(X))
    solved = ConjugateGradients(operator).students(y, np.array([1.0]), np.array([[0.5, 0.2, 1.0]]))
    dense = X.toarray() - X.toarray().mean(axis=0)
    expected = oracle(dense, y, np.array([1.0]), np.array([[0.5, 0.2, 1.0]]))
    assert relative(solved.fits, expected.fits).max() <= 1e-12
    assert operator.count <= 4 * 2 * 50


def test_rounding_is_part_of_the_error(rng):
    """A kernel that does not reach y, and a small penalty: a = (y − fit) / lam is large."""
    problem = make_problem(rng, "low rank", 60, 30)
    y, lam, xi = rng.standard_normal((60, 2)), np.array([3e-2]), np.array([[1.0]])
    solved = ConjugateGradients(KernelOperator(problem.scaled @ problem.scaled.T)).students(y, lam, xi)
    errors = relative(solved.fits, oracle(problem.scaled, y, lam, xi).fits)
    assert errors.max() > 1e-11
    assert np.all(errors <= solved.error)


def test_what_stalls(rng):
    problem = make_problem(rng, "graded", 60, 40)
    operator = problem.operator
    with pytest.raises(Stalled, match="5 iterations"):
        ConjugateGradients(operator, max_iterations=5).students(problem.y, np.array([1e-3]), np.zeros((1, 1)))
    singular = KernelOperator(1e8 * problem.scaled @ problem.scaled.T)
    with pytest.raises(Stalled):
        ConjugateGradients(singular).students(rng.standard_normal((60, 1)), np.array([1e-4]), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="one penalty"):
        ConjugateGradients(operator).students(problem.y, np.array([1.0, 2.0]), np.zeros((2, 1)))


def test_a_sparse_design_is_never_made_dense(rng):
    n, p = 20_000, 4000
    X = scipy.sparse.random_array((n, p), density=0.002, format="csr", rng=rng)
    y = X @ rng.standard_normal((p, 1))
    y -= y.mean()
    lam, xi = np.array([1.0]), np.array([[0.5]])
    tracemalloc.start()
    operator = DesignOperator(X, None, operator_means(X))
    by_basis = Krylov(operator).students(y, lam, xi)
    by_conjugate = ConjugateGradients(operator).students(y, lam, xi)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert relative(by_basis.fits, by_conjugate.fits).max() <= 1e-8
    assert peak < 20 * 2**20  # dense: 610 MiB
