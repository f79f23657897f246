"""The data of a run, and what a teacher comes down to: one number per sample and output, and one constant vector.

With θ's predictions s_n (z, σ(z) or softmax(z) of its scores) the distilled gradient of a sample is that of a target
between label and teacher, and a vector that all samples share::

    ∇f_n(x) − κ ∇f_n(θ) + κ g = (pred(⟨a_n, x⟩) − (1 − κ) b_n − κ s_n) a_n + l2 x + κ push

=================================  ===========================  ==================================================
variant                            push                         so that
=================================  ===========================  ==================================================
``kd``, ``soft_labels``,           −l2 θ                        the penalty is part of f_n, for the teacher as well
``repeated``
``kd_unbiased``, ``svrg``          (1/N) Σ_n (s_n − b_n) a_n    the mean step is that of plain SGD
=================================  ===========================  ==================================================

A teacher known by its outputs alone has no θ: the penalty is then the student's only. Sample weights multiply
residuals; they are scaled to the mean 1.

Cost: X is read once to check it, once per teacher, and once more for ⟨a_n, push⟩ where there is a push; the outputs and
the mean gradient of an unbiased teacher share one reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastdistill import kernels
from fastdistill.base import validation
from fastdistill.base.linear_losses import LOSSES, encode_targets, predictions

BLOCK_ENTRIES = 2**18  # of X, in float64, at a time: half of a usual second-level cache
SPARSE_ROWS = 2**14
# Coefficients that stay in the first-level cache beside a row: kernels then read X at the speed of memory. Beyond, BLAS
# reads them once for several rows. 20 000 × 784 with 2 and 4 outputs: kernel 5.0 and 14.5 ms, BLAS 8.5 and 9.4.
CACHED_COEFFICIENTS = 2**11
BLAS_ENTRIES = 2**16  # of X at a time for BLAS: 10 000 × 784 with 10 outputs in 7.2 ms, in 9.8 with twice as many
LARGEST_SINGLE = 1e18  # of float32 data
UNBIASED = ("kd_unbiased", "svrg")
LOSS_CODES = {"squared": kernels.SQUARED, "logistic": kernels.LOGISTIC, "softmax": kernels.SOFTMAX}
CURVATURE = {"squared": 1.0, "logistic": 0.25, "softmax": 0.5}  # largest second derivative of a loss by its scores


@dataclass(frozen=True, eq=False)
class TeacherOutputs:
    """A teacher known by its outputs on the training samples.

    Parameters
    ----------
    values : array-like (n,) or (n, C)
        Predictions for the squared loss, probabilities for the logistic (of the class 1) and the softmax loss.
    """

    values: Any


@dataclass(frozen=True, eq=False)
class Model:
    """Coefficients (C, p) and intercepts (C,) of a linear model, float64."""

    coef: np.ndarray
    intercept: np.ndarray

    def stacked(self, width: int) -> np.ndarray:
        """(C, p) or, where the width asks for it, (C, p + 1) with the intercept as last column."""
        return np.column_stack([self.coef, self.intercept])[:, :width]

    def frozen(self) -> tuple[np.ndarray, np.ndarray]:
        """Both as kernels take them."""
        return _frozen(self.coef), _frozen(np.broadcast_to(self.intercept, len(self.coef)))


@dataclass(frozen=True, eq=False)
class Teacher:
    """What a step needs of a teacher: its outputs (n, C) and the constant vector `push` (C, p or p + 1)."""

    outputs: np.ndarray
    push: np.ndarray


class Problem:
    """Checked data: X dense or CSR, targets (n, C), sample weights of mean 1, loss, penalty and intercept."""

    def __init__(
        self, X: Any, y: Any, loss: str, l2: Any, fit_intercept: Any, weight: Any, n_classes: int | None
    ) -> None:
        self.loss = validation.choice(loss, "loss", LOSSES)
        self.l2 = validation.scalar(l2, "l2", minimum=0.0)
        self.fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
        self.X = _design(X)
        self.n, self.p = self.X.shape
        self.dtype = self.X.dtype
        # of X and y: their product is a gradient, whose squares are summed; float32 keeps coefficients y / X
        largest = validation.LARGEST_FACTOR if self.dtype == np.float64 else LARGEST_SINGLE
        values = self.X.data if self.is_sparse else self.X
        if not validation.is_ordinary(values, largest):  # one pass where all is well
            _check_finite(values)
            validation.sized(values, "X", largest)
        self.width = self.p + self.fit_intercept
        targets = encode_targets(self.loss, y, self.n, n_classes)
        validation.sized(targets, "y", largest)
        self.is_single = targets.ndim == 1
        self.targets = targets[:, None] if self.is_single else targets
        if self.targets.shape[1] == 0:
            raise ValueError(f"y is empty: shape {targets.shape}; at least one target is needed.")
        if self.loss == "softmax" and np.ndim(y) == 1:  # columns of a 2-D y name the classes
            _check_classes(self.targets)
        weights = validation.sample_weight(weight, self.n)
        self.weight = np.ones(self.n) if weights is None else weights / weights.mean()
        self.is_uniform = weights is None or bool(np.all(self.weight == 1.0))

    @property
    def n_outputs(self) -> int:
        return self.targets.shape[1]

    @property
    def is_sparse(self) -> bool:
        return not isinstance(self.X, np.ndarray)

    def blocks(self, entries: int = BLOCK_ENTRIES) -> Iterator[tuple[slice, Any]]:
        """Rows of X in float64, by blocks that stay in cache."""
        height = SPARSE_ROWS if self.is_sparse else max(1, entries // self.p)
        for start in range(0, self.n, height):
            rows = slice(start, min(self.n, start + height))
            block = _stored_rows(self.X, rows) if self.is_sparse else self.X[rows]
            yield rows, block.astype(np.float64, copy=False)

    def _is_by_row(self, n_outputs: int) -> bool:
        """Whether products are left to kernels; else to BLAS."""
        return self.is_sparse or n_outputs * self.p <= CACHED_COEFFICIENTS

    @property
    def _stored(self) -> tuple[np.ndarray, ...]:
        return (self.X.data, self.X.indices, self.X.indptr) if self.is_sparse else (self.X,)

    def scores(self, model: Model) -> np.ndarray:
        """(n, C) scores of a linear model."""
        coef, intercept = model.frozen()
        out = np.empty((self.n, len(coef)))
        if self._is_by_row(len(coef)):
            write = kernels.csr_scores if self.is_sparse else kernels.dense_scores
            write(*self._stored, coef, intercept, out)
            return out
        for rows, X in self.blocks(BLAS_ENTRIES):
            out[rows] = X @ coef.T + intercept
        return out

    def outputs(self, model: Model, temperature: float = 1.0) -> np.ndarray:
        """(n, C) predictions of a linear model at a temperature."""
        scores = self.scores(model)
        if temperature != 1.0:
            if self.loss == "softmax":
                scores -= scores.max(axis=1, keepdims=True)
            with np.errstate(over="ignore"):  # towards certainty
                scores /= temperature
        return self._predicted(scores)

    def _predicted(self, scores: np.ndarray) -> np.ndarray:
        """What scores (rows, C) predict, in place."""
        if self.loss != "squared":
            kernels.predict(scores, LOSS_CODES[self.loss])
        return scores

    def mean_gradient(self, residuals: np.ndarray) -> np.ndarray:
        """(1/N) Σ w_n r_n ⊗ (a_n, 1), (C, p or p + 1), of residuals (n, C)."""
        weighted = _frozen(self.weight[:, None] * residuals / self.n)
        out = np.zeros((self.n_outputs, self.p))
        if self._is_by_row(self.n_outputs):
            add = kernels.csr_gradient if self.is_sparse else kernels.dense_gradient
            add(*self._stored, weighted, out)
        else:
            for rows, X in self.blocks(BLAS_ENTRIES):
                out += weighted[rows].T @ X
        return self._with_intercept(out, weighted.sum(axis=0))

    def _with_intercept(self, gradient: np.ndarray, last: np.ndarray) -> np.ndarray:
        return np.column_stack([gradient, last]) if self.fit_intercept else gradient

    def _unbiased(self, model: Model) -> Teacher:
        """A model's outputs, and their mean gradient, in one reading of X."""
        (coef, intercept), share = model.frozen(), _frozen(self.weight / self.n)
        outputs, gradient = np.empty((self.n, self.n_outputs)), np.zeros((self.n_outputs, self.p))
        if self._is_by_row(self.n_outputs):
            write = kernels.csr_teacher if self.is_sparse else kernels.dense_teacher
            code = LOSS_CODES[self.loss]
            write(*self._stored, coef, intercept, share, _frozen(self.targets), code, outputs, gradient)
        else:
            for rows, X in self.blocks(BLAS_ENTRIES):
                outputs[rows] = self._predicted(X @ coef.T + intercept)
                gradient += (share[rows, None] * (outputs[rows] - self.targets[rows])).T @ X
        return Teacher(outputs, self._with_intercept(gradient, share @ (outputs - self.targets)))

    @cached_property
    def squared_norms(self) -> np.ndarray:
        """‖a_n‖² (n,), plus one with an intercept."""
        if self.is_sparse:
            norms = np.empty(self.n)
            kernels.csr_squared_norms(self.X.data, self.X.indptr, norms)
        else:
            norms = np.concatenate([np.einsum("np,np->n", X, X) for _, X in self.blocks()])
        return norms + self.fit_intercept

    def largest_safe_step(self) -> float:
        """1 / max_n L_n, with L_n the smoothness constant of a sample's loss."""
        return 1.0 / max(CURVATURE[self.loss] * float((self.weight * self.squared_norms).max()) + self.l2, 1e-300)

    def teach(self, source: Model | np.ndarray, variant: str, temperature: float) -> Teacher:
        """The teacher of a variant, from its coefficients or from its outputs (n, C)."""
        if variant in UNBIASED and isinstance(source, Model):
            return self._unbiased(source)
        push = np.zeros((self.n_outputs, self.width))
        if isinstance(source, Model):
            push[:, : self.p] = -self.l2 * source.coef
            return Teacher(self.outputs(source, temperature), push)
        soft = source if temperature == 1.0 else _soften(source, temperature, self.loss)
        return Teacher(soft, self.mean_gradient(soft - self.targets) if variant in UNBIASED else push)

    def no_teacher(self) -> Teacher:
        """Stands for a teacher where its weight is zero."""
        return Teacher(self.targets, np.zeros((self.n_outputs, self.width)))

    def samples(self, teacher: Teacher) -> np.ndarray:
        """What a step reads of each sample: labels, teacher's outputs, weight, ⟨a_n, push⟩: (n, 3 C + 1)."""
        c = self.n_outputs
        out = np.zeros((self.n, 3 * c + 1))
        out[:, :c], out[:, c : 2 * c], out[:, 2 * c] = self.targets, teacher.outputs, self.weight
        if teacher.push[:, : self.p].any():
            out[:, 2 * c + 1 :] = self.scores(Model(teacher.push[:, : self.p], np.zeros(c)))
        return out

    def checked_outputs(self, values: Any) -> np.ndarray:
        """`TeacherOutputs` as (n, C), in the range of the loss."""
        outputs = validation.real_array(values, "teacher", ndim=(1, 2))
        validation.sized(outputs, "teacher", validation.LARGEST_FACTOR, smallest=0.0)
        outputs = outputs[:, None] if outputs.ndim == 1 else outputs
        if outputs.shape != self.targets.shape:
            raise ValueError(f"teacher has outputs of shape {outputs.shape}, but {self.targets.shape} is needed.")
        if self.loss != "squared" and (outputs.min() < 0 or outputs.max() > 1):
            raise ValueError(
                f"teacher must give probabilities, got values from {outputs.min():g} to {outputs.max():g}."
            )
        if self.loss == "softmax" and (off := np.abs(outputs.sum(axis=1) - 1.0).max()) > 1e-6:
            raise ValueError(f"teacher must give probabilities that sum to 1 in each row; one is off by {off:.3g}.")
        return outputs


