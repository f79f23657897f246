"""What the distilled regressors share: tags, checks of the common parameters, and an affine prediction.

======================================  ==================
paper                                   here
======================================  ==================
P: imitation parameters ξ_1, …, ξ_k     ``xi``
B: ground-truth weights α_t = 1 − ξ_t   ``1 - xi``
penalty λ on the sum of squares         ``alpha``
======================================  ==================

Cost: nothing beside the decomposition in `fastdistill.Spectrum`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fastdistill import _validation as validation

# What `validate_data` is to make of X in `fit` and in `predict`: float32 stays float32, the rest becomes float64.
DATA: dict[str, Any] = {"accept_sparse": ("csr", "csc"), "dtype": (np.float64, np.float32)}


class DistilledRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of the regressors whose model is the last student of a `fastdistill.DistillationPath`."""

    alpha: Any
    xi: Any
    n_steps: Any
    fit_intercept: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_recursion(self) -> tuple[float, np.ndarray]:
        """The penalty and the (k,) schedule that `alpha`, `xi` and `n_steps` stand for."""
        validation.boolean(self.fit_intercept, "fit_intercept")
        penalty = validation.scalar(self.alpha, "alpha", minimum=0.0)
        xi = validation.real_array(self.xi, "xi", ndim=(0, 1))
        if xi.ndim == 1 and self.n_steps is not None:
            n_steps = validation.integer(self.n_steps, "n_steps", minimum=0)
            if n_steps != len(xi):
                raise ValueError(
                    f"xi holds a schedule of {len(xi)} steps, but n_steps={n_steps}; set n_steps={len(xi)} or "
                    f"n_steps=None."
                )
        return penalty, validation.schedule(xi, self.n_steps)

    def _check_queries(self, X: Any) -> Any:
        """X of `predict` through scikit-learn's gate."""
        check_is_fitted(self)
        return validate_data(self, X, reset=False, **DATA)


def affine(rows: Any, coefficients: np.ndarray, intercept: Any, dtype: Any) -> np.ndarray:
    """`rows` @ `coefficients` + `intercept`, summed in float64 and returned as `dtype`."""
    values = rows @ coefficients.astype(np.float64, copy=False) + intercept
    return np.asarray(values.astype(dtype, copy=False))
