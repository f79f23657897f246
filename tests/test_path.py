"""Every student equals refitting from scratch: decomposition x regime x intercept x weights; input forms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastdistill as fd
from tests import oracle

TOLERANCE = {np.float64: 1e-9, np.float32: 1e-4}
DECOMPOSITIONS = ("design", "sparse", "kernel", "kernel_of_design")
SCHEDULES = (
    (1.0, 3),
    (np.array([0.3, 1.0, -1.5, 2.5]), None),
    (np.array([[0.0, 0.5, 1.0], [2.5, -1.5, 0.7]]), None),
    (0.4, 0),
)
TARGETS = (None, 1, 3)  # None: a 1-D target
TABLE = list(product(DECOMPOSITIONS, oracle.REGIMES, (False, True), oracle.WEIGHTS))


def make_rows(decomposition, regime, rng, n_queries=4):
    """Training rows and query rows: of the design, or of the kernel matrix."""
    X = oracle.design(regime, rng)
    Q = np.vstack([rng.standard_normal((n_queries - 1, X.shape[1])), np.zeros((1, X.shape[1]))])
    if decomposition == "kernel":
        return oracle.rbf(X, X, 0.3), oracle.rbf(Q, X, 0.3)
    if decomposition == "kernel_of_design":
        return X @ X.T, Q @ X.T
    if decomposition == "sparse":
        keep = rng.random(X.shape) < 0.6
        return X * keep, Q * (rng.random(Q.shape) < 0.6)
    return X, Q


def make_spectrum(decomposition, rows, **options):
    if decomposition.startswith("kernel"):
        return fd.Spectrum.from_kernel(rows, **options)
    return fd.Spectrum.from_design(sp.csr_array(rows) if decomposition == "sparse" else rows, **options)


def largest_eigenvalue(decomposition, rows):
    top = np.linalg.norm(rows, 2) ** (1 if decomposition.startswith("kernel") else 2)
    return top if top > 0 else 1.0


def check_students(path, exact, y, queries, rows, tol, *, kernel):
    """One (k + 1, ...) path against its twin, both with an m axis; errors are norms per student."""
    norm = np.linalg.norm(y)
    last = (1, 2)
    assert oracle.relative_error(path["fitted"], exact.fitted, norm, last) <= tol
    assert oracle.relative_error(path["predicted"], exact.predict(queries), norm, last) <= tol
    # coefficients of a late student are fitted to the rounded fit of the student before: the largest ones set the scale
    size = max(np.linalg.norm(exact.parameters, axis=last).max(), 1e-14 * norm)
    assert np.linalg.norm(path["parameters"] - exact.parameters, axis=last).max() <= tol * size
    if not kernel:
        assert oracle.relative_error(path["parameters"], exact.parameters, norm, last) <= tol
    # an intercept is a difference of means: its rounding has the size of the terms, not of the result
    reach = np.linalg.norm(exact.intercept, axis=1) + np.linalg.norm(exact.parameters, axis=last) * np.abs(rows).max()
    assert np.all(np.linalg.norm(path["intercept"] - exact.intercept, axis=1) <= tol * (reach + norm))
    assert np.all(np.abs(path["dof"] - exact.dof) <= tol * np.maximum(1, np.abs(exact.dof)))
    # residuals cancel: they are compared as the norms they are, against the size of the targets
    rms = np.sqrt((y**2).mean())
    assert np.all(np.abs(np.sqrt(path["train_mse"]) - np.sqrt(exact.train_mse)) <= tol * rms)


def take(path, kind, index, y_ndim):
    """The students of one penalty and schedule, with an m axis whatever the input had."""

    def block(values, trailing):
        values = np.asarray(values)[index]
        return values[..., None] if y_ndim == 1 and trailing else values

    parameters = path.dual_coef if kind.startswith("kernel") else path.coef
    return {
        "fitted": block(path.fitted, True),
        "parameters": block(parameters, True),
        "intercept": block(path.intercept, True),
        "train_mse": block(path.train_mse, True),
        "gcv": block(path.gcv, True),
        "dof": block(path.dof, False),
    }


@pytest.mark.parametrize(("cell", "case"), list(enumerate(TABLE)), ids=["-".join(map(str, c)) for c in TABLE])
def test_students_equal_refitting(cell, case, rng):
    decomposition, regime, fit_intercept, kind = case
    rows, queries = make_rows(decomposition, regime, rng)
    n = len(rows)
    m, (xi, n_steps) = TARGETS[cell % 3], SCHEDULES[(cell // 3) % 4]
    y = rng.standard_normal(n if m is None else (n, m)) + 1.5
    w = oracle.weights(kind, n, rng)
    lam = largest_eigenvalue(decomposition, rows) * np.array([1e-6, 1e-3, 0.1, 1.0, 1e6])

    spectrum = make_spectrum(decomposition, rows, fit_intercept=fit_intercept, sample_weight=w)
    path = spectrum.path(y, lam, xi, n_steps)
    predicted = path.predict(queries)

    schedules = np.atleast_2d(np.full(n_steps, xi) if np.ndim(xi) == 0 else xi)
    for i, (penalty, q) in enumerate(product(lam, range(len(schedules)))):
        index = (i // len(schedules), q) if np.ndim(xi) == 2 else (i,)
        exact = oracle.students(
            rows,
            y.reshape(n, -1),
            penalty,
            schedules[q],
            kernel=decomposition.startswith("kernel"),
            fit_intercept=fit_intercept,
            sample_weight=w,
        )
        ours = take(path, decomposition, index, y.ndim)
        ours["predicted"] = predicted[index].reshape(len(schedules[q]) + 1, len(queries), -1)
        kernel = decomposition.startswith("kernel")
        # K + lam I is no better determined than its condition number allows, for the twin and for us
        tol = 1e-9 + kernel * 2 * n * np.finfo(float).eps * lam[-1] / (1e6 * penalty)
        check_students(ours, exact, y.reshape(n, -1), queries, rows, tol, kernel=kernel)
        lost = np.abs(1 - exact.dof / np.count_nonzero(np.ones(n) if w is None else w))[:, None]
        ours_rms, exact_rms = np.sqrt(ours["gcv"]) * lost, np.sqrt(exact.gcv) * lost
        assert np.all(np.abs(ours_rms - exact_rms) <= 1e-9 * np.sqrt((y**2).mean()) * (1 + 1 / lost))


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("regime", ["wide", "tall", "rank_deficient", "condition_1e4"])
def test_float32_students_equal_refitting(decomposition, fit_intercept, regime, rng):
    rows, queries = (a.astype(np.float32) for a in make_rows(decomposition, regime, rng))
    if decomposition.startswith("kernel"):
        rows = np.maximum(rows, rows.T)
    y = (rng.standard_normal((len(rows), 2)) + 1).astype(np.float32)
    xi = np.array([0.5, -1.5, 1.0])
    lam = largest_eigenvalue(decomposition, rows) * np.array([1e-2, 1.0])
    path = make_spectrum(decomposition, rows, fit_intercept=fit_intercept).path(y, lam, xi)
    predicted = path.predict(queries)
    for name in (
        "fitted",
        "intercept",
        "train_mse",
        "gcv",
        "dual_coef" if "kernel" in decomposition else "coef",
    ):
        assert getattr(path, name).dtype == np.float32, name
    assert predicted.dtype == np.float32
    for i, penalty in enumerate(lam):
        exact = oracle.students(
            rows.astype(float),
            y.astype(float),
            penalty,
            xi,
            kernel=decomposition.startswith("kernel"),
            fit_intercept=fit_intercept,
        )
        ours = take(path, decomposition, (i,), 2) | {"predicted": predicted[i]}
        kernel = decomposition.startswith("kernel")
        check_students(ours, exact, y.astype(float), queries.astype(float), rows, 1e-4, kernel=kernel)


@pytest.mark.parametrize(
    ("x_dtype", "y_dtype", "expected"),
    [
        (np.float32, np.float32, np.float32),
        (np.float64, np.float32, np.float64),
        (np.int64, np.int32, np.float64),
        (np.float16, np.float16, np.float64),
    ],
)
def test_only_float32_data_gives_float32_results(x_dtype, y_dtype, expected, rng):
    X = rng.integers(-5, 6, (8, 3)).astype(x_dtype)
    y = rng.integers(-5, 6, 8).astype(y_dtype)
    path = fd.Spectrum.from_design(X).path(y, [0.5, 1.0], 0.5, n_steps=1)
    for name in ("fitted", "coef", "train_mse", "gcv"):
        assert getattr(path, name).dtype == expected, name


# -- Axes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.7, np.array([0.7]), np.array([0.1, 1.0, 10.0])], ids=["scalar", "one", "grid"])
@pytest.mark.parametrize(
    ("xi", "n_steps", "k"),
    [
        (0.5, 2, 2),
        (1.0, 0, 0),
        (np.array([0.5, 0.2]), None, 2),
        (np.array([]), None, 0),
        (np.array([[0.5, 0.2, 0.1]]), 3, 3),
        (np.full((4, 2), 0.3), None, 2),
    ],
    ids=["scalar", "no_steps", "schedule", "empty_schedule", "one_of_many", "many"],
)
@pytest.mark.parametrize("m", [None, 1, 3])
@pytest.mark.parametrize("kind", ["design", "kernel"])
def test_axes(lam, xi, n_steps, k, m, kind, rng):
    n, p, q = 7, 4, 5
    X, Q = rng.standard_normal((n, p)), rng.standard_normal((q, p))
    y = rng.standard_normal(n if m is None else (n, m))
    yq = rng.standard_normal(q if m is None else (q, m))
    rows, queries = (X, Q) if kind == "design" else (X @ X.T, Q @ X.T)
    S = make_spectrum(kind, rows)
    path = S.path(y, lam, xi, n_steps)
    lead = np.shape(lam) + (np.shape(xi)[:1] if np.ndim(xi) == 2 else ()) + (k + 1,)
    tail = () if m is None else (m,)
    assert S.d.shape == (S.rank,)
    assert path.filters.shape == (*lead, S.rank)
    assert path.dof.shape == lead
    assert path.fitted.shape == (*lead, n, *tail)
    assert path.train_mse.shape == path.gcv.shape == (*lead, *tail)
    assert path.predict(queries).shape == (*lead, q, *tail)
    assert path.mse(queries, yq).shape == (*lead, *tail)
    parameters = path.coef if kind == "design" else path.dual_coef
    assert parameters.shape == (*lead, p if kind == "design" else n, *tail)
    assert path.intercept.shape == (*lead, *tail)


def test_axes_are_products_of_single_problems(rng):
    X, y = rng.standard_normal((8, 4)), rng.standard_normal((8, 2))
    lam, xi = np.array([0.1, 3.0]), rng.uniform(-1, 2, (3, 2))
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    whole = S.path(y, lam, xi)
    for i, j, t in product(range(2), range(3), range(2)):
        single = S.path(y[:, t], lam[i], xi[j])
        np.testing.assert_allclose(whole.fitted[i, j, :, :, t], single.fitted, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(whole.coef[i, j, :, :, t], single.coef, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(whole.gcv[i, j, :, t], single.gcv, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["design", "kernel"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_mse_equals_the_mean_over_predictions(kind, fit_intercept, rng):
    X, Q = rng.standard_normal((9, 4)), rng.standard_normal((6, 4))
    rows, queries = (X, Q) if kind == "design" else (oracle.rbf(X, X, 0.2), oracle.rbf(Q, X, 0.2))
    y, yq = rng.standard_normal((9, 3)), rng.standard_normal((6, 3))
    path = make_spectrum(kind, rows, fit_intercept=fit_intercept).path(y, [0.1, 1.0], [[0.5, 2.0], [1.0, -1.0]])
    expected = ((path.predict(queries) - yq) ** 2).mean(axis=-2)
    np.testing.assert_allclose(path.mse(queries, yq), expected, rtol=1e-11)


def test_predictions_of_blocks_equal_the_whole(rng):
    X, Q, y = rng.standard_normal((12, 5)), rng.standard_normal((11, 5)), rng.standard_normal(12)
    for kind in ("design", "kernel"):
        rows, queries = (X, Q) if kind == "design" else (oracle.rbf(X, X, 0.2), oracle.rbf(Q, X, 0.2))
        path = make_spectrum(kind, rows, fit_intercept=True).path(y, [0.1, 1.0], 0.5, n_steps=2)
        blocks = [path.predict(queries[i : i + 3]) for i in range(0, 11, 3)]
        np.testing.assert_allclose(np.concatenate(blocks, axis=-1), path.predict(queries), rtol=1e-11, atol=1e-13)


# -- Input forms -----------------------------------------------------------------------------------


def strided(a):
    big = np.zeros(tuple(2 * s for s in a.shape), dtype=a.dtype)
    view = big[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def reversed_view(a):
    every = tuple(slice(None, None, -1) for _ in a.shape)
    return np.ascontiguousarray(a[every])[every]


def readonly(a):
    b = a.copy()
    b.setflags(write=False)
    return b


DENSE_FORMS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": strided,
    "reversed": reversed_view,
    "readonly": readonly,
    "list": np.ndarray.tolist,
    "integer": lambda a: a.astype(np.int64),
    "small integer": lambda a: a.astype(np.int8),
    "big endian": lambda a: a.astype(">f8"),
    "object": lambda a: a.astype(object),
    "pandas": lambda a: pd.DataFrame(a) if a.ndim == 2 else pd.Series(a, index=range(5, 5 + len(a))),
}


def memmap(a, folder, name):
    stored = np.memmap(folder / name, dtype=a.dtype, mode="w+", shape=a.shape)
    stored[...] = a
    stored.flush()
    return np.memmap(folder / name, dtype=a.dtype, mode="r", shape=a.shape)


def csr_int64(a):
    out = sp.csr_array(a)
    out.indices, out.indptr = out.indices.astype(np.int64), out.indptr.astype(np.int64)
    return out


def csr_unsorted_with_duplicates(a):
    """Every entry split in two halves, columns in descending order."""
    rows, columns = np.nonzero(a)
    order = np.lexsort((-columns, rows))
    rows, columns = rows[order].repeat(2), columns[order].repeat(2)
    indptr = np.searchsorted(rows, np.arange(len(a) + 1))
    return sp.csr_matrix((a[rows, columns] / 2, columns, indptr), shape=a.shape)


SPARSE_FORMS = {
    "csr_array": sp.csr_array,
    "csr_matrix": sp.csr_matrix,
    "csr_int64": csr_int64,
    "csc_array": sp.csc_array,
    "csc_matrix": sp.csc_matrix,
    "coo_array": sp.coo_array,
    "unsorted": csr_unsorted_with_duplicates,
    "integer": lambda a: sp.csr_array(a.astype(np.int64)),
}


def whole_numbers(rng, kind):
    """Integer-valued data, so that every form holds exactly the same numbers."""
    X = rng.integers(-4, 5, (9, 4)).astype(float) * (rng.random((9, 4)) < 0.7)
    Q = rng.integers(-4, 5, (5, 4)).astype(float)
    y, w = rng.integers(-9, 10, 9).astype(float), rng.integers(1, 4, 9).astype(float)
    return (X, Q, y, w) if kind == "design" else (X @ X.T, Q @ X.T, y, w)


def results(S, y, queries, kind):
    path = S.path(y, [0.5, 5.0], [0.3, 1.0])
    parameters = path.coef if kind == "design" else path.dual_coef
    return [path.fitted, parameters, path.intercept, path.gcv, path.predict(queries)]


def assert_same(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["design", "kernel"])
@pytest.mark.parametrize("form", [*DENSE_FORMS, "memmap"])
def test_dense_input_forms_agree_and_are_never_written_to(kind, form, rng, tmp_path):
    if form == "small integer" and kind == "kernel":
        form = "integer"  # a kernel of whole numbers outgrows eight bits
    plain = whole_numbers(rng, kind)
    if form == "memmap":
        given = [memmap(a, tmp_path, f"{i}.bin") for i, a in enumerate(plain)]
    else:
        given = [DENSE_FORMS[form](a) for a in plain]
    before = [np.asarray(a).tobytes() for a in given]
    rows, queries, y, w = given
    ours = results(make_spectrum(kind, rows, fit_intercept=True, sample_weight=w), y, queries, kind)
    assert [np.asarray(a).tobytes() for a in given] == before
    expected = make_spectrum(kind, plain[0], fit_intercept=True, sample_weight=plain[3])
    assert_same(ours, results(expected, plain[2], plain[1], kind))


@pytest.mark.parametrize("form", list(SPARSE_FORMS))
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_sparse_input_forms_agree_and_are_never_written_to(form, fit_intercept, rng):
    X, Q, y, w = whole_numbers(rng, "design")
    given = SPARSE_FORMS[form](X)
    arrays = [given.data, given.row, given.col] if given.format == "coo" else [given.data, given.indices, given.indptr]
    before = [a.tobytes() for a in arrays]
    options = {"fit_intercept": fit_intercept, "sample_weight": w}
    S = fd.Spectrum.from_design(given, **options)
    ours = results(S, y, SPARSE_FORMS[form](Q) if form != "unsorted" else Q, "design")
    assert [a.tobytes() for a in arrays] == before
    assert_same(ours, results(fd.Spectrum.from_design(X, **options), y, Q, "design"))


@pytest.mark.parametrize("form", ["list", "readonly", "strided", "pandas", "integer"])
def test_targets_of_several_columns_in_every_form(form, rng):
    X, Q, _, _ = whole_numbers(rng, "design")
    y = rng.integers(-9, 10, (9, 2)).astype(float)
    S = fd.Spectrum.from_design(X, fit_intercept=True)
    assert_same(results(S, DENSE_FORMS[form](y), Q, "design"), results(S, y, Q, "design"))


def test_schedules_and_penalties_may_be_lists_or_readonly(rng):
    X, y = rng.standard_normal((6, 3)), rng.standard_normal(6)
    S = fd.Spectrum.from_design(X)
    expected = S.path(y, np.array([0.1, 1.0]), np.array([[0.5, 2.0], [1.0, 0.0]])).fitted
    np.testing.assert_array_equal(S.path(y, [0.1, 1.0], [[0.5, 2.0], [1, 0]]).fitted, expected)
    lam, xi = readonly(np.array([0.1, 1.0])), readonly(np.array([[0.5, 2.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(S.path(y, lam, xi).fitted, expected)
    np.testing.assert_array_equal(S.path(y, lam, strided(xi)).fitted, expected)