def _check_classes(targets: np.ndarray) -> None:
    present = np.atleast_1d(targets.any(axis=0))
    if not present.all():
        raise ValueError(
            f"The class {int(np.argmin(present))} of {len(present)} has no sample in y; drop it, or relabel the "
            f"classes 0, 1, ..., C - 1."
        )


def _stored_rows(X: Any, rows: slice) -> Any:
    """Rows of a CSR array that share its memory; indexing would copy them."""
    from scipy.sparse import csr_array

    indptr = X.indptr[rows.start : rows.stop + 1]
    stored = slice(indptr[0], indptr[-1])
    return csr_array((X.data[stored], X.indices[stored], indptr - indptr[0]), (rows.stop - rows.start, X.shape[1]))


def _soften(outputs: np.ndarray, temperature: float, loss: str) -> np.ndarray:
    """Probabilities at a temperature, from those at one."""
    logs = np.log(np.maximum(outputs, np.finfo(np.float64).tiny))
    if loss == "softmax":
        return predictions(loss, logs / temperature)
    others = np.log(np.maximum(1.0 - outputs, np.finfo(np.float64).tiny))
    return predictions(loss, (logs - others) / temperature)


def linear_model(value: Any, name: str, shape: tuple[int, ...], fit_intercept: bool) -> Model:
    """A model of the shape (p,) or (p, C) from coefficients, (coefficients, intercept), an estimator or a run."""
    p, n_outputs = shape[0], shape[1] if len(shape) == 2 else 1
    if hasattr(value, "coef_"):
        coef, intercept = np.atleast_2d(validation.real_array(value.coef_, name)).T, getattr(value, "intercept_", 0.0)
    elif hasattr(value, "coef") and hasattr(value, "intercept"):
        coef, intercept = validation.real_array(value.coef, name), value.intercept
    elif isinstance(value, tuple) and len(value) == 2:
        coef, intercept = validation.real_array(value[0], name), value[1]
    elif hasattr(value, "predict") or hasattr(value, "fit"):
        raise TypeError(f"{name} is {value!r}, which has no coef_: pass a fitted linear estimator, or TeacherOutputs.")
    else:
        coef, intercept = validation.real_array(value, name, ndim=(1, 2)), 0.0
        if fit_intercept and len(coef) == p + 1:
            coef, intercept = coef[:-1], coef[-1]
    found = coef if coef.ndim == 2 else coef[:, None]
    if found.shape != (p, n_outputs):
        raise ValueError(
            f"{name} has coefficients of shape {coef.shape}, but {shape} is needed: a row per feature"
            f"{', a column per output' if len(shape) == 2 else ''}."
        )
    validation.sized(coef, f"the coefficients of {name}", smallest=0.0)
    intercepts = np.ravel(validation.real_array(intercept, f"the intercept of {name}"))
    if len(intercepts) not in (1, n_outputs):
        raise ValueError(f"{name} has {len(intercepts)} intercepts, but {n_outputs} needed: one per output.")
    return Model(np.ascontiguousarray(found.T), np.array(np.broadcast_to(intercepts, (n_outputs,))))


