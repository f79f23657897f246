"""Distillation SGD: `run_sgd` and what it takes: schedules, compressors, teachers given by their outputs.

::

    x ← C( x − γ (∇f_B(x) − κ ∇f_B(θ) + κ g) )

`compressors` and `schedules` hold what users pass in; `plan` the checked arguments, `problem` the data, the targets and
what a teacher comes down to; `steps` calls the kernels; `affine` has the weights that follow from two others; `trace`
measures; `loop` goes through the epochs; `run` reads the arguments. `deep_linear` distils deep linear networks.

Nothing is imported here: only some of the modules need the compiler.
"""
