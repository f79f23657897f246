"""Many small problems in one call: each of them equals its own decomposition and its own refits."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import fastdistill as fd
from fastdistill.spectral import batch as room
from tests import oracle

N_PROBLEMS = 3
TABLE = list(product(oracle.REGIMES, (False, True), oracle.WEIGHTS))
PENALTIES = (0.0, 1e-6, 1.0, 1e4)
XI = np.array([0.3, 1.0, -1.5])


def problems(rng, n=12, p=4, n_problems=N_PROBLEMS):
    """Rows (B, n, p) with a mean and targets (B, n)."""
    return rng.standard_normal((n_problems, n, p)) + 2.0, rng.standard_normal((n_problems, n)) - 3.0


def one_by_one(X, y, lam, xi, fit_intercept=False, weight=None):
    """Coefficients and intercepts by a decomposition of each problem; lam (B,), xi (B, k), weight (B, n) or None."""
    found = []
    for i in range(len(X)):
        w = None if weight is None else weight[i]
        path = fd.Spectrum.from_design(X[i], fit_intercept=fit_intercept, sample_weight=w).path(y[i], lam[i], xi[i])
        found.append((path.coef, path.intercept))
    return tuple(np.array(part) for part in zip(*found, strict=True))


def error(ours, exact):
    """The worst difference of a student, relative to its problem's largest entry; data are of size 1."""
    scale = np.abs(exact).max(axis=tuple(range(1, exact.ndim)), keepdims=True)
    return (np.abs(ours - exact) / np.maximum(scale, 1e-14)).max()


@pytest.mark.parametrize(("regime", "fit_intercept", "kind"), TABLE)
def test_equals_decompositions_and_refits(regime, fit_intercept, kind, rng):
    X = np.stack([oracle.design(regime, rng) + fit_intercept for _ in range(N_PROBLEMS)])
    y = rng.standard_normal((*X.shape[:2], 2)) + 1.5
    weight = None if kind == "none" else np.stack([oracle.weights(kind, len(x), rng) for x in X])
    schedules = np.tile(XI, (N_PROBLEMS, 1))
    for relative in PENALTIES:
        lam = relative * np.linalg.norm(X, 2, axis=(1, 2)) ** 2
        found = fd.batched_path(X, y, lam, XI, fit_intercept=fit_intercept, sample_weight=weight)
        coef, intercept = one_by_one(X, y, lam, schedules, fit_intercept, weight)
        assert error(found.coef, coef) <= 1e-9
        assert error(found.intercept, intercept) <= 1e-9
        if (relative >= 1.0 and regime != "zero") or regime in {"tall", "condition_1e2"}:
            for i in range(N_PROBLEMS):
                w = None if weight is None else weight[i]
                exact = oracle.students(
                    X[i], y[i], lam[i], XI, kernel=False, fit_intercept=fit_intercept, sample_weight=w
                )
                assert error(found.coef[i : i + 1], exact.parameters[None]) <= 1e-9
                np.testing.assert_allclose(found.intercept[i], exact.intercept, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lam", [0.7, [0.1, 1.0, 10.0]])
@pytest.mark.parametrize(("xi", "n_steps"), [(0.5, 2), (1.0, 0), ([0.5, 2.0], None), ([[0.5], [1.0], [-2.0]], None)])
@pytest.mark.parametrize("weight", [None, "shared", "own"])
def test_axes(lam, xi, n_steps, weight, rng):
    X, y = problems(rng)
    w = {None: None, "shared": rng.uniform(0.5, 2.0, 12), "own": rng.uniform(0.5, 2.0, (N_PROBLEMS, 12))}[weight]
    found = fd.batched_path(X, y, lam, xi, n_steps, fit_intercept=True, sample_weight=w)
    schedule = np.full(n_steps, xi) if n_steps is not None else np.array(xi)
    schedules = np.broadcast_to(schedule, (N_PROBLEMS, schedule.shape[-1]))
    weights = None if w is None else np.broadcast_to(w, y.shape)
    coef, intercept = one_by_one(X, y, np.broadcast_to(lam, N_PROBLEMS), schedules, True, weights)
    assert found.coef.shape == coef.shape
    assert found.intercept.shape == intercept.shape
    assert error(found.coef, coef) <= 1e-12
    assert error(found.intercept, intercept) <= 1e-12


def test_targets_do_not_mix(rng):
    X, _ = problems(rng)
    Y = rng.standard_normal((N_PROBLEMS, 12, 3))
    together = fd.batched_path(X, Y, 1.0, XI, fit_intercept=True)
    for j in range(3):
        alone = fd.batched_path(X, Y[:, :, j], 1.0, XI, fit_intercept=True)
        np.testing.assert_allclose(together.coef[..., j], alone.coef, rtol=1e-13)
        np.testing.assert_allclose(together.intercept[..., j], alone.intercept, rtol=1e-13)


def test_threads_and_chunks_change_nothing(rng, monkeypatch):
    X, y = problems(rng, n_problems=40)
    X[17, :, 3] = X[17, :, 2]  # one that needs its decomposition
    monkeypatch.setattr(room, "CHUNK_ENTRIES", 100)
    whole = fd.batched_path(X, y, 0.0, XI, fit_intercept=True, n_threads=1)
    for n_threads in (2, 5, None):
        again = fd.batched_path(X, y, 0.0, XI, fit_intercept=True, n_threads=n_threads)
        # chunks are products of other shapes, which BLAS may add up in another order
        assert error(again.coef, whole.coef) <= 1e-12
        assert error(again.intercept, whole.intercept) <= 1e-12
    np.testing.assert_allclose(whole.coef[17, :, 2], whole.coef[17, :, 3], rtol=1e-9)  # least norm: shared equally


@pytest.mark.parametrize("form", ["float32", "integer", "list", "strided", "fortran", "read_only", "big_endian"])
def test_input_forms(form, rng):
    X, y = problems(rng)
    X, y = np.round(4 * X), np.round(4 * y)
    wanted = fd.batched_path(X, y, 2.0, XI, fit_intercept=True)
    forms = {
        "float32": lambda a: a.astype(np.float32),
        "integer": lambda a: a.astype(np.int32),
        "list": lambda a: a.tolist(),
        "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        "fortran": np.asfortranarray,
        "read_only": lambda a: np.frombuffer(a.tobytes()).reshape(a.shape),
        "big_endian": lambda a: a.astype(">f8"),
    }
    rows, goals = forms[form](X), forms[form](y)
    before = np.array(rows)
    found = fd.batched_path(rows, goals, 2.0, XI, fit_intercept=True)
    tolerance = 1e-6 if form == "float32" else 1e-12  # BLAS reads other memory in another order
    assert found.coef.dtype == found.intercept.dtype == (np.float32 if form == "float32" else np.float64)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=tolerance)
    np.testing.assert_allclose(found.intercept, wanted.intercept, rtol=tolerance)
    np.testing.assert_array_equal(rows, before)


