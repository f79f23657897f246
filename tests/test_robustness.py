"""Threads, memory, and every bad input: a clear error that names the number at fault."""

from __future__ import annotations

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd
from fastdistill.spectral import leave_one_out
from tests import oracle


@pytest.fixture
def X(rng):
    return rng.standard_normal((8, 3))


@pytest.fixture
def y(rng):
    return rng.standard_normal(8)


# -- Threads and memory ----------------------------------------------------------------------------


def assert_close(found, expected):
    """To the rounding of BLAS, which may divide a product among fewer threads while others are at work."""
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["design", "kernel"])
def test_threads_get_the_same_results(kind, rng):
    X, y = rng.standard_normal((40, 10)), rng.standard_normal((40, 2))
    rows = X if kind == "design" else oracle.rbf(X, X, 0.1)
    build = fd.Spectrum.from_design if kind == "design" else fd.Spectrum.from_kernel

    def work(_):
        S = build(rows, fit_intercept=True)
        path = S.path(y, np.logspace(-2, 2, 4), [0.5, 1.0])
        rounds = S.tolerance_path(y[:, 0], 0.9 * y[:, 0].var(), max_rounds=5)
        return [S.d, path.fitted, path.gcv, path.predict(rows[:7]), rounds.multipliers, rounds.fitted]

    alone = work(0)
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(work, range(12)):
            for found, expected in zip(results, alone, strict=True):
                assert_close(found, expected)


def test_threads_may_share_one_path(rng):
    X, y = rng.standard_normal((30, 6)), rng.standard_normal((30, 2))
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    expected = S.path(y, [0.1, 1.0], [0.5, 2.0])
    shared = S.path(y, [0.1, 1.0], [0.5, 2.0])
    names = ["fitted", "coef", "gcv", "dof", "train_mse", "filters", "intercept"] * 4
    with ThreadPoolExecutor(4) as pool:
        for name, found in zip(names, pool.map(lambda name: getattr(shared, name), names), strict=True):
            assert_close(found, getattr(expected, name))


def peak_of(work):
    work()  # compilation and caches are not what is measured
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["design", "kernel"])
def test_scores_of_many_students_form_no_fits(kind, rng):
    """All fits would take L k n m = 20 x 21 x 300 x 40 numbers, 40 MB."""
    X, y = rng.standard_normal((300, 20)), rng.standard_normal((300, 40))
    S = fd.Spectrum.from_design(X) if kind == "design" else fd.Spectrum.from_kernel(X @ X.T)
    lam = np.logspace(-3, 3, 20)

    def work():
        path = S.path(y, lam, 0.5, n_steps=20)
        return path.gcv, path.dof, path.train_mse

    assert peak_of(work) < 10e6


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_kernel_is_decomposed_in_one_copy(fit_intercept, weighted, rng):
    """The copy that becomes the eigenvectors, and the 2 n² numbers of workspace that LAPACK asks for."""
    X, w = rng.standard_normal((300, 5)), rng.uniform(0.5, 2, 300) if weighted else None
    K = X @ X.T
    peak = peak_of(lambda: fd.Spectrum.from_kernel(K, fit_intercept=fit_intercept, sample_weight=w))
    assert peak < 3.2 * K.nbytes


def test_leave_one_out_errors_form_no_predictions(rng, monkeypatch):
    """All predictions would take L k n m = 6 x 3 x 300 x 3 numbers, 130 kB."""
    monkeypatch.setattr(leave_one_out, "BLOCK_ENTRIES", 2**9)
    X, y = rng.standard_normal((300, 4)), rng.standard_normal((300, 3))
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    assert peak_of(lambda: S.path(y, np.logspace(-3, 3, 6), 0.5, n_steps=2).loo_mse) < 65e3


def test_errors_on_queries_form_no_predictions(rng):
    """All predictions would take L k q m = 20 x 11 x 2000 x 20 numbers, 70 MB."""
    X, y = rng.standard_normal((50, 8)), rng.standard_normal((50, 20))
    Q, yq = rng.standard_normal((2000, 8)), rng.standard_normal((2000, 20))
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    assert peak_of(lambda: S.path(y, np.logspace(-3, 3, 20), 0.5, n_steps=10).mse(Q, yq)) < 35e6


def test_nothing_square_beyond_the_decomposition(rng):
    """Of a 300 x 8 design nothing of size 300 x 300 (0.7 MB) is needed."""
    X, y = rng.standard_normal((300, 8)), rng.standard_normal(300)

    def work():
        path = fd.Spectrum.from_design(X, fit_intercept=True).path(y, [0.1, 1.0], 0.5, n_steps=2)
        return path.gcv, path.fitted, path.coef

    assert peak_of(work) < 0.4e6


