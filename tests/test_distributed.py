"""`fastdistill.distributed`: dask arrays have the students of their rows in memory, on every scheduler."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

import fastdistill as fd

dask = pytest.importorskip("dask", reason="the extra dask is not installed")
da = pytest.importorskip("dask.array", reason="the extra dask is not installed")

LAM, XI = [0.1, 2.0], [[0.5, 1.0, -0.3], [1.0, 1.0, 1.0]]


def problem(rng, m=None, n=90, p=5):
    X = rng.standard_normal((n, p)) + 1e4
    y = rng.standard_normal(n if m is None else (n, m)) + (X[:, 0] if m is None else X[:, :m])
    return X, y, rng.random(n) * (np.arange(n) % 9 > 2)


def assert_same(path, whole, rtol=1e-9):
    for name in ("coef", "intercept", "dof", "train_mse", "gcv"):
        np.testing.assert_allclose(getattr(path, name), getattr(whole, name), rtol=rtol, err_msg=name)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("m", [None, 3])
@pytest.mark.parametrize("chunks", [(10, 5), (90, 2), ((1, 60, 29), (2, 3)), (1, 5)])
def test_row_chunks_give_the_students_of_all_rows(scheduler, fit_intercept, m, chunks, rng):
    X, y, w = problem(rng, m)
    X = X - 1e4 * (not fit_intercept)
    whole = fd.Spectrum.from_design(X, fit_intercept, w).path(y, LAM, XI)
    rows, goals, weight = da.from_array(X, chunks), da.from_array(y, 40), da.from_array(w, 7)
    with dask.config.set(scheduler=scheduler):
        acc = fd.distributed.accumulate(rows, goals, weight, fit_intercept)
        errors = fd.distributed.loo_mse(acc, rows.rechunk((20, 5)), goals, LAM, XI, sample_weight=weight)
    assert acc.n_samples == len(X)
    assert acc.fit_intercept is fit_intercept
    assert_same(acc.path(LAM, XI), whole)
    np.testing.assert_allclose(errors, whole.loo_mse, rtol=1e-9)


def test_targets_and_weights_that_are_no_dask_arrays(rng):
    X, y, w = problem(rng)
    rows = da.from_array(X, (11, 5))
    for weight in (None, 2.0, w, w.tolist()):
        acc = fd.distributed.accumulate(rows, y.tolist(), weight)
        errors = fd.distributed.loo_mse(acc, rows, y, LAM, 0.5, 2, weight)
        whole = fd.Spectrum.from_design(X, True, None if weight is None else np.broadcast_to(weight, len(X)))
        assert_same(acc.path(LAM, XI), whole.path(y, LAM, XI))
        np.testing.assert_allclose(errors, whole.path(y, LAM, 0.5, 2).loo_mse, rtol=1e-9)


def test_sparse_chunks(rng):
    X = np.where(rng.random((60, 20)) < 0.1, 1.0, 0.0)
    y = rng.standard_normal(60)
    rows = da.from_array(X, (13, 20)).map_blocks(sp.csr_matrix)
    acc = fd.distributed.accumulate(rows, y)
    whole = fd.Spectrum.from_design(X, True).path(y, LAM, XI)
    assert_same(acc.path(LAM, XI), whole)
    np.testing.assert_allclose(fd.distributed.loo_mse(acc, rows, y, LAM, XI), whole.loo_mse, rtol=1e-9)


def test_rows_that_are_not_counted(rng):
    X, y, w = problem(rng)
    kept = X[:, 1] > 1e4
    kept[20:30] = False  # a chunk without rows
    rows, goals, weight = (da.from_array(values, 10)[da.from_array(kept, 10)] for values in (X, y, w))
    whole = fd.Spectrum.from_design(X[kept], True, w[kept]).path(y[kept], LAM, XI)
    acc = fd.distributed.accumulate(rows, goals, weight)
    assert_same(acc.path(LAM, XI), whole)
    errors = fd.distributed.loo_mse(acc, rows, goals, LAM, XI, sample_weight=weight)
    np.testing.assert_allclose(errors, whole.loo_mse, rtol=1e-9)
    with pytest.raises(ValueError, match="y must be a dask array"):
        fd.distributed.accumulate(rows, y[kept])
    with pytest.raises(ValueError, match=r"y needs the row chunks of X: it has 1, X has 9"):
        fd.distributed.accumulate(rows, da.from_array(y[kept], -1))


def test_errors_name_what_is_wrong(rng):
    X, y, w = problem(rng)
    rows = da.from_array(X, (11, 5))
    acc = fd.distributed.accumulate(rows, y)
    with pytest.raises(TypeError, match=r"X must be a dask array .*got ndarray"):
        fd.distributed.accumulate(X, y)
    with pytest.raises(TypeError, match="acc must be a GramAccumulator"):
        fd.distributed.loo_mse(X, rows, y, LAM, XI)
    with pytest.raises(ValueError, match="X must be 2-D"):
        fd.distributed.accumulate(rows[0], y)
    with pytest.raises(ValueError, match="y must have 90 rows"):
        fd.distributed.accumulate(rows, y[1:])
    with pytest.raises(ValueError, match="sample_weight must have 90 rows"):
        fd.distributed.accumulate(rows, y, da.from_array(w[1:]))
    with pytest.raises(ValueError, match="y_block contains"):
        fd.distributed.accumulate(rows, np.where(np.arange(90) == 70, np.nan, y))
    with pytest.raises(TypeError, match="fit_intercept"):
        fd.distributed.accumulate(rows, y, fit_intercept=1.5)
    with pytest.raises(ValueError, match="The blocks hold 80 samples"):
        fd.distributed.loo_mse(acc, rows[10:], y[10:], LAM, XI)


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(ImportError, match=r'pip install "fastdistill\[dask\]"'):
        fd.distributed.accumulate(np.ones((3, 2)), np.ones(3))
    code = "import sys; import fastdistill as fd; fd.distributed.accumulate; assert 'dask' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tasks_leave_their_inputs_as_they_are(rng):
    """A scheduler runs a task again on inputs that were used before."""
    X, y, _ = problem(rng)
    parts = [fd.GramAccumulator().partial_fit(X[i : i + 30], y[i : i + 30]) for i in (0, 30, 60)]
    before = [pickle.dumps(part) for part in parts]
    first, again = (fd.distributed._merged(parts) for _ in range(2))
    assert [pickle.dumps(part) for part in parts] == before
    np.testing.assert_array_equal(first.path(LAM, XI).coef, again.path(LAM, XI).coef)


def chunk_or_death(rows, fatal, marker):
    """The chunk; the worker that first reads the fatal one is killed."""
    if rows[0, 0] == fatal:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return rows
        os.kill(os.getpid(), signal.SIGKILL)
    return rows


def test_a_killed_worker_process_loses_nothing(rng, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    X, y, w = problem(rng, 2, n=300)
    whole = fd.Spectrum.from_design(X, True, w).path(y, LAM, XI)
    plain = da.from_array(X, (10, 5))
    with (
        dask.config.set({"distributed.worker.daemon": True, "temporary_directory": str(tmp_path)}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        marker = tmp_path / "killed"
        rows = plain.map_blocks(chunk_or_death, X[130, 0], str(marker), dtype=float, meta=X[:0])
        acc = fd.distributed.accumulate(rows, y, w)
        assert marker.exists(), "a worker was killed"
        errors = fd.distributed.loo_mse(acc, plain, y, LAM, XI, sample_weight=w)
    with dask.config.set(scheduler="sync"):
        undisturbed = fd.distributed.accumulate(plain, y, w)
    np.testing.assert_array_equal(acc.path(LAM, XI).coef, undisturbed.path(LAM, XI).coef)
    assert_same(acc.path(LAM, XI), whole)
    np.testing.assert_allclose(errors, whole.loo_mse, rtol=1e-9)
