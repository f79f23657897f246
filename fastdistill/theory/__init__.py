"""One function per theorem on self-distillation, named for what it gives.

`hilbert` [M]: rounds constrained by a residual tolerance; when they collapse and what they sparsify.
`ground_truth` [B]: rounds that keep a share of the ground truth; their limit is one ridge.
`fixed_design` [P]: excess risk of every student in fixed-design linear regression, and the best one.
`one_step` [D]: the best weight of one step, its sign, and when it beats ridge strictly.
`variance_reduction` [S]: what a teacher does to the noise of stochastic gradient descent, and how fast that converges.
`stationary` [S]: the exact stationary mean and covariance on least squares, and the exactly best weight.

Ridge and kernels: NumPy on arrays of eigenvalues (SciPy is loaded only by `best_student`): no data, no decomposition
and no compiler is needed to read off a bound. `empirical_mixing` takes predictions, and [S] takes the data.

References
----------
[M] Mobahi, Farajtabar, Bartlett (2020), "Self-Distillation Amplifies Regularization in Hilbert Space",
arXiv:2002.05715.
[B] Borup, Andersen (2021), "Even your Teacher Needs Guidance: Ground-Truth Targets Dampen Regularization
Imposed by Self-Distillation", arXiv:2102.13088.
[P] Pareek, Du, Oh (2024), "Understanding the Gains from Repeated Self-Distillation", arXiv:2407.04600.
[D] Dang, Patil, Rinaldo (2026), "Optimal Unconstrained Self-Distillation in Ridge Regression: Strict Improvements,
Precise Asymptotics, and One-Shot Tuning", arXiv:2602.17565.
[S] Safaryan, Peste, Alistarh (2023), "Knowledge Distillation Performs Partial Variance Reduction", arXiv:2305.17581.
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
from fastdistill.theory.one_step import (
    OptimalMixing,
    empirical_mixing,
    optimal_mixing,
    risk_derivative,
    sign_rule,
    strict_improvement,
)
from fastdistill.theory.stationary import (
    KDStationary,
    kd_stationary,
    kd_stationary_weight,
    largest_stable_step,
)
from fastdistill.theory.variance_reduction import (
    KDNeighbourhood,
    Smoothness,
    compressed_distance_bound,
    kd_distance_bound,
    kd_loss_bound,
    kd_neighbourhood,
    smoothness,
)

__all__ = [
    "BestMixture",
    "FixedDesign",
    "KDNeighbourhood",
    "KDStationary",
    "OptimalMixing",
    "Smoothness",
    "best_mixture",
    "best_step_weight",
    "best_student",
    "collapse_bound",
    "compressed_distance_bound",
    "convergence_rate",
    "early_stopping_filter",
    "empirical_mixing",
    "equivalent_spectrum",
    "excess_risk",
    "excess_risk_quadratic",
    "filter_ratios",
    "kd_distance_bound",
    "kd_loss_bound",
    "kd_neighbourhood",
    "kd_stationary",
    "kd_stationary_weight",
    "largest_stable_step",
    "limit_filter",
    "limit_penalty",
    "multiplier_bounds",
    "optimal_mixing",
    "oracle_filter",
    "oracle_risk",
    "risk_derivative",
    "separation_family",
    "sign_rule",
    "smoothness",
    "sparsity_bound",
    "sparsity_index",
    "strict_improvement",
]