def test_spectrum_and_path_survive_pickling(X, y):
    S = fd.Spectrum.from_design(X, fit_intercept=True, sample_weight=np.arange(8))
    path = S.path(y, [0.1, 1.0], 0.5, n_steps=2)
    again = pickle.loads(pickle.dumps(path))
    np.testing.assert_array_equal(again.fitted, path.fitted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(S)).path(y, [0.1, 1.0], 0.5, 2).fitted, path.fitted)


def test_results_do_not_follow_later_changes_of_the_input(X, y):
    data, goal, w, lam, xi = X.copy(), y.copy(), np.ones(8), np.array([0.1, 1.0]), np.array([0.5, 2.0])
    S = fd.Spectrum.from_design(data, sample_weight=w)
    path = S.path(goal, lam, xi)
    for a in (data, goal, w, lam, xi):
        a[...] = 3.0
    np.testing.assert_allclose(
        path.fitted, fd.Spectrum.from_design(X).path(y, [0.1, 1.0], [0.5, 2.0]).fitted, rtol=1e-12
    )


# -- Bad matrices ----------------------------------------------------------------------------------


def bad(X, value, at=(2, 1)):
    X = X.copy()
    X[at] = value
    return X


@pytest.mark.parametrize(
    ("build", "error", "match"),
    [
        (lambda X: bad(X, np.nan), ValueError, r"X contains NaN at index \(2, 1\)"),
        (lambda X: bad(X, np.inf), ValueError, r"X contains inf at index \(2, 1\)"),
        (lambda X: bad(X, -np.inf), ValueError, "inf"),
        (lambda X: sp.csr_array(bad(X, np.nan)), ValueError, "NaN"),
        (lambda X: X[:0], ValueError, "empty"),
        (lambda X: X[:, :0], ValueError, "empty"),
        (lambda X: sp.csr_array(X[:0]), ValueError, "empty"),
        (lambda X: X[:, 0], ValueError, "2-D"),
        (lambda X: X[None], ValueError, "2-D"),
        (lambda X: [[1.0, 2.0], [3.0]], ValueError, "rectangular"),
        (lambda X: X + 1j, ValueError, "[Cc]omplex"),
        (lambda X: sp.csr_array(X + 1j), (TypeError, ValueError), "complex"),
        (lambda X: X.astype(str).astype(object) + "a", TypeError, "numbers"),
        (lambda X: [["a", "b"], ["c", "d"]], TypeError, "numbers"),
        (lambda X: None, (TypeError, ValueError), "X"),
        (lambda X: {"a": 1}, TypeError, "X"),
    ],
    ids=[
        "nan", "inf", "minus_inf", "sparse_nan", "no_rows", "no_columns", "sparse_no_rows", "1-D", "3-D",
        "ragged", "complex", "sparse_complex", "object", "strings", "none", "dict",
    ],
)  # fmt: skip
def test_bad_designs(build, error, match, X):
    with pytest.raises(error, match=match):
        fd.Spectrum.from_design(build(X))


@pytest.mark.parametrize(
    ("build", "error", "match"),
    [
        (lambda K: bad(K, np.nan), ValueError, "K contains NaN"),
        (lambda K: bad(K, np.inf), ValueError, "K contains inf"),
        (lambda K: K[:0, :0], ValueError, "empty"),
        (lambda K: K[:, :5], ValueError, "square"),
        (lambda K: K[0], ValueError, "2-D"),
        (lambda K: bad(K, 9.0), ValueError, "symmetric"),
        (lambda K: K + 1e-6 * np.tri(8), ValueError, "symmetric"),
        (lambda K: K - 0.5 * np.eye(8), ValueError, r"semi-definite.*-0\.5"),
        (lambda K: -K, ValueError, "semi-definite"),
        (lambda K: -np.eye(8), ValueError, "semi-definite.*-1"),
        (lambda K: K * 1j, ValueError, "[Cc]omplex"),
        (sp.csr_array, TypeError, "sparse"),
        (lambda K: [["a", "b"], ["c", "d"]], TypeError, "numbers"),
    ],
    ids=[
        "nan", "inf", "empty", "not_square", "1-D", "asymmetric", "slightly_asymmetric", "indefinite",
        "negative", "minus_identity", "complex", "sparse", "strings",
    ],
)  # fmt: skip
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_bad_kernels(build, error, match, fit_intercept, X):
    with pytest.raises(error, match=match):
        fd.Spectrum.from_kernel(build(X @ X.T), fit_intercept=fit_intercept)


def test_definiteness_is_judged_at_1e_8(X):
    K = X @ X.T
    top = np.linalg.eigvalsh(K)[-1]
    assert fd.Spectrum.from_kernel(K - 0.5e-8 * top * np.eye(8)).rank == 3
    with pytest.raises(ValueError, match="semi-definite"):
        fd.Spectrum.from_kernel(K - 2e-8 * top * np.eye(8))


