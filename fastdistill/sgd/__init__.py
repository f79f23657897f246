"""Distillation SGD: `run_sgd` and what it takes: schedules, compressors, teachers given by their outputs.

::

    x ← C( x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g) )

`plan` holds the checked arguments, `problem` the data, the targets and what a teacher comes down to; `steps` calls the
kernels; `affine` has the weights that follow from two others; `trace` measures; `loop` goes through the epochs; `run`
reads the arguments. `deep_linear` distils deep linear networks.
"""

from fastdistill.sgd.compressors import Bernoulli, Compressor, Mask, RandK, RandomRounding, TopK
from fastdistill.sgd.loop import SGDRun
from fastdistill.sgd.problem import TeacherOutputs
from fastdistill.sgd.run import run_sgd
from fastdistill.sgd.schedules import Geometric, InverseTime

__all__ = [
    "Bernoulli",
    "Compressor",
    "Geometric",
    "InverseTime",
    "Mask",
    "RandK",
    "RandomRounding",
    "SGDRun",
    "TeacherOutputs",
    "TopK",
    "run_sgd",
]
