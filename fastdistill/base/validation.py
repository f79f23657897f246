"""Checks of arguments: kinds, shapes, dtype, order, finiteness, penalties, schedules.

Every public function passes its arguments through here once; nothing below checks again. Results are
float64 arrays (or the caller's own memory where it already is one: inputs are never written to).
Wrong kinds raise `TypeError`, wrong values raise `ValueError`; each message names the argument, the offending
number and what to do about it.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

FLOAT64 = np.dtype(np.float64)
EPS = float(np.finfo(np.float64).eps)
SYMMETRY_TOLERANCE = 1e-8  # relative to the largest absolute entry; 16 eps for float32
# Sizes of which products of a few, and sums of their squares, stay within float64 (1e-308 to 1e308) with digits to
# spare: of data, kernels and eigenvalues, of factors of their squares, of weights, and of what enters linearly.
LARGEST = 1e100
LARGEST_FACTOR = 1e50
LARGEST_WEIGHT = 1e30
LARGEST_LINEAR = 1e300
ROUNDING = (1e3 * EPS) ** 2  # squared errors of an exact fit, in those of the targets
ALL_ZERO = "sample_weight is zero for every sample; at least one must be positive."
LARGEST_TARGET = 1e75  # larger targets are scaled by a power of two, of which every student is a multiple


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
    if math.isfinite(square_sum(arr)):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(arr.sum()):  # finite numbers can overflow sums: then look closer
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


def is_ordinary(arr: np.ndarray, largest: float = LARGEST) -> bool:
    """Whether one pass, over the squares, shows that all is finite, and the largest entry within 1 / largest, largest.

    Where it shows nothing, `check_finite` and `sized` look closer.
    """
    return squares_within(square_sum(arr), arr.size, largest)


def square_sum(arr: np.ndarray) -> float:
    """The sum of all squares; NaN where that would need a copy. Inf, and no warning, where it overflows."""
    if arr.dtype != FLOAT64 or not (arr.flags.c_contiguous or arr.flags.f_contiguous):
        return math.nan
    flat = arr.ravel(order="K")
    return float(np.vdot(flat, flat))  # which never warns of overflow: `errstate` would cost as much as all else here


def squares_within(total: float, size: int, largest: float) -> bool:
    """Whether the sum of squares of so many entries shows what `is_ordinary` says; never where bounds leave float64."""
    return 0.0 < size / largest / largest <= total <= largest * largest < math.inf


def largest_entry(arr: np.ndarray) -> float:
    """The largest absolute entry, 0 of an empty array; no temporary of the size of `arr`."""
    return max(float(arr.max(initial=0)), -float(arr.min(initial=0)))


def sized(arr: np.ndarray, name: str, largest: float = LARGEST, *, smallest: float | None = None) -> np.ndarray:
    """The array itself, its largest absolute entry zero or from `smallest` (1 / largest) to `largest`; else raise."""
    if is_ordinary(arr, largest):  # one pass instead of two, in a call that takes a microsecond
        return arr
    smallest, size = 1.0 / largest if smallest is None else smallest, largest_entry(arr)
    if size and not smallest <= size <= largest:
        what, does = ("small", "underflow") if size < smallest else ("large", "overflow")
        raise ValueError(
            f"{name} is too {what}: its largest entry is {size:.3g} in size, and products of such numbers {does} in "
            f"float64. Rescale it to a size between {smallest or 1 / largest:.0e} and {largest:.0e}, for example "
            f"by dividing it by {size:.3g} or by its standard deviation; penalties go with the squares of X, with K "
            f"and with sample_weight."
        )
    return arr


def each_sized(arr: np.ndarray, name: str, largest: float = LARGEST) -> np.ndarray:
    """`sized` for each part along the first axis."""
    axes = tuple(range(1, arr.ndim))
    size = np.maximum(arr.max(axis=axes), -arr.min(axis=axes))
    for i in np.flatnonzero((size > largest) | ((size < 1.0 / largest) & (size > 0)))[:1]:
        sized(arr[i], f"{name}[{i}]", largest)
    return arr


def unit_size(arr: np.ndarray, largest: float = LARGEST_TARGET) -> float:
    """A power of two that brings an array to unit size: 1 unless its largest entry lies beyond 1 / largest, largest."""
    if is_ordinary(arr, largest):
        return 1.0
    size = largest_entry(arr)
    if size == 0.0 or 1.0 / largest <= size <= largest:
        return 1.0
    return float(2.0 ** min(max(int(np.floor(np.log2(size))), -1021), 1022))


def in_units(y: np.ndarray) -> tuple[np.ndarray, float]:
    """Targets at unit size and the power of two they were divided by, 1 for all but extreme ones."""
    scale = unit_size(y)
    return (y, 1.0) if scale == 1.0 else (y / scale, scale)


def held(
    arr: np.ndarray, what: str, dtype: np.dtype, scale: float = 1.0, power: int = 0, negligible: float = 0.0
) -> np.ndarray:
    """`arr` times scale ** power as `dtype`; raises where finite numbers become infinite, or all of them too small.

    All at most `negligible` may vanish: they are rounding errors of zero.
    """
    if arr.dtype == dtype and (scale == 1.0 or power == 0):
        return arr
    with np.errstate(over="ignore", under="ignore"):
        out = arr
        for _ in range(power):
            out = out * scale
        out = out.astype(dtype, copy=False)
    finite = np.isfinite(arr)
    before, after = largest_entry(arr[finite]), largest_entry(out[finite])
    if after == np.inf or (before > negligible and after < np.finfo(dtype).tiny):
        does = "overflow" if after == np.inf else "underflow"
        raise ValueError(
            f"The {what} {does} in {dtype}: y, X (or K) or a penalty is too large or too small beside the others. "
            f"Rescale them, for example by dividing y and X by their standard deviations"
            f"{'' if dtype == np.float64 else ', or pass float64 data'}."
        )
    return out


def design(
    X: Any, name: str = "X", *, largest: float = LARGEST, smallest: float | None = None, copies: bool = True
) -> Any:
    """A dense float64 (n, p) array, or a float64 CSR array for any scipy.sparse input (sorted, no duplicates).

    Without `copies` the memory of a sparse X is shared where it can be, and CSC stays CSC.
    """
    if type(X) is np.ndarray and X.ndim == 2 and is_ordinary(X, largest):
        return X
    checked = _sparse_design(X, name, copies) if hasattr(X, "tocsr") else filled_matrix(X, name)
    sized(checked if isinstance(checked, np.ndarray) else checked.data, name, largest, smallest=smallest)
    return checked


def filled_matrix(X: Any, name: str) -> np.ndarray:
    """A dense float64 matrix with at least one row and one column."""
    arr = real_array(X, name, ndim=2)
    _check_not_empty(arr.shape, name)
    return arr


def implicit_design(X: Any, name: str = "X") -> Any:
    """A LinearOperator, or a finite memory map, checked in blocks of rows, as it is."""
    if getattr(X, "dtype", None) is None or X.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {getattr(X, 'dtype', None)}.")
    _check_ndim(len(X.shape), 2, X.shape, name)
    _check_not_empty(X.shape, name)
    if isinstance(X, np.ndarray):
        size, height = 0.0, max(1, 2**17 // X.shape[1])
        for start in range(0, len(X), height):
            block = np.asarray(X[start : start + height], dtype=np.float64)
            check_finite(block, f"{name}[{start}:]")
            size = max(size, largest_entry(block))
        sized(np.asarray(size), name)
    return X


def _sparse_design(X: Any, name: str, copies: bool) -> Any:
    from scipy.sparse import csc_array, csr_array

    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}.")
    _check_ndim(len(X.shape), 2, X.shape, name)
    _check_not_empty(X.shape, name)
    is_canonical = getattr(X, "has_canonical_format", False)
    if not copies and is_canonical and X.format in ("csr", "csc"):
        kind = csr_array if X.format == "csr" else csc_array
        checked = kind(X, dtype=np.float64)
    else:
        checked = csr_array(X, dtype=np.float64, copy=True)
        checked.sum_duplicates()
    check_finite(checked.data, name)
    return checked


def _check_not_empty(shape: tuple[int, ...], name: str) -> None:
    if shape[0] == 0 or shape[1] == 0:
        raise ValueError(f"{name} is empty: shape {shape}; at least one sample and one feature are needed.")


def result_dtype(*arrays: Any) -> np.dtype:
    """float32 where the data came as float32, float64 for everything else."""
    if len(arrays) == 1 and type(arrays[0]) is np.ndarray and arrays[0].dtype == FLOAT64:
        return FLOAT64
    kinds = set()
    for a in arrays:
        columns = getattr(a, "dtypes", None)  # of a data frame
        kinds |= set(columns) if columns is not None and not hasattr(a, "dtype") else {getattr(a, "dtype", None)}
    single = all(isinstance(kind, np.dtype) and kind.newbyteorder("=") == np.float32 for kind in kinds)
    return np.dtype(np.float32 if single else np.float64)


def kernel_matrix(K: Any, name: str = "K") -> tuple[np.ndarray, bool]:
    """A finite, square, symmetric float64 (n, n) array, and whether it is symmetric to rounding.

    Definiteness is judged by its eigenvalues, later.
    """
    is_checked = type(K) is np.ndarray and K.ndim == 2 and is_ordinary(K)
    arr = K if is_checked else filled_matrix(K, name)
    if arr.shape[0] != arr.shape[1]:
        raise ValueError(f"{name} must be square (n, n), got shape {arr.shape}; predictions take kernel(query, train).")
    if not is_checked:
        sized(arr, name)
    tolerance = max(SYMMETRY_TOLERANCE, 16 * float(np.finfo(result_dtype(K)).eps))
    # the root of the sum of squares is no smaller than the largest difference, and no diagonal entry above the largest
    difference = math.sqrt(sum(float(np.vdot(tile, tile)) for tile in _asymmetry(arr)))
    largest = float(np.abs(arr.diagonal()).max())
    if difference <= tolerance * largest:
        return arr, difference <= EPS * largest
    worst, scale = max(largest_entry(tile) for tile in _asymmetry(arr)), largest_entry(arr)
    if worst > tolerance * scale:
        raise ValueError(
            f"{name} must be symmetric: the largest |K - K.T| is {worst:.3g} against a largest entry of {scale:.3g}. "
            f"Pass (K + K.T) / 2 if the asymmetry is noise."
        )
    return arr, False


def _asymmetry(arr: np.ndarray, size: int = 128) -> Iterator[np.ndarray]:
    """arr − arr.T above the diagonal by tiles that fit a cache, each in the memory of the one before."""
    kept = np.empty(min(size, len(arr)) ** 2)
    for i in range(0, len(arr), size):
        for j in range(i, len(arr), size):
            above = arr[i : i + size, j : j + size]
            tile = kept[: above.size].reshape(above.shape)
            yield np.subtract(above, arr[j : j + size, i : i + size].T, out=tile)


def targets(y: Any, n_samples: int, name: str = "y") -> tuple[np.ndarray, bool]:
    """Targets as (n, m) float64, and whether they came as one 1-D target."""
    is_checked = type(y) is np.ndarray and y.ndim in (1, 2) and is_ordinary(y)
    arr = y if is_checked else real_array(y, name, ndim=(1, 2))
    if len(arr) != n_samples:
        raise ValueError(f"{name} has {len(arr)} rows, but there are {n_samples} samples.")
    if arr.ndim == 2 and arr.shape[1] == 0:
        raise ValueError(f"{name} is empty: shape {arr.shape}; at least one target is needed.")
    if not is_checked:
        sized(arr, name, LARGEST_LINEAR)
    return (arr[:, None], True) if arr.ndim == 1 else (arr, False)


def sample_weight(w: Any, n_samples: int, *, may_vanish: bool = False) -> np.ndarray | None:
    """Non-negative (n,) weights; a scalar means the same weight for every sample; None stays None.

    All of them may be zero only with `may_vanish`, as in a block of a larger problem.
    """
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
    if arr.max() == 0 and not may_vanish:
        raise ValueError(ALL_ZERO)
    sized(arr, "sample_weight", LARGEST_WEIGHT)
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
    return each_sized(arr, "sample_weight", LARGEST_WEIGHT)


def penalties(lam: Any, name: str = "lam", *, positive: bool = False) -> np.ndarray:
    """Finite penalties, at least zero (above zero with `positive`), as a 0-D or 1-D float64 array."""
    arr = parameter(lam, name, ndim=(0, 1))
    if arr.ndim == 0 and 1.0 / LARGEST_LINEAR <= arr <= LARGEST_LINEAR:
        return arr
    if arr.size == 0:
        raise ValueError(f"{name} is empty; at least one penalty is needed.")
    if arr.min() >= 1.0 / LARGEST_LINEAR and arr.max() <= LARGEST_LINEAR:
        return arr
    wrong = arr <= 0 if positive else arr < 0
    if wrong.any() and arr.size == 1:
        bound = "positive" if positive else "at least 0"
        raise ValueError(f"{name} must be {bound}, got {arr.min():.6g}; it is a penalty on the sum of squares.")
    if wrong.any():
        first = int(wrong.argmax())
        bound = "" if positive else " (or 0: no penalty)"
        raise ValueError(f"{name}[{first}] == {arr[first]:.6g}, must be > 0.0{bound}.")
    for end in (arr[arr > 0].min(initial=1.0), arr.max()):
        sized(np.asarray(end), name, LARGEST_LINEAR)
    return arr


def parameter(value: Any, name: str, *, ndim: int | tuple[int, ...]) -> np.ndarray:
    """One or several numbers that a caller chose, as `real_array` has them; text, True and False are no numbers."""
    if isinstance(value, float) and math.isfinite(value) and (ndim == 0 or (isinstance(ndim, tuple) and 0 in ndim)):
        return np.array(float(value))
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
        weights = np.empty(integer(n_steps, "n_steps", minimum=0))
        weights[...] = arr
        return weights
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
    # `numbers` asks at length what the usual types answer at once
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
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
    largest: float | None = None,
) -> float:
    """A finite Python float within [minimum, maximum]; `strict` excludes the minimum itself.

    With `largest` its absolute value must be 0 or lie between 1 / largest and largest, as the entries of `sized`.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise TypeError(f"{name} must be a real number, got {shown(value)} of type {type(value).__name__}.")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}.")
    if minimum is not None and (number < minimum or (strict and number == minimum)):
        raise ValueError(f"{name} must be {'above' if strict else 'at least'} {minimum:g}, got {number:.6g}.")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum:g}, got {number:.6g}.")
    if largest is not None:
        sized(np.asarray(number), name, largest)
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


def spectrum_values(d: Any, name: str = "d", *, positive: bool = False, largest: float = LARGEST) -> np.ndarray:
    """Eigenvalues: a 1-D float64 array, at least zero (above zero with `positive`), of a size up to `largest`."""
    arr = real_array(d, name, ndim=1)
    if arr.size == 0:
        raise ValueError(f"{name} is empty; at least one eigenvalue is needed.")
    if arr.min() < 0 or (positive and arr.min() == 0):
        bound = "positive" if positive else "at least 0"
        raise ValueError(f"{name} must be {bound} (eigenvalues of a kernel matrix), got {arr.min():.6g}.")
    return sized(arr, name, largest)
