"""Knowledge distillation that can be computed exactly: every student of every penalty, weight and step at one price.

The names below load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Spectrum": "spectrum",
    "DistillationPath": "path",
    "DistillationLimit": "path",
    "ToleranceRounds": "path",
    "Holdout": "tuning",
    "Tuned": "tuning",
    "mixture_from_xi": "tuning",
    "multistep_filter": "path",
    "tune": "tuning",
    "xi_from_mixture": "tuning",
    "DistilledKernelRidge": "estimators",
    "DistilledRidge": "estimators",
}
_ROOMS = ("estimators", "kernels", "theory")

__all__ = [*_HOMES, *_ROOMS, "__version__"]

if TYPE_CHECKING:
    from fastdistill import estimators, kernels, theory
    from fastdistill.estimators import DistilledKernelRidge, DistilledRidge
    from fastdistill.path import DistillationLimit, DistillationPath, ToleranceRounds, multistep_filter
    from fastdistill.spectrum import Spectrum
    from fastdistill.tuning import Holdout, Tuned, mixture_from_xi, tune, xi_from_mixture


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
