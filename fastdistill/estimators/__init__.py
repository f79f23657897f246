"""Self-distilled models with scikit-learn's interface."""

from __future__ import annotations

try:
    from sklearn.utils.validation import validate_data  # noqa: F401 (a probe: new in scikit-learn 1.6)
except ImportError as err:
    raise ImportError(
        'fastdistill.estimators needs scikit-learn 1.6 or newer; install it with: pip install "fastdistill[all]"'
    ) from err

from fastdistill.estimators.kernel_ridge import DistilledKernelRidge
from fastdistill.estimators.kernel_ridge_cv import DistilledKernelRidgeCV
from fastdistill.estimators.ridge import DistilledRidge
from fastdistill.estimators.ridge_classifier import DistilledRidgeClassifier, DistilledRidgeClassifierCV
from fastdistill.estimators.ridge_cv import DistilledRidgeCV
from fastdistill.estimators.self_distiller import SelfDistiller
from fastdistill.estimators.sgd import KDSGDRegressor
from fastdistill.estimators.sgd_classifier import KDSGDClassifier

__all__ = [
    "DistilledKernelRidge",
    "DistilledKernelRidgeCV",
    "DistilledRidge",
    "DistilledRidgeCV",
    "DistilledRidgeClassifier",
    "DistilledRidgeClassifierCV",
    "KDSGDClassifier",
    "KDSGDRegressor",
    "SelfDistiller",
]