def test_units_of_the_columns_do_not_matter(rng, monkeypatch):
    """Scaled columns square no condition number: the Cholesky factor is used, and it is right."""
    X, y = problems(rng)
    units = np.array([1e-6, 1.0, 1e4, 1e7])
    monkeypatch.setattr(room, "_by_spectrum", None)  # calling it would raise
    found = fd.batched_path(X * units, y, 0.0, XI, fit_intercept=True)
    wanted = fd.batched_path(X, y, 0.0, XI, fit_intercept=True)
    np.testing.assert_allclose(found.coef * units, wanted.coef, rtol=1e-11)


@pytest.mark.parametrize("offset", [2.0**20, 2.0**30])
def test_a_large_offset_loses_no_digits(offset, rng):
    X, y = problems(rng)
    X, y = np.round(X * 2**8) / 2**8, np.round(y * 2**8) / 2**8  # the offset is added without rounding
    found = fd.batched_path(X + offset, y + offset, 1e-3, XI, fit_intercept=True)
    np.testing.assert_allclose(found.coef, fd.batched_path(X, y, 1e-3, XI, fit_intercept=True).coef, rtol=1e-9)


@pytest.mark.parametrize("value", [0.1, 1e9 / 3])
def test_a_constant_column_is_no_direction(value, rng):
    """Centred it is rounding, with which a single column would be fitted."""
    y, w = rng.standard_normal((5, 12)), rng.uniform(0.2, 2.0, (5, 12))
    found = fd.batched_path(np.full((5, 12, 1), value), y, 0.0, XI, fit_intercept=True, sample_weight=w)
    np.testing.assert_array_equal(found.coef, 0.0)
    np.testing.assert_allclose(found.intercept, np.average(y, axis=1, weights=w)[:, None] * np.ones(4), rtol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.ones((3, 12))}, "X must be 3-D"),
        ({"X": np.ones((0, 12, 4)), "y": np.ones((0, 12))}, "X is empty"),
        ({"X": np.full((3, 12, 4), np.nan)}, "X contains NaN"),
        ({"y": np.ones((3, 11))}, "y must have shape"),
        ({"y": np.ones((3, 12, 0))}, "y must have shape"),
        ({"y": np.full((3, 12), np.inf)}, "y contains inf"),
        ({"lam": [1.0, 2.0]}, "one for each of the 3 problems, got 2"),
        ({"lam": -1.0}, "lam must be at least 0"),
        ({"xi": 0.5}, "needs n_steps"),
        ({"xi": [[0.5], [1.0]]}, "schedule for each of the 3 problems, got 2"),
        ({"sample_weight": np.ones(11)}, "sample_weight must have shape"),
        ({"sample_weight": -np.ones(12)}, "must not be negative, got -1"),
        ({"sample_weight": np.ones((3, 12)) * [[1], [0], [1]]}, "zero for every sample of problem 1"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
        ({"X": np.full((3, 12, 4), 1e200)}, "X\\[0\\] is too large: its largest entry is 1e\\+200"),
    ],
)
def test_bad_values(change, message, rng):
    X, y = problems(rng)
    arguments = {"X": X, "y": y, "lam": 1.0, "xi": [0.5], **change}
    with pytest.raises(ValueError, match=message):
        fd.batched_path(**arguments)


@pytest.mark.parametrize("change", [{"fit_intercept": 1}, {"n_threads": 1.5}, {"X": [[["a"]]]}])
def test_bad_kinds(change, rng):
    X, y = problems(rng)
    with pytest.raises(TypeError):
        fd.batched_path(**{"X": X, "y": y, "lam": 1.0, "xi": [0.5], **change})