def _design(X: Any) -> Any:
    """X as kernels take it: C-ordered and read-only, float32 or float64, or CSR; copied only where it must be."""
    if hasattr(X, "tocsr"):
        return _sparse_design(X)
    is_array = isinstance(X, np.ndarray) and not isinstance(X, np.ma.MaskedArray)
    if is_array and X.dtype in (np.float32, np.float64) and X.ndim == 2 and X.size:
        return _frozen(X.view(np.ndarray))
    return _frozen(validation.filled_matrix(X, "X").astype(validation.result_dtype(X), copy=False))


def _check_finite(values: np.ndarray) -> None:
    """`validation.check_finite` of X at the speed of memory, also for numbers whose sum overflows."""
    if not kernels.all_finite(values.reshape(-1)):
        validation.check_finite(values, "X")


def _sparse_design(X: Any) -> Any:
    from scipy.sparse import csr_array

    if X.dtype.kind not in "fiub":
        raise ValueError(f"X must hold real numbers, got dtype {X.dtype}.")
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(f"X must have samples and features, got shape {X.shape}.")
    if X.format == "csr":
        _check_indices(X)
    elif hasattr(X, "check_format"):
        X.check_format(full_check=True)  # SciPy's conversions trust the indices
    csr = csr_array(X.tocsr())
    data = _frozen(csr.data if csr.dtype in (np.float32, np.float64) else csr.data.astype(np.float64))
    fits = max(*X.shape, len(data)) <= np.iinfo(np.int32).max  # then 64-bit indices need no kernels of their own
    index = np.int32 if fits else np.int64
    places = [_frozen(part.astype(index, copy=False)) for part in (csr.indices, csr.indptr)]
    return csr_array((data, *places), shape=X.shape)


