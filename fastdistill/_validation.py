"""The one gate: kinds, shapes, dtype, order, finiteness, penalties, schedules.

Every public function passes its arguments through here once; nothing behind the gate checks again. Results are
float64 arrays (or the caller's own memory where it already is one: inputs are never written to).
Wrong kinds raise `TypeError`, wrong values raise `ValueError`; each message names the argument, the offending
number and what to do about it.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

SYMMETRY_TOLERANCE = 1e-8  # relative to the largest absolute entry; 16 eps for float32


def real_array(a: Any, name: str, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Any array-like of finite real numbers as a float64 array (no copy where it is one already)."""
    if hasattr(a, "toarray"):
        raise TypeError(f"{name} is sparse, but a dense array is needed here; pass {name}.toarray().")
    if isinstance(a, np.ma.MaskedArray) and np.ma.is_masked(a):
        raise ValueError(f"{name} has masked entries; drop or impute them first.")
    try:
        arr = np.asarray(a)
    except ValueError as err:
        raise ValueError(f"{name} is not a rectangular array: {err}") from None
    if arr.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {arr.dtype}; pass its real part.")
    if arr.dtype.kind in "mM":
        raise TypeError(f"{name} must hold real numbers, got dtype {arr.dtype}; convert dates to numbers first.")
    if arr.dtype.kind in "US" or (arr.dtype.kind == "O" and any(isinstance(v, str | bytes) for v in arr.flat)):
        text = next(v for v in arr.flat if isinstance(v, str | bytes))
        raise TypeError(f"{name} must hold real numbers, but {str(text)!r} is text; convert it to numbers first.")
    if arr.dtype.kind not in "fiub":
        try:  # as objects, so that the message shows 'a' and not np.str_('a')
            arr = arr.astype(object).astype(np.float64)
        except (TypeError, ValueError) as err:
            raise TypeError(f"{name} must hold real numbers, got dtype {arr.dtype}: {err}") from None
    if ndim is not None:
        _check_ndim(arr.ndim, ndim, arr.shape, name)
    arr = arr.astype(np.float64, copy=False)
    check_finite(arr, name)
    return arr


def _check_ndim(got: int, allowed: int | tuple[int, ...], shape: tuple[int, ...], name: str) -> None:
    allowed = (allowed,) if isinstance(allowed, int) else allowed
    if got not in allowed:
        wanted = " or ".join(f"{k}-D" for k in allowed)
        raise ValueError(f"{name} must be {wanted}, got shape {shape}.")


