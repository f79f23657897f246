"""An estimator with its data, and how it is refitted: to labels or targets of its own making, at some of the rows.

A regressor learns mixtures of targets; a classifier distributions over the classes, of which each sample is repeated
once per class with its probability as weight.

Cost: one fit of the estimator for each refit, of n × (number of classes) rows where samples are repeated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_method_params, has_fit_parameter

from fastdistill.base import validation
from fastdistill.estimators._common import counted_labels

TRACE = 1e-8  # share of its weight that a class keeps where a teacher leaves it out
FLOOR = 1e-3  # probabilities below it tell a score no more: forests and neighbours give exact zeros


class Learner:
    """A regressor with its data: retrains it on mixtures and reads its outputs; `ClassifierLearner` overrides both."""

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: np.ndarray,
        params: dict[str, Any],
        weight: np.ndarray | None,
        keyword: str | None,
    ) -> None:
        self.estimator = estimator
        self.X = X
        # rows and columns of a precomputed kernel cannot be taken from a data frame or a list
        self.pairwise = get_tags(estimator).input_tags.pairwise
        self.table = np.asarray(X) if self.pairwise and not issparse(X) else X
        self.y = counted_labels(y, weight) if is_classifier(estimator) else y
        self.params = params
        self.weight = weight
        self.keyword = keyword
        self.bounds = bounds_of(estimator)
        self.truth = self._truth()

    def _truth(self) -> np.ndarray:
        return validation.sized(validation.real_array(self.y, "y", ndim=(1, 2)), "y", validation.LARGEST_LINEAR)

    def start(self) -> Any:
        """The plain model of all samples."""
        return self.plain()

    def plain(self, rows: Any = None) -> Any:
        """The estimator fitted to y at `rows` (None: all of them, and X as it came)."""
        return self.refit(rows, at_rows(self.y, rows), at_rows(self.weight, rows))

    def mixture(self, xi: float, teacher: np.ndarray, rows: Any = None) -> np.ndarray:
        """Targets of a step: (1 − ξ) times the truth plus ξ times the teacher's outputs."""
        return (1 - xi) * at_rows(self.truth, rows) + xi * teacher

    def student(self, mixture: np.ndarray, rows: Any = None) -> Any:
        """The estimator fitted to a mixture."""
        return self.refit(rows, mixture, at_rows(self.weight, rows))

    def read(self, model: Any, X: Any) -> np.ndarray:
        """Outputs of a model that students can learn from, in the shape of the truth."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.asarray(model.predict(X)).reshape(-1, *self.truth.shape[1:])
        if not np.isfinite(values).all():
            raise ValueError(
                f"{type(self.estimator).__name__} predicts NaN or inf for its own training data or a fold of them: X "
                f"or y may be too large. Rescale them, for example by dividing them by their standard deviations."
            )
        return values.astype(np.result_type(values, np.float32), copy=False)

    def refit(
        self,
        rows: Any,
        targets: np.ndarray,
        weight: np.ndarray | None,
        changed: dict[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """A clone with parameters `changed`, fitted to `targets` at `rows`, which may repeat; `fit` takes `more`."""
        params = _check_method_params(self.X, self.params, indices=rows) | more
        if weight is not None:
            params[self.keyword or "sample_weight"] = weight
        return clone(self.estimator).set_params(**(changed or {})).fit(self.at(rows), targets, **params)

    def outputs(self, model: Any, rows: Any = None, train: Any = None) -> np.ndarray:
        """Outputs at `rows` of a model fitted at the rows `train`."""
        return self.read(model, self.at(rows, train))

    def at(self, rows: Any, train: Any = None) -> Any:
        """X at `rows`; of a precomputed kernel also its columns at `train`, or at `rows`."""
        return self.X if rows is None else _safe_split(self.estimator, self.table, None, rows, train)[0]

    def chain(self, plain: Any, schedule: np.ndarray) -> list[Any]:
        """The plain model and the students of a schedule."""
        models = [plain]
        for xi in schedule:  # a step of weight 0 asks for the plain model, which is at hand
            models.append(self.student(self.mixture(xi, self.outputs(models[-1]))) if xi else plain)
        return models


class ClassifierLearner(Learner):
    """A classifier with its data: the truth is one-hot, outputs are distributions over the classes."""

    method: str

    def _truth(self) -> np.ndarray:
        check_classification_targets(self.y)
        self.classes, codes = np.unique(self.y, return_inverse=True)
        self.soft = getattr(self.estimator, "learns_distributions", False)
        return np.eye(len(self.classes))[codes]

    def plain(self, rows: Any = None) -> Any:
        return self.student(at_rows(self.truth, rows), rows) if self.soft else super().plain(rows)

    def start(self) -> Any:
        try:
            plain = super().start()
        except ValueError as err:
            if len(self.classes) != 1:  # none: the estimator says that X is empty
                raise
            dropped = self.weight is not None and not self.weight.all()
            raise ValueError(
                f"{'sample_weight is zero for all classes but one' if dropped else 'y has 1 class'}, "
                f"{self.classes.tolist()[0]!r}, but {type(self.estimator).__name__} needs at least 2 classes."
            ) from err
        self.method = self._best_method(plain)
        return plain

    def _best_method(self, model: Any) -> str:
        """What tells most about the classes."""
        if len(self.classes) == 1:  # the outputs of some classifiers have another shape then
            return "predict"
        if hasattr(model, "predict_proba"):
            return "predict_proba"
        if hasattr(model, "decision_function"):
            values = columns_of(model.decision_function(self.X))
            # one column per pair of classes, or votes, can have any shape: they name another class somewhere
            if values.shape == self.truth.shape and np.array_equal(
                self.classes[values.argmax(axis=1)], model.predict(self.X)
            ):
                return "decision_function"
        return "predict"

    def read(self, model: Any, X: Any) -> np.ndarray:
        values = getattr(model, self.method)(X)
        if self.method == "predict":
            return (np.asarray(values)[:, np.newaxis] == self.classes).astype(np.float64)
        if self.method == "decision_function":
            values = np.clip((1 + columns_of(values)) / 2, 0.0, 1.0)
            total = values.sum(axis=1, keepdims=True)
            values = np.divide(values, total, out=np.full_like(values, 1 / values.shape[1]), where=total > 0)
        outputs = np.zeros((len(values), len(self.classes)), values.dtype)
        outputs[:, np.searchsorted(self.classes, model.classes_)] = values  # a fold may lack a class
        return outputs

    def student(self, mixture: np.ndarray, rows: Any = None) -> Any:
        """The estimator fitted to one copy of the data per class, weighted by the mixture; else to its likeliest class.

        A class that the teacher leaves out altogether keeps its own samples at a weight of `TRACE`, or its likeliest
        sample, so that every student knows every class and scikit-learn's solvers always meet two.
        """
        truth, weight = at_rows(self.truth, rows), at_rows(self.weight, rows)
        if self.soft:
            return self.refit(rows, mixture, weight, classes=self.classes)
        mixture = np.where(mixture.any(axis=0), mixture, TRACE * truth)
        known = np.flatnonzero(truth.any(axis=0))
        if self.keyword is None or self.pairwise:
            codes = (mixture + TRACE * truth).argmax(axis=1)  # the truth first among equals
            codes[((mixture + TRACE) * truth)[:, known].argmax(axis=0)] = known
            return self.refit(rows, self.classes[codes], weight)
        everything = np.arange(len(truth)) if rows is None else rows
        shares = mixture[:, known].T if weight is None else mixture[:, known].T * weight
        changed = {"cv": self.splits_of_copies(everything, known)} if isinstance(self.estimator, BaseSearchCV) else {}
        copies, labels = np.tile(everything, len(known)), np.repeat(self.classes[known], len(truth))
        return self.refit(copies, labels, shares.ravel(), changed)

    def splits_of_copies(self, rows: np.ndarray, known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """The splits of a search object at `rows`, for one copy of them per class in `known`, one after another.

        All copies of a sample stay on one side, and a candidate is scored by the copy with the given label.
        """
        y = self.y[rows]
        given = np.searchsorted(known, self.truth[rows].argmax(axis=1)) * len(rows)
        starts = np.arange(len(known))[:, np.newaxis] * len(rows)
        splitter = check_cv(self.estimator.cv, y, classifier=True)
        return [((train + starts).ravel(), test + given[test]) for train, test in splitter.split(self.at(rows), y)]

    def scores(self, model: Any, rows: Any = None, train: Any = None) -> np.ndarray:
        """One score per class, (n, K), that rises with its probability; of a model fitted at the rows `train`.

        The log of `predict_proba`, no less than that of `FLOOR`, or the decision values; else 1 for the predicted
        class and 0. A class that a fold lacks has the lowest score.
        """
        X = self.at(rows, train)
        if self.method == "predict":
            return self.read(model, X)
        values = getattr(model, self.method)(X)
        values = np.log(np.maximum(values, FLOOR)) if self.method == "predict_proba" else columns_of(values)
        scores = np.full((len(values), len(self.classes)), values.min())
        scores[:, np.searchsorted(self.classes, model.classes_)] = values
        return scores


def is_instance(estimator: Any) -> bool:
    """Whether `estimator` is an instance of an estimator, not a class or another object."""
    return hasattr(estimator, "__sklearn_tags__") and not isinstance(estimator, type)


def bounds_of(estimator: Any) -> tuple[float, float]:
    """Weights whose mixtures `estimator` can be fitted to."""
    confined = is_classifier(estimator) or get_tags(estimator).target_tags.positive_only
    return (0.0, 1.0) if confined else (-np.inf, np.inf)


def weight_keyword(estimator: Any) -> str | None:
    """The name under which the `fit` of `estimator` is known to take sample weights, or None."""
    if has_fit_parameter(estimator, "sample_weight"):
        return "sample_weight"
    if routing_enabled():
        routing = get_routing_for_object(estimator)
        return "sample_weight" if routing.consumes("fit", ["sample_weight"]) else None
    if isinstance(estimator, BaseSearchCV):
        return weight_keyword(estimator.estimator)
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = weight_keyword(last)
        return inner and f"{name}__{inner}"
    return None


def routing_enabled() -> bool:
    return bool(get_config().get("enable_metadata_routing", False))


def columns_of(values: np.ndarray) -> np.ndarray:
    """Decision values with a column for each class, also of two."""
    return np.column_stack([-values, values]) if values.ndim == 1 else values


def at_rows(array: np.ndarray | None, rows: Any) -> Any:
    return array if array is None or rows is None else array[rows]
