"""Students of dask arrays: sums over the row chunks on any scheduler, merged as a tree, then solved in this process.

With the sums G_b, c_b, t_b of chunk b about its own means (`fastdistill.spectral.decompositions.sums`)::

    accumulate    G, c, t of all rows from those of the chunks, eight at a time, in a tree of depth log_8(chunks)
    loo_mse       Σ_b Σ_{i in b} w_i (y_i − loo_i)² / Σ w, each chunk with the eigenvectors of the whole

A chunk's task reads the chunk and returns p (p + m) numbers, or one number per student: rows never leave their worker.
Tasks change nothing that they are given, so a scheduler may run one again whose worker was lost, and the answer stays
the same. The order of the merges follows the chunks, not the scheduler. A singular value decomposition of the dask
array would instead pass an n × p array of orthogonal rows between workers.

Cost: one task per row chunk, of h p (p + m) multiplications for h rows; O(p³) once, here. The dashboard and the
progress bars of dask show these tasks: ``with dask.diagnostics.ProgressBar(): ...``.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.spectral.accumulator import GramAccumulator
from fastdistill.spectral.summed_path import Block, LeftOut, SummedPath

__all__ = ["accumulate", "loo_mse"]

AT_ONCE = 8  # accumulators that one task merges


def accumulate(X: Any, y: Any, sample_weight: Any = None, fit_intercept: bool = True) -> GramAccumulator:
    """The sums of all samples of a dask array, Σ w (x − x̄)(x − x̄)ᵀ, Σ w (x − x̄)(y − ȳ)ᵀ and Σ w (y − ȳ)².

    Parameters
    ----------
    X : dask.array.Array (n, p)
        In row chunks of dense rows or `scipy.sparse` matrices; several chunks of columns are joined. Row counts may be
        unknown, as after ``DataFrame.to_dask_array()``.
    y : array-like or dask.array.Array (n,) or (n, m)
        Targets; brought to the row chunks of X.
    sample_weight : float, array-like or dask.array.Array (n,), optional
        Non-negative weights of the squared residuals, 1 by default.
    fit_intercept : bool
        Centre by the weighted means.

    Returns
    -------
    GramAccumulator
        As one that has seen the same rows here; for `GramAccumulator.path`, ``DistilledRidgeCV.fit_accumulated`` and
        `loo_mse`.

    Raises
    ------
    ImportError
        dask is not installed.
    TypeError
        X is no dask array.
    ValueError
        Rows of X, y and the weights that do not match; as in `GramAccumulator.partial_fit`.

    Notes
    -----
    Runs on the scheduler that dask would use: the `distributed.Client` of this process, or threads. One task per row
    chunk; a chunk and its p by p sums are all that a worker holds.

    Examples
    --------
    >>> import dask.array as da, numpy as np, fastdistill as fd
    >>> X = da.random.default_rng(0).standard_normal((10_000, 3), chunks=(1000, 3))
    >>> acc = fd.distributed.accumulate(X, X.sum(axis=1))
    >>> acc
    GramAccumulator(n_samples=10000, n_features=3, fit_intercept=True)
    >>> acc.path(1e-9, []).coef.round(6)
    array([[1., 1., 1.]])
    """
    dask = _dask()
    fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
    summed, merged = dask.delayed(_summed), dask.delayed(_merged)
    parts = [summed(*block, fit_intercept) for block in _blocks(X, y, sample_weight)]
    while len(parts) > 1:
        parts = [merged(parts[i : i + AT_ONCE]) for i in range(0, len(parts), AT_ONCE)]
    return dask.compute(parts[0])[0]


def loo_mse(
    acc: GramAccumulator, X: Any, y: Any, lam: Any, xi: Any, n_steps: int | None = None, sample_weight: Any = None
) -> np.ndarray:
    """Exact leave-one-out errors Σ w (y − loo)² / Σ w of every student, from one more pass over a dask array.

    Parameters
    ----------
    acc : GramAccumulator
        The sums of these samples, by `accumulate`.
    X, y, sample_weight
        As in `accumulate`, the same samples; chunks may differ.
    lam, xi, n_steps
        As in `GramAccumulator.path`.

    Returns
    -------
    ndarray (L,)(Q,)(k+1,)[m]
        As ``path.loo_mse`` of a `Spectrum`: each student and all its teachers refitted without the sample.

    Raises
    ------
    ImportError
        dask is not installed.
    TypeError
        X is no dask array, acc no GramAccumulator.
    ValueError
        As in `accumulate` and `GramAccumulator.path`; the number or the weight of the samples is not that of the sums.

    Notes
    -----
    O(n p (p + L Q k)) in one task per row chunk; each worker is sent the p by p eigenvectors once.

    Examples
    --------
    >>> import dask.array as da, numpy as np, fastdistill as fd
    >>> X = da.random.default_rng(0).standard_normal((10_000, 3), chunks=(1000, 3))
    >>> acc = fd.distributed.accumulate(X, X.sum(axis=1))
    >>> fd.distributed.loo_mse(acc, X, X.sum(axis=1), [1.0, 100.0], [0.5]).shape
    (2, 2)
    """
    dask = _dask()
    if not isinstance(acc, GramAccumulator):
        raise TypeError(f"acc must be a GramAccumulator, got {type(acc).__name__}.")
    path, left_out = acc.path(lam, xi, n_steps), dask.delayed(_left_out)
    shared = dask.delayed(path, traverse=False)
    parts = dask.compute(*[left_out(shared, *block) for block in _blocks(X, y, sample_weight)])
    return path.mean_left_out(part for part in parts if part is not None)


def _dask() -> Any:
    try:
        import dask.array
    except ImportError as err:
        raise ImportError(
            'fastdistill.distributed needs dask; install it with: pip install "fastdistill[dask]", or pip install dask '
            "distributed"
        ) from err
    return dask


def _blocks(X: Any, y: Any, sample_weight: Any) -> list[tuple[Any, Any, Any]]:
    """One (X, y, sample_weight) per row chunk, each to be computed."""
    array = _dask().array
    if not isinstance(X, array.Array):
        raise TypeError(
            f"X must be a dask array (dask.array.from_array, DataFrame.to_dask_array), got {type(X).__name__}; "
            f"GramAccumulator().partial_fit(X, y) takes arrays and memory maps."
        )
    if X.ndim != 2:
        raise ValueError(f"X must be 2-D, got shape {X.shape}.")
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    rows = list(X.to_delayed().ravel())
    targets = _of_rows(y, X, "y")
    if sample_weight is None or np.ndim(sample_weight) == 0:
        weights = [sample_weight] * len(rows)
    else:
        weights = _of_rows(sample_weight, X, "sample_weight")
    return list(zip(rows, targets, weights, strict=True))


def _of_rows(values: Any, X: Any, name: str) -> list[Any]:
    """Values of the samples in the row chunks of X."""
    array = _dask().array
    is_known = not np.isnan(X.shape[0])
    if not isinstance(values, array.Array):
        values = np.asarray(values)
        if not is_known:
            raise ValueError(f"The rows of X are not counted, so {name} must be a dask array with the chunks of X.")
        values = array.from_array(values, chunks=-1)
    is_counted = is_known and not np.isnan(values.shape[0])
    if values.ndim == 0 or (is_counted and values.shape[0] != X.shape[0]):
        raise ValueError(f"{name} must have {X.shape[0]} rows as X has, got shape {values.shape}.")
    if is_counted:
        values = values.rechunk((X.chunks[0], *((-1,) * (values.ndim - 1))))
    elif values.numblocks[0] != X.numblocks[0]:
        raise ValueError(
            f"Rows are not counted, so {name} needs the row chunks of X: it has {values.numblocks[0]}, X has "
            f"{X.numblocks[0]}. X.compute_chunk_sizes() counts them."
        )
    elif values.ndim > 1 and values.numblocks[1] > 1:
        values = values.rechunk({1: -1})
    return list(values.to_delayed().ravel())


def _summed(X: Any, y: Any, sample_weight: Any, fit_intercept: bool) -> GramAccumulator:
    """The sums of a chunk; filters leave some chunks without rows."""
    acc = GramAccumulator(fit_intercept)
    return acc.partial_fit(X, y, sample_weight) if X.shape[0] else acc


def _merged(parts: list[GramAccumulator]) -> GramAccumulator:
    """A new accumulator: the parts stay as they are, for a task that is run again."""
    return reduce(GramAccumulator.merge, parts, GramAccumulator(parts[0].fit_intercept))


def _left_out(path: SummedPath, X: Any, y: Any, sample_weight: Any) -> LeftOut | None:
    """Leave-one-out of a chunk; None of one without rows."""
    return path.left_out(Block(X, y, sample_weight)) if X.shape[0] else None
