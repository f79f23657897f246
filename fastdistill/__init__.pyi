from fastdistill import distributed as distributed
from fastdistill import estimators as estimators
from fastdistill import kernels as kernels
from fastdistill import plot as plot
from fastdistill import theory as theory
from fastdistill.base.linear_losses import optimal_kd_weight as optimal_kd_weight
from fastdistill.base.status import ConvergenceWarning as ConvergenceWarning
from fastdistill.diagnosis import Diagnosis as Diagnosis
from fastdistill.diagnosis import diagnose as diagnose
from fastdistill.estimators.kernel_ridge import DistilledKernelRidge as DistilledKernelRidge
from fastdistill.estimators.kernel_ridge_cv import DistilledKernelRidgeCV as DistilledKernelRidgeCV
from fastdistill.estimators.noisy_labels import NoisyLabelClassifier as NoisyLabelClassifier
from fastdistill.estimators.residual_teacher import ResidualTeacherRidge as ResidualTeacherRidge
from fastdistill.estimators.ridge import DistilledRidge as DistilledRidge
from fastdistill.estimators.ridge_classifier import DistilledRidgeClassifier as DistilledRidgeClassifier
from fastdistill.estimators.ridge_classifier import DistilledRidgeClassifierCV as DistilledRidgeClassifierCV
from fastdistill.estimators.ridge_cv import DistilledRidgeCV as DistilledRidgeCV
from fastdistill.estimators.self_distiller import SelfDistiller as SelfDistiller
from fastdistill.estimators.self_trained import SelfTrainedRidge as SelfTrainedRidge
from fastdistill.estimators.sgd import KDSGDRegressor as KDSGDRegressor
from fastdistill.estimators.sgd_classifier import KDSGDClassifier as KDSGDClassifier
from fastdistill.estimators.torch_module import TorchEstimator as TorchEstimator
from fastdistill.selection.criteria import Holdout as Holdout
from fastdistill.selection.mixtures import mixture_from_xi as mixture_from_xi
from fastdistill.selection.mixtures import xi_from_mixture as xi_from_mixture
from fastdistill.selection.tuning import Tuned as Tuned
from fastdistill.selection.tuning import tune as tune
from fastdistill.sgd.compressors import Bernoulli as Bernoulli
from fastdistill.sgd.compressors import Mask as Mask
from fastdistill.sgd.compressors import RandK as RandK
from fastdistill.sgd.compressors import RandomRounding as RandomRounding
from fastdistill.sgd.compressors import TopK as TopK
from fastdistill.sgd.deep_linear import deep_linear_distillation as deep_linear_distillation
from fastdistill.sgd.loop import SGDRun as SGDRun
from fastdistill.sgd.problem import TeacherOutputs as TeacherOutputs
from fastdistill.sgd.run import run_sgd as run_sgd
from fastdistill.sgd.schedules import Geometric as Geometric
from fastdistill.sgd.schedules import InverseTime as InverseTime
from fastdistill.spectral.accumulator import GramAccumulator as GramAccumulator
from fastdistill.spectral.batch import batched_path as batched_path
from fastdistill.spectral.neural_tangent import ntk_kernel as ntk_kernel
from fastdistill.spectral.path import DistillationLimit as DistillationLimit
from fastdistill.spectral.path import DistillationPath as DistillationPath
from fastdistill.spectral.path import ToleranceRounds as ToleranceRounds
from fastdistill.spectral.path import multistep_filter as multistep_filter
from fastdistill.spectral.spectrum import Spectrum as Spectrum

__version__: str
__all__: list[str]

def __dir__() -> list[str]: ...
