"""Knowledge distillation that can be computed exactly: every student of every penalty, weight and step at one price.

The names below load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Spectrum": "spectral.spectrum",
    "Diagnosis": "diagnosis",
    "diagnose": "diagnosis",
    "DistillationPath": "spectral.path",
    "DistillationLimit": "spectral.path",
    "ToleranceRounds": "spectral.path",
    "Holdout": "selection.tuning",
    "Tuned": "selection.tuning",
    "batched_path": "spectral.batch",
    "deep_linear_distillation": "deep_linear",
    "mixture_from_xi": "selection.mixtures",
    "multistep_filter": "spectral.path",
    "optimal_kd_weight": "linear_losses",
    "run_sgd": "sgd",
    "SGDRun": "sgd",
    "TeacherOutputs": "sgd",
    "Bernoulli": "sgd",
    "Geometric": "sgd",
    "InverseTime": "sgd",
    "Mask": "sgd",
    "RandK": "sgd",
    "RandomRounding": "sgd",
    "TopK": "sgd",
    "ConvergenceWarning": "_status",
    "tune": "selection.tuning",
    "xi_from_mixture": "selection.mixtures",
    "DistilledKernelRidge": "estimators",
    "DistilledKernelRidgeCV": "estimators",
    "DistilledRidge": "estimators",
    "DistilledRidgeCV": "estimators",
    "DistilledRidgeClassifier": "estimators",
    "DistilledRidgeClassifierCV": "estimators",
    "KDSGDClassifier": "estimators",
    "KDSGDRegressor": "estimators",
    "SelfDistiller": "estimators",
}
_ROOMS = ("estimators", "kernels", "theory")

__all__ = [*_HOMES, *_ROOMS, "__version__"]

if TYPE_CHECKING:
    from fastdistill import estimators as estimators
    from fastdistill import kernels as kernels
    from fastdistill import theory as theory
    from fastdistill._status import ConvergenceWarning as ConvergenceWarning
    from fastdistill.deep_linear import deep_linear_distillation as deep_linear_distillation
    from fastdistill.diagnosis import Diagnosis as Diagnosis
    from fastdistill.diagnosis import diagnose as diagnose
    from fastdistill.estimators import DistilledKernelRidge as DistilledKernelRidge
    from fastdistill.estimators import DistilledKernelRidgeCV as DistilledKernelRidgeCV
    from fastdistill.estimators import DistilledRidge as DistilledRidge
    from fastdistill.estimators import DistilledRidgeClassifier as DistilledRidgeClassifier
    from fastdistill.estimators import DistilledRidgeClassifierCV as DistilledRidgeClassifierCV
    from fastdistill.estimators import DistilledRidgeCV as DistilledRidgeCV
    from fastdistill.estimators import KDSGDClassifier as KDSGDClassifier
    from fastdistill.estimators import KDSGDRegressor as KDSGDRegressor
    from fastdistill.estimators import SelfDistiller as SelfDistiller
    from fastdistill.linear_losses import optimal_kd_weight as optimal_kd_weight
    from fastdistill.selection.mixtures import mixture_from_xi as mixture_from_xi
    from fastdistill.selection.mixtures import xi_from_mixture as xi_from_mixture
    from fastdistill.selection.tuning import Holdout as Holdout
    from fastdistill.selection.tuning import Tuned as Tuned
    from fastdistill.selection.tuning import tune as tune
    from fastdistill.sgd import Bernoulli as Bernoulli
    from fastdistill.sgd import Geometric as Geometric
    from fastdistill.sgd import InverseTime as InverseTime
    from fastdistill.sgd import Mask as Mask
    from fastdistill.sgd import RandK as RandK
    from fastdistill.sgd import RandomRounding as RandomRounding
    from fastdistill.sgd import SGDRun as SGDRun
    from fastdistill.sgd import TeacherOutputs as TeacherOutputs
    from fastdistill.sgd import TopK as TopK
    from fastdistill.sgd import run_sgd as run_sgd
    from fastdistill.spectral.batch import batched_path as batched_path
    from fastdistill.spectral.path import DistillationLimit as DistillationLimit
    from fastdistill.spectral.path import DistillationPath as DistillationPath
    from fastdistill.spectral.path import ToleranceRounds as ToleranceRounds
    from fastdistill.spectral.path import multistep_filter as multistep_filter
    from fastdistill.spectral.spectrum import Spectrum as Spectrum


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
