"""Teachers of the SGD estimators: coefficients, fitted estimators, outputs on the training data.

=============================================================  ======================================
given                                                          passed on to `fastdistill.run_sgd`
=============================================================  ======================================
coefficients, or (coefficients, intercept)                     as they are
an estimator whose coefficients reproduce its outputs          its coefficients
any other estimator                                            its outputs on the training data
``teacher_outputs`` of `fit`                                   as they are
=============================================================  ======================================

Cost: one prediction of the training data by the teacher, and one product with X.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fastdistill.base import validation
from fastdistill.base.linear_losses import predictions
from fastdistill.sgd.loop import SGDRun
from fastdistill.sgd.problem import Model, TeacherOutputs, linear_model

AGREEMENT = 1e-4  # relative to the largest output: below, coefficients reproduce the outputs of a teacher
ROUNDED = 1e-4  # deviation of a row of probabilities from the sum 1, as of single precision


@dataclass(eq=False)
class Data:
    """Checked samples: X, targets as `run_sgd` takes them, weights or None, and the teacher.

    The teacher is a pair (coef, intercept), outputs (n,) or (n, C), or None.
    """

    X: Any
    targets: np.ndarray
    weight: np.ndarray | None
    teacher: Any

    def at(self, rows: np.ndarray) -> Data:
        """The samples `rows`."""
        teacher = self.teacher[rows] if isinstance(self.teacher, np.ndarray) else self.teacher
        weight = None if self.weight is None else self.weight[rows]
        return Data(self.X[rows], self.targets[rows], weight, teacher)

    def counted(self) -> Data:
        """The samples of weight above zero: one of zero weight is one left out, by batches and epochs as well."""
        return self if self.weight is None or self.weight.all() else self.at(np.flatnonzero(self.weight))

    @property
    def run_teacher(self) -> Any:
        """The teacher as `run_sgd` takes it."""
        return TeacherOutputs(self.teacher) if isinstance(self.teacher, np.ndarray) else self.teacher


def sorted_rows(X: Any) -> Any:
    """CSR with ascending column indices, a copy where they are not; dense arrays as they are."""
    if not issparse(X) or X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def find_teacher(
    teacher: Any, outputs: Any, raw: Any, X: Any, shape: tuple[int, ...], fit_intercept: bool, classes: Any = None
) -> Any:
    """(coef, intercept), outputs (n,) or (n, C), or None; `raw` is X as the user gave it, `shape` (p,) or (p, C)."""
    if outputs is not None:
        if teacher is not None:
            raise ValueError("Both teacher and teacher_outputs are given; drop one of the two.")
        return _outputs(outputs, "teacher_outputs", X.shape[0], shape[1:], classes)
    if teacher is None:
        return None
    if isinstance(teacher, TeacherOutputs):
        raise TypeError("Outputs belong to the samples: pass fit(X, y, teacher_outputs=values) instead of teacher=.")
    if hasattr(teacher, "predict") and not isinstance(teacher, SGDRun):
        return _from_estimator(teacher, raw, X, shape, classes)
    try:
        model = linear_model(teacher, "teacher", shape, fit_intercept)
    except ValueError as err:
        raise ValueError(f"{err} Outputs on the training data go to fit(X, y, teacher_outputs=values).") from None
    return _pair(model, shape)


def _pair(model: Model, shape: tuple[int, ...]) -> tuple[np.ndarray, Any]:
    return (model.coef[0], model.intercept[0]) if len(shape) == 1 else (model.coef.T, model.intercept)


def _outputs(values: Any, name: str, n: int, columns: tuple[int, ...], classes: Any) -> np.ndarray:
    """Outputs (n,) or (n, C): of two classes the probability of the second, of more one column each."""
    values = validation.real_array(values, name, ndim=(1, 2))
    if classes is not None and values.ndim == 2:
        if values.shape[1] == len(classes):
            total = values.sum(axis=1, keepdims=True)
            values = np.where(np.abs(total - 1.0) <= ROUNDED, values / np.where(total == 0, 1.0, total), values)
            if np.any(values < 0) or np.any(np.abs(values.sum(axis=1) - 1.0) > ROUNDED):
                raise ValueError(f"{name} must give probabilities, at least 0 and summing to 1 in each row.")
        values = values[:, 1] if values.shape[1] == len(classes) == 2 else values
    elif classes is None and values.size == n and columns in ((), (1,)):
        values = values.reshape(n, *columns)
    if values.shape != (n, *columns):
        needed = (n, *columns) if classes is None or len(classes) > 2 else f"({n},) or ({n}, 2)"
        raise ValueError(
            f"{name} has shape {values.shape}, but {needed} is needed: a row per sample"
            f"{', a column per class or output' if columns else ''}."
        )
    return values


def _from_estimator(teacher: Any, raw: Any, X: Any, shape: tuple[int, ...], classes: Any) -> Any:
    """Coefficients where they alone reproduce what the estimator says of the training data, else what it says."""
    _check_fitted(teacher)
    _check_classes(teacher, classes)
    model, said, loss = _linear(teacher, shape), None, "squared"
    if classes is None:
        said = _outputs(teacher.predict(raw), "The teacher's prediction", X.shape[0], shape[1:], None)
    elif hasattr(teacher, "predict_proba"):
        said = _outputs(teacher.predict_proba(raw), "The teacher's predict_proba", X.shape[0], shape[1:], classes)
        loss = "logistic" if len(shape) == 1 else "softmax"
    if model is not None:
        reference = said
        if reference is None:
            reference = np.asarray(teacher.decision_function(raw)) if hasattr(teacher, "decision_function") else None
        coef, intercept = _pair(model, shape)
        implied = predictions(loss, X @ coef + intercept)
        if reference is None or (
            implied.shape == reference.shape
            and np.abs(implied - reference).max() <= AGREEMENT * np.abs(reference).max()
        ):
            return coef, intercept
    if said is None:
        raise TypeError(
            f"The teacher {teacher!r} has neither predict_proba nor linear decision values, one for each class; "
            f"calibrate it (CalibratedClassifierCV), or pass probabilities: fit(X, y, teacher_outputs=values)."
        )
    return said


def _check_classes(teacher: Any, classes: Any) -> None:
    known = getattr(teacher, "classes_", None)
    if classes is not None and (known is None or not np.array_equal(known, classes)):
        named = None if known is None else np.asarray(known).tolist()
        raise ValueError(
            f"The teacher knows the classes {named}, but the student has {classes.tolist()}; fit both to the same "
            f"labels."
        )


def _linear(teacher: Any, shape: tuple[int, ...]) -> Model | None:
    """The coefficients of an estimator, where it has some of the right shape."""
    coef: Any = getattr(teacher, "coef_", None)
    coef = coef.toarray() if issparse(coef) else coef
    if coef is None or np.atleast_2d(coef).shape != ((1, *shape) if len(shape) == 1 else shape[::-1]):
        return None
    coef = np.atleast_2d(validation.real_array(coef, "the teacher's coef_"))
    intercept = validation.real_array(getattr(teacher, "intercept_", 0.0), "the teacher's intercept_")
    return Model(coef, np.array(np.broadcast_to(intercept.ravel(), (len(coef),))))


def _check_fitted(teacher: Any) -> None:
    try:
        if hasattr(teacher, "fit"):
            check_is_fitted(teacher)
    except NotFittedError as err:
        raise NotFittedError(
            f"{err} (Cloning, as in a grid search, forgets the fit of a teacher: wrap it in "
            f"sklearn.frozen.FrozenEstimator.)"
        ) from None