def _frozen(array: np.ndarray) -> np.ndarray:
    """A C-ordered, read-only view, so that kernels have one compiled version; a copy only where it must be."""
    view = np.ascontiguousarray(array)[...]
    view.flags.writeable = False
    return view


def _check_indices(X: Any) -> None:
    """Column numbers within range, ascending in every row."""
    p, indptr = X.shape[1], X.indptr.astype(np.int64)  # of unsigned ones no difference is below zero
    if indptr[0] != 0 or indptr[-1] > len(X.indices) or np.any(np.diff(indptr) < 0):
        raise ValueError(
            "X.indptr does not describe rows: it must start at 0, not descend, and end at the values stored."
        )
    indices = X.indices[: indptr[-1]]
    is_usual = indices.dtype in (np.int32, np.int64)
    if is_usual and kernels.csr_ascends(_frozen(indices), _frozen(indptr), p):
        return
    if indices.size and (indices.min() < 0 or indices.max() >= p):
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise ValueError(f"X has the column index {wrong}, but {p} columns: indices must lie in 0 to {p - 1}.")
    descends = indices[1:] <= indices[:-1]
    starts = indptr[1:-1]
    descends[starts[(starts > 0) & (starts < len(indices))] - 1] = False
    if descends.any():
        row = int(np.searchsorted(indptr, int(np.argmax(descends)), side="right")) - 1
        raise ValueError(
            f"The column indices of X are not ascending in row {row} (unsorted, or one twice); call "
            f"X.sum_duplicates() on a copy first."
        )
