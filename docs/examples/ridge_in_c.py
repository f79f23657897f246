"""Distilled ridge regression called from C, through the address of a compiled kernel.

`numba.cfunc` makes a C function of `fastdistill.kernels.ridge_students`: it takes no lock of Python, allocates nothing
and never raises. ``ridge_in_c.c`` calls it for many problems in a loop; here that file is compiled by the system's C
compiler, and given the address. Run me: ``python docs/examples/ridge_in_c.py``.
"""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
from numba import carray, cfunc, types

from fastdistill.kernels import ridge_students, ridge_workspace

SOURCE = Path(__file__).with_suffix(".c")
DOUBLES, LONG, INT = types.CPointer(types.float64), types.int64, types.int32
SIGNATURE = INT(
    DOUBLES, LONG, LONG, DOUBLES, DOUBLES, LONG, types.float64, DOUBLES, LONG, INT, DOUBLES, DOUBLES, DOUBLES
)


@cfunc(SIGNATURE)
def ridge_fit(X, n, p, y, weight, n_weights, lam, xi, k, fit_intercept, coef, intercept, work):
    """X (n, p), y (n,), weight (n_weights,), 0 or n of them, xi (k,) -> coef (k+1, p), intercept (k+1,); a status."""
    return ridge_students(
        carray(X, (n, p)),
        carray(y, (n,)),
        carray(weight, (n_weights,)),
        lam,
        carray(xi, (k,)),
        fit_intercept != 0,
        carray(coef, (k + 1, p)),
        carray(intercept, (k + 1,)),
        carray(work, (ridge_workspace(p),)),
    )


def compile_library(compiler: str, folder: Path) -> ctypes.CDLL:
    """``ridge_in_c.c`` as a shared library in `folder`."""
    library = folder / "ridge_in_c.so"
    command = [compiler, "-O2", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", str(SOURCE), "-o", str(library)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def fit_problems(library: ctypes.CDLL, X, y, lam, xi):
    """Students of B problems, by the loop in C: X (B, n, p), y (B, n) -> coef, intercept and the worst status."""
    n_problems, n, p = X.shape
    coef, intercept = np.empty((n_problems, len(xi) + 1, p)), np.empty((n_problems, len(xi) + 1))
    arrays = [np.ascontiguousarray(array, dtype=np.float64) for array in (X, y, xi)]
    X_, y_, xi_, coef_, intercept_ = (ctypes.c_void_p(array.ctypes.data) for array in (*arrays, coef, intercept))
    sizes = [ctypes.c_int64(size) for size in (n_problems, n, p)]
    k = ctypes.c_int64(len(xi))
    address = ctypes.c_void_p(ridge_fit.address)
    status = library.fit_problems(address, *sizes, X_, y_, ctypes.c_double(lam), xi_, k, coef_, intercept_)
    return coef, intercept, status


if __name__ == "__main__":
    import shutil
    import tempfile

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("No C compiler found (cc, gcc or clang).")
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1000, 64, 8)), rng.standard_normal((1000, 64))
    with tempfile.TemporaryDirectory() as folder:
        coef, intercept, status = fit_problems(compile_library(compiler, Path(folder)), X, y, 1.0, [1.0, 0.5])
    print(f"{len(coef)} problems, worst status {status}; the last student of the first one: {coef[0, -1].round(3)}")
