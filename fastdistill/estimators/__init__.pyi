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

__all__: list[str]

def __dir__() -> list[str]: ...
