"""A symmetric matrix in tridiagonal form: K = Q T Qᵀ, Q orthogonal and never formed.

`OneStage` is LAPACK's `sytrd`, half of whose operations run at the speed of memory. `TwoStage` has nearly all of them
in products of matrices: first a band B of `WIDTH` subdiagonals, K = Q₁ B Q₁ᵀ, by block reflectors::

    panel below the band = H R      H = I − V S Vᵀ      Y = K V S − ½ V (Sᵀ Vᵀ K V S)      K ← K − V Yᵀ − Y Vᵀ

and then B = Q₂ T Q₂ᵀ (`fastdistill.kernels.band_to_tridiagonal`); Q = Q₁ Q₂ (Bischof, Lang, Sun 2000, ACM Transactions
on Mathematical Software 26).

Cost: 4/3 n³ operations, and 6 n² `WIDTH` for the second stage; it keeps 1.5 n² numbers, and for a time the matrix too.
Measured, one thread, RBF, milliseconds for T, for 64 products with Q, and for all eigenvectors:

======  ==================  ==================  ===================
n       `OneStage`          `TwoStage`          `numpy.linalg.eigh`
======  ==================  ==================  ===================
500     7.0 and 1.2         15 and 3.6          23
1000    70 and 4.1          71 and 16           180
1500    240 and 9.6         190 and 38          530
2000    580 and 16          380 and 50          1250
3000    1830 and 42         1160 and 160        4100
======  ==================  ==================  ===================
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import numpy as np
from scipy.linalg import cython_blas, lapack

from fastdistill.spectral.compiled import compiled_kernels

WIDTH = 32  # of the band: with 24 and 48 the two stages take as long
LANE = 8  # numbers that the second stage may read beyond those of a column
LEAST_SIDE = 1200  # of a matrix that is reduced in two stages
AT_A_TIME = 64  # vectors rotated together: of some thousand numbers, as many as a processor's second cache holds
LARGEST, SMALLEST = 1e100, 1e-100  # entries whose squares, and the sums of these, are in range


class Reduction(Protocol):
    """T and Q of a symmetric matrix."""

    diagonal: np.ndarray
    off: np.ndarray

    def rotate(self, vectors: np.ndarray, *, transpose: bool = False) -> np.ndarray:
        """Q c, or Qᵀ c, of vectors c (count, n), in a new array."""


def reduce(matrix: np.ndarray) -> Reduction:
    """Of a symmetric (n, n) matrix in Fortran order, which is overwritten."""
    return OneStage(matrix) if len(matrix) < LEAST_SIDE else TwoStage(matrix)


class OneStage:
    """By LAPACK's `sytrd`. Its reflectors stay in the memory of the matrix."""

    def __init__(self, matrix: np.ndarray) -> None:
        size = len(matrix)
        if size < 2:
            self.diagonal, self.off = matrix.diagonal().copy(), np.empty(0)
            return
        lwork = int(lapack.dsytrd_lwork(size, lower=1)[0])
        matrix, self.diagonal, self.off, self._tau, _ = lapack.dsytrd(matrix, lower=1, lwork=lwork, overwrite_a=1)
        # Q = diag(1, Q'), and Q' is stored as by a QR factorisation, from the second row on. LAPACK's wrappers copy
        # what is not contiguous; read from the second entry on, the memory is that of n by n − 1 reflectors with one
        # more entry at the end, from the row of R above, which 0 makes the identity.
        matrix[0, 1:] = 0.0
        self._reflectors = _shifted(matrix.ravel(order="K"), size, size - 1)

    def rotate(self, vectors: np.ndarray, *, transpose: bool = False) -> np.ndarray:
        """Q c, or Qᵀ c, of vectors c (count, n), in a new array."""
        count, size = vectors.shape
        if size < 2:
            return vectors.copy()
        buffer = np.empty(count * size + 1)
        buffer[-1] = 0.0  # multiplied by 0, and what memory holds could be NaN
        rotated = buffer[:-1].reshape(count, size)
        rotated[:] = vectors
        columns, trans = _shifted(buffer, size, count), "T" if transpose else "N"
        _, work, _ = lapack.dormqr("L", trans, self._reflectors, self._tau, columns, -1, overwrite_c=1)
        lapack.dormqr("L", trans, self._reflectors, self._tau, columns, int(work[0]), overwrite_c=1)
        return rotated


def _shifted(buffer: np.ndarray, size: int, columns: int) -> np.ndarray:
    """The contiguous (size, columns) array, in Fortran order, whose first entry is the second one of `buffer`."""
    return buffer[1 : 1 + size * columns].reshape((size, columns), order="F")