@pytest.mark.parametrize(
    ("w", "error", "match"),
    [
        ([1, 1, 1, -0.25, 1, 1, 1, 1], ValueError, r"-0\.25 at index 3"),
        (np.zeros(8), ValueError, "zero for every sample"),
        (np.ones(7), ValueError, "7 entries.*8 samples"),
        (np.ones((8, 1)), ValueError, "sample_weight"),
        ([1, 1, np.nan, 1, 1, 1, 1, 1], ValueError, "sample_weight contains NaN at index 2"),
        ([1, 1, np.inf, 1, 1, 1, 1, 1], ValueError, "sample_weight contains inf"),
        (["a"] * 8, TypeError, "sample_weight"),
    ],
    ids=["negative", "all_zero", "too_short", "2-D", "nan", "inf", "strings"],
)
def test_bad_weights(w, error, match, X):
    with pytest.raises(error, match=match):
        fd.Spectrum.from_design(X, sample_weight=w)
    with pytest.raises(error, match=match):
        fd.Spectrum.from_kernel(X @ X.T, sample_weight=w)


# -- Bad targets, penalties and schedules ----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"y": np.ones(7)}, ValueError, "7 rows.*8 samples"),
        ({"y": np.ones((8, 2, 2))}, ValueError, "y must be"),
        ({"y": np.ones((8, 0))}, ValueError, "empty"),
        ({"y": 3.0}, ValueError, "y must be"),
        ({"y": [1, 2, np.nan, 4, 5, 6, 7, 8]}, ValueError, "y contains NaN at index 2"),
        ({"y": [1, 2, np.inf, 4, 5, 6, 7, 8]}, ValueError, "y contains inf at index 2"),
        ({"y": np.ones(8) * 1j}, ValueError, "[Cc]omplex"),
        ({"y": list("abcdefgh")}, TypeError, "y must hold real numbers"),
        ({"lam": -0.125}, ValueError, r"lam.*-0\.125"),
        ({"lam": [1.0, -2.0]}, ValueError, "lam.*-2"),
        ({"lam": np.nan}, ValueError, "lam"),
        ({"lam": [1.0, np.inf]}, ValueError, "lam contains inf"),
        ({"lam": []}, ValueError, "lam is empty"),
        ({"lam": [[1.0]]}, ValueError, "lam must be"),
        ({"lam": "big"}, TypeError, "lam"),
        ({"lam": 1j}, ValueError, "[Cc]omplex"),
        ({"xi": 0.5}, ValueError, "n_steps"),
        ({"xi": [0.5, 0.5], "n_steps": 3}, ValueError, "n_steps=3"),
        ({"xi": 0.5, "n_steps": -1}, ValueError, "n_steps.*-1"),
        ({"xi": 0.5, "n_steps": 1.5}, TypeError, "n_steps"),
        ({"xi": 0.5, "n_steps": True}, TypeError, "n_steps"),
        ({"xi": [0.5, np.nan]}, ValueError, "xi contains NaN at index 1"),
        ({"xi": [np.inf]}, ValueError, "xi contains inf"),
        ({"xi": np.ones((2, 2, 2))}, ValueError, "xi must be"),
        ({"xi": np.ones((0, 2))}, ValueError, "xi is empty"),
        ({"xi": "half"}, TypeError, "xi"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_bad_paths(change, error, match, X, y):
    arguments = {"y": y, "lam": 1.0, "xi": [0.5]} | change
    for S in (fd.Spectrum.from_design(X), fd.Spectrum.from_kernel(X @ X.T)):
        with pytest.raises(error, match=match):
            S.path(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"y": np.ones(7)}, ValueError, "7 rows.*8 samples"),
        ({"lam": -1.0}, ValueError, "lam.*-1"),
        ({"xi": np.nan}, ValueError, "xi"),
        ({"xi": "half"}, TypeError, "xi"),
    ],
    ids=["rows", "lam", "nan", "string"],
)
def test_bad_limits(change, error, match, X, y):
    with pytest.raises(error, match=match):
        fd.Spectrum.from_design(X).limit(**({"y": y, "lam": 1.0, "xi": 0.5} | change))


# -- Bad queries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "error", "match"),
    [
        (lambda Q: Q[:, :-1], ValueError, r"shape \(5, "),
        (lambda Q: Q[0], ValueError, "2-D"),
        (lambda Q: bad(Q, np.nan), ValueError, "NaN"),
        (lambda Q: bad(Q, np.inf), ValueError, "inf"),
        (lambda Q: Q * 1j, ValueError, "[Cc]omplex"),
        (lambda Q: Q.astype(str).astype(object) + "a", TypeError, "numbers"),
    ],
    ids=["columns", "1-D", "nan", "inf", "complex", "strings"],
)
@pytest.mark.parametrize("kind", ["design", "kernel"])
def test_bad_queries(build, error, match, kind, X, y):
    S = fd.Spectrum.from_design(X) if kind == "design" else fd.Spectrum.from_kernel(X @ X.T)
    Q = X[:5] if kind == "design" else X[:5] @ X.T
    path = S.path(y, 1.0, 0.5, n_steps=1)
    for ask in (path.predict, lambda q: path.mse(q, np.ones(5))):
        with pytest.raises(error, match=match):
            ask(build(Q))


