"""One function per theorem on self-distillation, named for what it gives.

`hilbert` [M]: rounds constrained by a residual tolerance; when they collapse and what they sparsify.
`ground_truth` [B]: rounds that keep a share of the ground truth; their limit is one ridge.
`fixed_design` [P]: excess risk of every student in fixed-design linear regression, and the best one.
`one_step` [D]: the best weight of one step, its sign, and when it beats ridge strictly.
`variance_reduction` [S]: what a teacher does to the noise of stochastic gradient descent, and how fast that converges.
`random_design` [D]: the same for random inputs with many features, exact in the limit.
`two_stage` [W], [I]: a student of a weak teacher's labels on new inputs, and the best labels to learn from.
`generations` [C], [R]: models that learn from the labels of the one before, and the best share of real labels.
`label_noise` [L], [T]: imitation weights above one, and mixtures of Gaussians with wrong labels.
`stationary` [S]: the exact stationary mean and covariance on least squares, and the exactly best weight.

Ridge and kernels: NumPy on arrays of eigenvalues (SciPy is loaded by what searches for a root or a minimum): no data,
no decomposition and no compiler is needed to read off a bound. `empirical_mixing` takes predictions, and [S] takes the
data.

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
[W] Moniri, Hassani (2025), "On the Mechanisms of Weak-to-Strong Generalization", arXiv:2505.18346.
[I] Ildiz, Gozeten, Taga, Mondelli, Oymak (2024), "High-dimensional Analysis of Knowledge Distillation",
arXiv:2410.18837.
[C] Dohmatob, Feng, Kempe (2024), "Model Collapse Demystified: The Case of Regression", arXiv:2402.07712.
[R] Garg, Bhattacharya, Sur (2025), "Preventing Model Collapse Under Overparametrization", arXiv:2509.22341.
[L] Das, Sanghavi (2023), "Understanding Self-Distillation in the Presence of Label Noise", arXiv:2301.13304.
[T] Takanami, Takahashi, Sakata (2025), "The Effect of Optimal Self-Distillation in Noisy Gaussian Mixture Model",
arXiv:2501.16226.
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
from fastdistill.theory.generations import BestFraction, best_real_fraction, generation_risk
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
from fastdistill.theory.label_noise import estimation_mixing, mixture_error
from fastdistill.theory.one_step import (
    OptimalMixing,
    empirical_mixing,
    optimal_mixing,
    risk_derivative,
    sign_rule,
    strict_improvement,
)
from fastdistill.theory.random_design import asymptotic_one_step
from fastdistill.theory.stationary import (
    KDStationary,
    kd_stationary,
    kd_stationary_weight,
    largest_stable_step,
)
from fastdistill.theory.two_stage import OptimalSurrogate, WeakToStrong, optimal_surrogate, weak_to_strong_risk
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
    "BestFraction",
    "BestMixture",
    "FixedDesign",
    "KDNeighbourhood",
    "KDStationary",
    "OptimalMixing",
    "OptimalSurrogate",
    "Smoothness",
    "WeakToStrong",
    "asymptotic_one_step",
    "best_mixture",
    "best_real_fraction",
    "best_step_weight",
    "best_student",
    "collapse_bound",
    "compressed_distance_bound",
    "convergence_rate",
    "early_stopping_filter",
    "empirical_mixing",
    "equivalent_spectrum",
    "estimation_mixing",
    "excess_risk",
    "excess_risk_quadratic",
    "filter_ratios",
    "generation_risk",
    "kd_distance_bound",
    "kd_loss_bound",
    "kd_neighbourhood",
    "kd_stationary",
    "kd_stationary_weight",
    "largest_stable_step",
    "limit_filter",
    "limit_penalty",
    "mixture_error",
    "multiplier_bounds",
    "optimal_mixing",
    "optimal_surrogate",
    "oracle_filter",
    "oracle_risk",
    "risk_derivative",
    "separation_family",
    "sign_rule",
    "smoothness",
    "sparsity_bound",
    "sparsity_index",
    "strict_improvement",
    "weak_to_strong_risk",
]
