"""The compiled kernels, loaded late: numba takes longer to import than NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

# Families whose students are made one by one: the kernel of one form compiles in 0.2 s, `student_grid`, which has all
# four, in 1.3 s, and a call of a kernel takes 1 us.
FEW_FAMILIES = 8


def compiled_kernels() -> Any:
    """The package `fastdistill.kernels`, imported when the first number is needed."""
    from fastdistill import kernels

    return kernels


def fill_multipliers(values: np.ndarray, lam: np.ndarray, xi: np.ndarray, form: int, out: np.ndarray) -> None:
    """`kernels.student_grid`, of few families by the kernel of their form alone."""
    kernels = compiled_kernels()
    if len(out) > FEW_FAMILIES:
        kernels.student_grid(values, lam, xi, form, out)
        return
    fill = {
        kernels.FILTER: kernels.multistep_filter,
        kernels.RESIDUAL: kernels.residual_filter,
        kernels.DUAL: kernels.dual_multipliers,
        kernels.PRIMAL: kernels.primal_multipliers,
    }[form]
    for penalties, weights, students in zip(lam, xi, out, strict=True):
        fill(values, penalties, weights, students)
