"""One function per theorem on self-distillation, named for what it gives.

`hilbert` [M]: rounds constrained by a residual tolerance; when they collapse and what they sparsify.
`ground_truth` [B]: rounds that keep a share of the ground truth; their limit is one ridge.
`fixed_design` [P]: excess risk of every student in fixed-design linear regression, and the best one.

Everything here is NumPy on arrays of eigenvalues (SciPy is loaded only by `best_student`): no data, no
decomposition and no compiler is needed to read off a bound.

References
----------
[M] Mobahi, Farajtabar, Bartlett (2020), "Self-Distillation Amplifies Regularization in Hilbert Space",
arXiv:2002.05715.
[B] Borup, Andersen (2021), "Even your Teacher Needs Guidance: Ground-Truth Targets Dampen Regularization
Imposed by Self-Distillation", arXiv:2102.13088.
[P] Pareek, Du, Oh (2024), "Understanding the Gains from Repeated Self-Distillation", arXiv:2407.04600.
"""

from fastdistill.theory.fixed_design import (
    BestMixture,
    FixedDesign,
    best_mixture,
    best_student,
    excess_risk,
    excess_risk_quadratic,
    oracle_filter,
    oracle_risk,
    separation_family,
)
from fastdistill.theory.ground_truth import (
    best_step_weight,
    convergence_rate,
    limit_filter,
    limit_penalty,
)
from fastdistill.theory.hilbert import (
    collapse_bound,
    early_stopping_filter,
    equivalent_spectrum,
    filter_ratios,
    multiplier_bounds,
    sparsity_bound,
    sparsity_index,
)

__all__ = [
    "BestMixture",
    "FixedDesign",
    "best_mixture",
    "best_step_weight",
    "best_student",
    "collapse_bound",
    "convergence_rate",
    "early_stopping_filter",
    "equivalent_spectrum",
    "excess_risk",
    "excess_risk_quadratic",
    "filter_ratios",
    "limit_filter",
    "limit_penalty",
    "multiplier_bounds",
    "oracle_filter",
    "oracle_risk",
    "separation_family",
    "sparsity_bound",
    "sparsity_index",
]
