"""The spectrum that an estimator has of its training samples.

Cost: nothing before something needs the decomposition.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from fastdistill.estimators.kernel_ridge import DistilledKernelRidge, Kernel
from fastdistill.estimators.kernel_ridge_cv import DistilledKernelRidgeCV
from fastdistill.estimators.ridge import DistilledRidge
from fastdistill.estimators.ridge_cv import DistilledRidgeCV
from fastdistill.spectral.path import DistillationPath
from fastdistill.spectral.spectrum import Spectrum

GIVEN = (DistilledRidge, DistilledKernelRidge)  # penalty and weights as given
TUNED = (DistilledRidgeCV, DistilledKernelRidgeCV)


def training_spectrum(estimator: Any, X: Any, sample_weight: Any) -> Spectrum:
    """Of the design, or of the kernel that the estimator was given or has chosen.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        A tuned estimator before `fit`.
    """
    if isinstance(estimator, TUNED):
        check_is_fitted(estimator)
    if isinstance(estimator, DistilledRidge | DistilledRidgeCV):
        return Spectrum.from_design(X, estimator.fit_intercept, sample_weight)
    kernel = Kernel.of(estimator)
    if isinstance(estimator, DistilledKernelRidgeCV):
        kernel = replace(kernel, **estimator.kernel_params_)
    kernel.check()
    return kernel.spectrum(X if issparse(X) else np.asarray(X), sample_weight)


def students_of(estimator: Any, spectrum: Spectrum, y: Any, penalties: Any) -> DistillationPath:
    """The students of an estimator's weights and number of steps at these penalties."""
    steps = estimator.n_steps if np.ndim(estimator.xi) == 0 else None
    return spectrum.path(y, penalties, estimator.xi, steps)