class TwoStage:
    """By a band. Block reflectors V, S of the first stage, those of the second in ``_reflectors`` and ``_factors``."""

    def __init__(self, matrix: np.ndarray) -> None:
        scale = _power_of_two(matrix)
        if scale != 1.0:
            matrix *= scale
        self._blocks = _to_band(matrix)
        size = len(matrix)
        band = np.zeros((size, 2 * WIDTH + LANE))
        for i in range(min(WIDTH + 1, size)):
            band[: size - i, i] = matrix.diagonal(-i)
        self._reflectors = np.empty((-(-size // WIDTH), size, WIDTH))
        self._factors = np.empty(self._reflectors.shape[:2])
        compiled_kernels().band_to_tridiagonal(band, self._reflectors, self._factors)
        self.diagonal, self.off = band[:, 0] / scale, band[:-1, 1] / scale

    def rotate(self, vectors: np.ndarray, *, transpose: bool = False) -> np.ndarray:
        """Q c, or Qᵀ c, of vectors c (count, n), in a new array."""
        count, size = vectors.shape
        padded = np.zeros((count, size + WIDTH))
        padded[:, :size] = vectors
        for start in range(0, count, AT_A_TIME):
            rows = padded[start : start + AT_A_TIME]
            if transpose:
                self._first_stage(rows[:, :size], transpose=True)
            compiled_kernels().rotate_from_band(self._reflectors, self._factors, transpose, rows)
            if not transpose:
                self._first_stage(rows[:, :size], transpose=False)
        return padded[:, :size]

    def _first_stage(self, vectors: np.ndarray, *, transpose: bool) -> None:
        """Q₁ c, or Q₁ᵀ c, of vectors c (count, n), in place."""
        for V, S in self._blocks if transpose else reversed(self._blocks):
            parts = vectors[:, vectors.shape[1] - len(V) :]
            parts -= ((parts @ V) @ (S if transpose else S.T)) @ V.T


def _power_of_two(matrix: np.ndarray) -> float:
    """That makes the largest entry about one; 1 where no square leaves the range of numbers."""
    largest = max(float(matrix.max()), -float(matrix.min()))
    return 1.0 if largest == 0.0 or SMALLEST < largest < LARGEST else 2.0 ** -round(np.log2(largest))


def _to_band(matrix: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first stage, in the lower triangle of `matrix`; block reflectors V (rows, WIDTH) and S, top to bottom."""
    size, blocks = len(matrix), []
    for start in range(0, size - WIDTH - 1, WIDTH):
        below = start + WIDTH
        panel = matrix[below:, start : start + WIDTH]
        V, S, triangle = _block_reflector(panel)
        panel[: len(triangle)], panel[len(triangle) :] = triangle, 0.0
        _both_sides(matrix, below, V, S)
        blocks.append((V, S))
    return blocks


def _block_reflector(panel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """V (rows, k) and S (k, k) of H = I − V S Vᵀ with panel = H R, and R; k = min(rows, columns)."""
    factored, tau, _, _ = lapack.dgeqrf(panel)
    k = len(tau)
    triangle, V = np.triu(factored[:k]), factored[:, :k]
    V[:k] = np.tril(V[:k], -1) + np.eye(k)
    V[:, tau == 0.0] = 0.0  # no reflector
    inverse = np.triu(V.T @ V, 1)
    inverse[np.arange(k), np.arange(k)] = 1.0 / np.where(tau == 0.0, 1.0, tau)
    S, _ = lapack.dtrtri(inverse)
    return V, S, triangle


def _both_sides(matrix: np.ndarray, below: int, V: np.ndarray, S: np.ndarray) -> None:
    """Hᵀ K H of the lower triangle of the trailing matrix, in place."""
    (rows, k), size = V.shape, len(matrix)
    trailing = ctypes.c_void_p(matrix.ctypes.data + matrix.itemsize * below * (size + 1))
    scaled, product = (S.T @ V.T).T, np.empty((rows, k), order="F")
    _blas("dsymm", b"L", b"L", rows, k, 1.0, trailing, size, scaled, rows, 0.0, product, rows)
    product -= ((product.T @ V @ (0.5 * S)) @ V.T).T
    _blas("dsyr2k", b"L", b"N", rows, k, -1.0, V, rows, product, rows, 1.0, trailing, size)


def _blas(name: str, *arguments: Any) -> None:
    """A BLAS routine on a part of a matrix, in place, where SciPy's wrapper would copy it."""
    of_type: dict[type, Callable[[Any], Any]] = {bytes: ctypes.c_char, int: ctypes.c_int, float: ctypes.c_double}
    pointers: list[Any] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            pointers.append(ctypes.c_void_p(argument.ctypes.data))
        elif isinstance(argument, ctypes.c_void_p):
            pointers.append(argument)
        else:
            pointers.append(ctypes.byref(of_type[type(argument)](argument)))
    _routine(name, len(pointers))(*pointers)


@cache
def _routine(name: str, n_arguments: int) -> Any:
    """From the addresses that SciPy publishes for compiled code."""
    python, capsule = ctypes.pythonapi, cython_blas.__pyx_capi__[name]
    python.PyCapsule_GetName.restype, python.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = python.PyCapsule_GetPointer(capsule, python.PyCapsule_GetName(capsule))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(address)
