"""Self-distilled models with scikit-learn's interface: `DistilledRidge` and `DistilledKernelRidge`."""

from __future__ import annotations

try:
    from sklearn.utils.validation import validate_data  # noqa: F401 (a probe: new in scikit-learn 1.6)
except ImportError as err:
    raise ImportError(
        'fastdistill.estimators needs scikit-learn 1.6 or newer; install it with: pip install "fastdistill[all]"'
    ) from err

from fastdistill.estimators.kernel_ridge import DistilledKernelRidge
from fastdistill.estimators.ridge import DistilledRidge
from fastdistill.estimators.self_distiller import SelfDistiller

__all__ = ["DistilledKernelRidge", "DistilledRidge", "SelfDistiller"]
