"""Compiled kernels: plain nopython functions on arrays, callable from anyone's `numba.njit` code.

No Python objects, no globals, no hidden threads; the GIL is released; results go to `out` arguments. Shapes stand in
each function's docstring. Importing this package imports numba.
"""

from fastdistill.kernels.filters import (
    COLLAPSED,
    DUAL,
    FILTER,
    INFEASIBLE,
    PRIMAL,
    RESIDUAL,
    UNFINISHED,
    dual_multipliers,
    filter_powers,
    leave_one_out,
    mixture_from_xi,
    multistep_filter,
    primal_multipliers,
    residual_filter,
    student_grid,
    tolerance_root,
    tolerance_rounds,
    xi_from_mixture,
)

__all__ = [
    "COLLAPSED",
    "DUAL",
    "FILTER",
    "INFEASIBLE",
    "PRIMAL",
    "RESIDUAL",
    "UNFINISHED",
    "dual_multipliers",
    "filter_powers",
    "leave_one_out",
    "mixture_from_xi",
    "multistep_filter",
    "primal_multipliers",
    "residual_filter",
    "student_grid",
    "tolerance_root",
    "tolerance_rounds",
    "xi_from_mixture",
]