def check_finite(arr: np.ndarray, name: str) -> None:
    """Raise where `arr` holds NaN or inf; one pass, and no temporary of the size of `arr` unless it fails."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(arr.sum()):  # finite numbers can overflow the sum: then look closer
            return
    bad = ~np.isfinite(arr)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        value = arr[where]
        kind = "NaN" if np.isnan(value) else "inf"
        raise ValueError(
            f"{name} contains {kind} at index {where if len(where) != 1 else where[0]} ({int(bad.sum())} non-finite "
            f"values in all); drop or impute them first."
        )


def design(X: Any, name: str = "X") -> Any:
    """A dense float64 (n, p) array, or a float64 CSR array for any scipy.sparse input (sorted, no duplicates)."""
    if hasattr(X, "tocsr"):
        return _sparse_design(X, name)
    return filled_matrix(X, name)


def filled_matrix(X: Any, name: str) -> np.ndarray:
    """A dense float64 matrix with at least one row and one column."""
    arr = real_array(X, name, ndim=2)
    _check_not_empty(arr.shape, name)
    return arr


def _sparse_design(X: Any, name: str) -> Any:
    from scipy.sparse import csr_array

    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}.")
    _check_ndim(len(X.shape), 2, X.shape, name)
    _check_not_empty(X.shape, name)
    csr = csr_array(X, dtype=np.float64, copy=True)
    csr.sum_duplicates()
    check_finite(csr.data, name)
    return csr


def _check_not_empty(shape: tuple[int, ...], name: str) -> None:
    if shape[0] == 0 or shape[1] == 0:
        raise ValueError(f"{name} is empty: shape {shape}; at least one sample and one feature are needed.")


def result_dtype(*arrays: Any) -> np.dtype:
    """float32 where the data came as float32, float64 for everything else."""
    kinds = set()
    for a in arrays:
        columns = getattr(a, "dtypes", None)  # of a data frame
        kinds |= set(columns) if columns is not None and not hasattr(a, "dtype") else {getattr(a, "dtype", None)}
    single = all(isinstance(kind, np.dtype) and kind.newbyteorder("=") == np.float32 for kind in kinds)
    return np.dtype(np.float32 if single else np.float64)


def kernel_matrix(K: Any, name: str = "K") -> np.ndarray:
    """A finite, square, symmetric float64 (n, n) array; definiteness is judged by its eigenvalues, later."""
    arr = filled_matrix(K, name)
    if arr.shape[0] != arr.shape[1]:
        raise ValueError(f"{name} must be square (n, n), got shape {arr.shape}; predictions take kernel(query, train).")
    worst, scale, size = 0.0, float(max(arr.max(), -arr.min())), 128
    for i in range(0, len(arr), size):  # by tiles that fit a cache: no second n by n array
        for j in range(i, len(arr), size):
            tile = arr[i : i + size, j : j + size] - arr[j : j + size, i : i + size].T
            worst = max(worst, float(tile.max()), -float(tile.min()))
    tolerance = max(SYMMETRY_TOLERANCE, 16 * float(np.finfo(result_dtype(K)).eps))
    if worst > tolerance * scale:
        raise ValueError(
            f"{name} must be symmetric: the largest |K - K.T| is {worst:.3g} against a largest entry of {scale:.3g}. "
            f"Pass (K + K.T) / 2 if the asymmetry is noise."
        )
    return arr


def targets(y: Any, n_samples: int, name: str = "y") -> tuple[np.ndarray, bool]:
    """Targets as (n, m) float64, and whether they came as one 1-D target."""
    arr = real_array(y, name, ndim=(1, 2))
    if len(arr) != n_samples:
        raise ValueError(f"{name} has {len(arr)} rows, but there are {n_samples} samples.")
    if arr.ndim == 2 and arr.shape[1] == 0:
        raise ValueError(f"{name} is empty: shape {arr.shape}; at least one target is needed.")
    return (arr[:, None], True) if arr.ndim == 1 else (arr, False)


def sample_weight(w: Any, n_samples: int) -> np.ndarray | None:
    """Non-negative (n,) weights, not all zero; a scalar means the same weight for every sample; None stays None."""
    if w is None:
        return None
    arr = real_array(w, "sample_weight")
    if arr.ndim > 1:
        raise ValueError(f"Sample weights must be 1D array or scalar; sample_weight has shape {arr.shape}.")
    if arr.ndim == 0:
        arr = np.full(n_samples, float(arr))
    if len(arr) != n_samples:
        raise ValueError(f"sample_weight has {len(arr)} entries, but there are {n_samples} samples.")
    if arr.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got {arr.min():.6g} at index {int(arr.argmin())}.")
    if arr.max() == 0:
        raise ValueError("sample_weight is zero for every sample; at least one must be positive.")
    return np.array(arr)  # a copy: it is kept, and the caller's may change


def batched_weights(w: Any, n_problems: int, n_samples: int) -> np.ndarray | None:
    """Weights (1, n) for all of B problems or (B, n), none of them zero for every sample; None stays None."""
    if w is None:
        return None
    arr = np.atleast_2d(real_array(w, "sample_weight", ndim=(1, 2)))
    if arr.shape not in {(1, n_samples), (n_problems, n_samples)}:
        raise ValueError(
            f"sample_weight must have shape ({n_samples},) or ({n_problems}, {n_samples}), got {np.shape(w)}."
        )
    if arr.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got {arr.min():.6g}.")
    if arr.max(axis=1).min() == 0:
        raise ValueError(f"sample_weight is zero for every sample of problem {int(arr.max(axis=1).argmin())}.")
    return arr


def penalties(lam: Any, name: str = "lam", *, positive: bool = False) -> np.ndarray:
    """Finite penalties, at least zero (above zero with `positive`), as a 0-D or 1-D float64 array."""
    arr = parameter(lam, name, ndim=(0, 1))
    if arr.size == 0:
        raise ValueError(f"{name} is empty; at least one penalty is needed.")
    wrong = arr <= 0 if positive else arr < 0
    if wrong.any() and arr.size == 1:
        bound = "positive" if positive else "at least 0"
        raise ValueError(f"{name} must be {bound}, got {arr.min():.6g}; it is a penalty on the sum of squares.")
    if wrong.any():
        first = int(wrong.argmax())
        bound = "" if positive else " (or 0: no penalty)"
        raise ValueError(f"{name}[{first}] == {arr[first]:.6g}, must be > 0.0{bound}.")
    return arr


def parameter(value: Any, name: str, *, ndim: int | tuple[int, ...]) -> np.ndarray:
    """One or several numbers that a caller chose, as `real_array` has them; text, True and False are no numbers."""
    several = isinstance(value, list | tuple)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if several or kind == "O" or isinstance(value, bool | np.bool_):
        for i, entry in enumerate(_entries(value)):
            if isinstance(entry, bool | np.bool_ | str | bytes):
                where = f"{name}[{i}]" if several and len(value) > 1 else name
                raise TypeError(f"{where} must be an instance of float, not {type(entry).__name__}; got {entry!r}.")
    arr = real_array(value, name, ndim=ndim)
    if kind == "b":
        raise TypeError(f"{name} must hold real numbers, but it holds True and False.")
    return arr


def _entries(value: Any) -> Iterator[Any]:
    """What nested lists, tuples and arrays hold, or the value itself."""
    if isinstance(value, np.ndarray):
        yield from value.flat
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _entries(entry)
    else:
        yield value


def schedule(xi: Any, n_steps: Any = None) -> np.ndarray:
    """Imitation weights as a (k,) or (Q, k) float64 array; a scalar is repeated `n_steps` times."""
    arr = parameter(xi, "xi", ndim=(0, 1, 2))
    if arr.ndim == 0:
        if n_steps is None:
            raise ValueError("A scalar xi needs n_steps=k, the number of distillation steps; or pass a (k,) schedule.")
        return np.full(integer(n_steps, "n_steps", minimum=0), float(arr))
    if n_steps is not None and integer(n_steps, "n_steps", minimum=0) != arr.shape[-1]:
        raise ValueError(f"xi holds a schedule of {arr.shape[-1]} steps, but n_steps={n_steps}; drop one of the two.")
    if arr.ndim == 2 and arr.shape[0] == 0:
        raise ValueError("xi is empty: at least one schedule is needed.")
    return arr


def shown(value: Any) -> str:
    """How a message shows what it was given: NumPy's numbers and strings as those of Python."""
    if isinstance(value, list | tuple):
        inside = ", ".join(map(shown, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    return repr(value.item() if isinstance(value, np.generic) else value)


def integer(value: Any, name: str, *, minimum: int | None = None) -> int:
    """A Python int from any integral number (not bool)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {shown(value)} of type {type(value).__name__}.")
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    return int(value)


def thread_count(value: Any, name: str = "n_threads") -> int:
    """A positive number of threads; None means as many as this process may use."""
    if value is not None:
        return integer(value, name, minimum=1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def scalar(
    value: Any,
    name: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    strict: bool = False,
) -> float:
    """A finite Python float within [minimum, maximum]; `strict` excludes the minimum itself."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {shown(value)} of type {type(value).__name__}.")
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}.")
    if minimum is not None and (number < minimum or (strict and number == minimum)):
        raise ValueError(f"{name} must be {'above' if strict else 'at least'} {minimum:g}, got {number:.6g}.")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum:g}, got {number:.6g}.")
    return number


def choice(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    """One of the allowed strings."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(value)}.")
    return value


def boolean(value: Any, name: str) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}.")
    return bool(value)


def spectrum_values(d: Any, name: str = "d", *, positive: bool = False) -> np.ndarray:
    """Eigenvalues: a 1-D float64 array, at least zero (above zero with `positive`)."""
    arr = real_array(d, name, ndim=1)
    if arr.size == 0:
        raise ValueError(f"{name} is empty; at least one eigenvalue is needed.")
    if arr.min() < 0 or (positive and arr.min() == 0):
        bound = "positive" if positive else "at least 0"
        raise ValueError(f"{name} must be {bound} (eigenvalues of a kernel matrix), got {arr.min():.6g}.")
    return arr
