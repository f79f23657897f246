"""The compiled kernels, loaded late: numba takes 0.4 s to import, and a kernel up to seconds to compile.

While numba is not loaded, few multipliers of students are formed in NumPy, by the operations of
`fastdistill.kernels.filters` in the same order, so that both give the same digits. Those of plain ridge, of which the
kernel of all forms would be compiled for nothing, always are.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

# Forms of multipliers, those of `fastdistill.kernels`: f, 1 − f, f / d and f / sqrt(d).
FILTER, RESIDUAL, DUAL, PRIMAL = range(4)
# Families whose students are made one by one: the kernel of one form compiles in 0.2 s, `student_grid`, which has all
# four, in 1.3 s, and a call of a kernel takes 1 us.
FEW_FAMILIES = 8
# Multipliers, and students of a family, up to which NumPy takes 0.07 ms at most (10 of plain ridge; kernels up to 16).
FEW_MULTIPLIERS, FEW_STUDENTS = 2**13, 8


def compiled_kernels() -> Any:
    """The package `fastdistill.kernels`, imported when the first number is needed."""
    from fastdistill import kernels

    return kernels


def fill_multipliers(values: np.ndarray, lam: np.ndarray, xi: np.ndarray, form: int, out: np.ndarray) -> None:
    """`kernels.student_grid`: in NumPy if it is small, otherwise of few families by the kernel of their form alone."""
    steps = xi.shape[1]
    if out.size <= FEW_MULTIPLIERS and steps < FEW_STUDENTS and not (steps and "fastdistill.kernels" in sys.modules):
        multipliers(values, lam, xi, form, out)
        return
    kernels = compiled_kernels()
    if len(out) > FEW_FAMILIES:
        kernels.student_grid(values, lam, xi, form, out)
        return
    fill = {
        FILTER: kernels.multistep_filter,
        RESIDUAL: kernels.residual_filter,
        DUAL: kernels.dual_multipliers,
        PRIMAL: kernels.primal_multipliers,
    }[form]
    for penalties, weights, students in zip(lam, xi, out, strict=True):
        fill(values, penalties, weights, students)


def multipliers(values: np.ndarray, lam: np.ndarray, xi: np.ndarray, form: int, out: np.ndarray) -> None:
    """`kernels.student_grid` in NumPy, all families at once."""
    penalty, weights = lam[:, :, None], xi[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        total = (values * values if form == PRIMAL else values) + penalty
        if form == DUAL:
            np.divide(1.0, total, out=out)
            out[total == 0.0] = 0.0
        else:
            np.divide(values, total, out=out)
            out[..., values <= 0.0 if form == PRIMAL else values == 0.0] = 0.0
        if form == RESIDUAL:
            ratio = out.copy()
            np.divide(penalty, total, out=out)
            out[ratio == 0.0] = 1.0
            for t in range(1, out.shape[1]):
                out[:, t] += ratio[:, t] * weights[:, t - 1] * out[:, t - 1]
            return
        for t in range(1, out.shape[1]):
            carried = weights[:, t - 1] if form == FILTER else weights[:, t - 1] * values
            out[:, t] *= (1.0 - weights[:, t - 1]) + carried * out[:, t - 1]
