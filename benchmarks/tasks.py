"""Time, peak memory and error of every implementation of every task in `benchmarks.comparisons`, on one thread.

``time_answer`` is warm: `setup` answers once, so that everything is compiled and imported. ``track_error`` is the
disagreement with the last twin (0 for that twin itself), on the very inputs that were timed. ``peakmem_answer`` reads
against ``peakmem_reference``, which holds the same inputs and does nothing.
"""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from benchmarks import REDUCED, SIZES
from benchmarks.comparisons import TASKS, disagreement


def implementations(task: str) -> list[str]:
    """Those that are timed; ours alone where benchmarks are only checked, as tests compare the answers of all."""
    return list(TASKS[task])[: 1 if REDUCED else None]


class _Task:
    timeout = 300
    rounds = 2
    task: str
    params: tuple[list[str], tuple[str, ...]]
    param_names = ("implementation", "size")

    def setup(self, implementation: str, size: str) -> None:
        self.answer = TASKS[self.task][implementation](size)
        self.answer()
        threadpool_limits(1)  # last: it reaches only the libraries that are loaded by now

    def time_answer(self, implementation: str, size: str) -> None:
        self.answer()

    def track_error(self, implementation: str, size: str) -> float:
        *_, twin = TASKS[self.task].values()
        return disagreement(self.answer(), twin(size)())

    track_error.unit = "of the largest entry"  # type: ignore[attr-defined]  # asv reads it from the function


class KernelPath(_Task):
    """All fits of a kernel over penalties and steps."""

    task = "kernel_path"
    params = (implementations(task), SIZES)


class KernelLeaveOneOut(_Task):
    """Exact leave-one-out of a kernel over penalties and steps."""

    task = "kernel_loo"
    params = (implementations(task), SIZES)


class DesignPath(_Task):
    """All coefficients of a design over penalties and steps."""

    task = "design_path"
    params = (implementations(task), SIZES)


class ToleranceRounds(_Task):
    """Rounds of tolerance-constrained fits until collapse."""

    task = "tolerance_rounds"
    params = (implementations(task), SIZES)


class TuneHoldout(_Task):
    """Penalty and two imitation weights chosen on held-out samples."""

    task = "tune_holdout"
    params = (implementations(task), SIZES)


class TuneLeaveOneOut(_Task):
    """Penalty and two imitation weights chosen by exact leave-one-out."""

    task = "tune_loo"
    params = (implementations(task), SIZES)


class ManyProblems(_Task):
    """All students of many small problems in one call."""

    task = "many_problems"
    params = (implementations(task), SIZES)


class StudentFilters(_Task):
    """The recursion alone, over penalties and steps."""

    task = "student_filters"
    params = (implementations(task), SIZES)


class KernelEstimator(_Task):
    """The scikit-learn face: rows in, predictions out."""

    task = "kernel_estimator"
    params = (implementations(task), SIZES)


class ExcessRisk(_Task):
    """The risk of every student of known coefficients and noise."""

    task = "excess_risk"
    params = (implementations(task), SIZES)


class KernelFit(_Task):
    """Three steps of one penalty of a kernel."""

    task = "kernel_fit"
    params = (implementations(task), SIZES)


class DesignFit(_Task):
    """One step of one penalty of a design."""

    task = "design_fit"
    params = (implementations(task), SIZES)


class DesignFitTargets(_Task):
    """The same of many targets."""

    task = "design_fit_targets"
    params = (implementations(task), SIZES)


class WideFit(_Task):
    """The same of more features than samples."""

    task = "wide_fit"
    params = (implementations(task), SIZES)


class SparseFit(_Task):
    """The same of a sparse design."""

    task = "sparse_fit"
    params = (implementations(task), SIZES)


class OneHotFit(_Task):
    """The same of categories."""

    task = "one_hot_fit"
    params = (implementations(task), SIZES)


class SparseSweep(_Task):
    """All coefficients of a sparse design over penalties and steps, from one Krylov basis."""

    task = "sparse_sweep"
    params = (implementations(task), SIZES)


class KernelSweepTridiagonal(_Task):
    """Fits and GCV of a kernel over penalties and steps, without eigenvectors."""

    task = "kernel_sweep_tridiagonal"
    params = (implementations(task), SIZES)


class SGDDense(_Task):
    """Epochs of distillation SGD over dense rows."""

    task = "sgd_dense"
    params = (implementations(task), SIZES)


class SGDSparse(_Task):
    """The same over sparse rows, with a penalty."""

    task = "sgd_sparse"
    params = (implementations(task), SIZES)


class SGDConfigurations(_Task):
    """Thirty-two weights of one teacher in one pass."""

    task = "sgd_configurations"
    params = (implementations(task), SIZES)


class SGDSoftmax(_Task):
    """Ten classes in batches of ten."""

    task = "sgd_softmax"
    params = (implementations(task), SIZES)


class Memory:
    """Peak memory of our implementation; the small problem answered in `setup` leaves only compilation out."""

    timeout = 300
    params = (list(TASKS), SIZES)
    param_names = ("task", "size")

    def setup(self, task: str, size: str) -> None:
        TASKS[task]["fastdistill"]("small")()
        threadpool_limits(1)
        self.answer = TASKS[task]["fastdistill"](size)

    def peakmem_answer(self, task: str, size: str) -> None:
        self.answer()

    def peakmem_reference(self, task: str, size: str) -> None:
        pass