@pytest.mark.parametrize(
    ("yq", "match"),
    [(np.ones(4), "4 rows"), (np.ones((5, 2)), "target"), (np.full(5, np.nan), "NaN")],
    ids=["rows", "targets", "nan"],
)
def test_bad_query_targets(yq, match, X, y):
    with pytest.raises(ValueError, match=match):
        fd.Spectrum.from_design(X).path(y, 1.0, 0.5, n_steps=1).mse(X[:5], yq)


def test_coefficients_of_the_other_kind(X, y):
    path = fd.Spectrum.from_kernel(X @ X.T).path(y, 1.0, 0.5, n_steps=1)
    with pytest.raises((AttributeError, ValueError), match="dual_coef"):
        _ = path.coef
    path = fd.Spectrum.from_design(X).path(y, 1.0, 0.5, n_steps=1)
    with pytest.raises((AttributeError, ValueError), match="coef"):
        _ = path.dual_coef


# -- What is kept is not the caller's --------------------------------------------------------------


def test_weights_are_copied_and_eigenvalues_cannot_be_overwritten(X, y):
    w = np.ones(8)
    S = fd.Spectrum.from_design(X, sample_weight=w)
    before = S.path(y, 1.0, 0.5, n_steps=1).train_mse
    w[:] = 100
    np.testing.assert_array_equal(S.path(y, 1.0, 0.5, n_steps=1).train_mse, before)
    with pytest.raises(ValueError, match="read-only"):
        S.d[:] = 0


def test_predictions_and_intercepts_are_formed_in_blocks(rng):
    """All dual coefficients would take L k n m = 50 x 21 x 300 x 5 numbers, 12.6 MB."""
    A, y = rng.standard_normal((300, 300)), rng.standard_normal((300, 5))
    K = A @ A.T
    S = fd.Spectrum.from_kernel(K, fit_intercept=True)
    lam = np.logspace(-3, 3, 50)
    assert peak_of(lambda: fd.Spectrum.from_kernel(np.eye(3)).path(np.ones(3), 1.0, []).intercept) < 1e5
    for ask in (lambda path: path.intercept, lambda path: path.predict(K[:1])):
        assert peak_of(lambda ask=ask: ask(S.path(y, lam, 0.5, n_steps=20))) < 25e6


# -- More wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fd.Spectrum.from_design(np.eye(3) * 1e200), ValueError, "overflow"),
        (lambda: fd.Spectrum.from_design(np.eye(3) * 1e-200), ValueError, "underflow"),
        (lambda: fd.Spectrum.from_kernel(np.eye(3) + 1e308), ValueError, "overflow"),
        (lambda: fd.Spectrum.from_design(np.eye(3), fit_intercept="False"), TypeError, "fit_intercept must be"),
        (lambda: fd.Spectrum.from_kernel(np.eye(3), np.ones(3)), TypeError, "fit_intercept must be"),
        (
            lambda: fd.Spectrum.from_design(np.eye(3)).path(np.ones(3), 1.0, [0.5]).mse(np.empty((0, 3)), []),
            ValueError,
            "empty",
        ),
        (
            lambda: fd.Spectrum.from_kernel(np.eye(3)).path(np.ones(3), 1.0, [0.5]).mse(np.empty((0, 3)), []),
            ValueError,
            "empty",
        ),
        (lambda: fd.Spectrum.from_design(np.eye(3)).limit(np.ones(3), 1.0, []), ValueError, "xi is empty"),
        (lambda: fd.Spectrum.from_design(sp.coo_array(np.ones(3))), ValueError, "must be 2-D"),
        (lambda: fd.Spectrum.from_design(np.ones((3, 1), dtype="M8[D]")), TypeError, "real numbers"),
        (lambda: fd.Spectrum.from_design(np.ma.masked_equal(np.eye(3), 1.0)), ValueError, "masked"),
    ],
)
def test_more_wrong_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_float32_in_other_clothes(X, y):
    import pandas as pd

    for given in (pd.DataFrame(X.astype(np.float32)), X.astype(">f4")):
        assert fd.Spectrum.from_design(given).d.dtype == np.float32


def test_what_is_shown_of_students(X, y):
    assert repr(fd.Spectrum.from_design(X).path(y, [1.0, 2.0], 0.5, n_steps=3)).startswith(
        "DistillationPath(axes=(2, 4)"
    )
