"""Self-distilled models with scikit-learn's interface.

The names stand in the stub beside this file, and each loads its own module at its first use: the ridge estimators do
not wait for numba, which stochastic gradient descent imports.
"""

from __future__ import annotations

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  # a probe: new in scikit-learn 1.6
except ImportError as err:
    raise ImportError(
        'fastdistill.estimators needs scikit-learn 1.6 or newer; install it with: pip install "fastdistill[all]"'
    ) from err

from fastdistill.base.lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
