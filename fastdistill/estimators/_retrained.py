"""What the estimators share that refit another one: tags, routing of metadata, and the predictions of the last fit.

Cost: none of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from fastdistill.base import validation
from fastdistill.estimators._common import r2_of
from fastdistill.estimators._learners import ClassifierLearner, Learner, routing_enabled, weight_keyword
from fastdistill.estimators.torch_module import as_estimator, is_module


def _offers(method: str) -> Callable[[Retrained], bool]:
    """Whether the model, before the fit the estimator, has `method`."""
    return lambda self: hasattr(getattr(self, "estimator_", self.estimator), method)


class Retrained(MetaEstimatorMixin, BaseEstimator):
    """Base of the estimators that refit `estimator` with folds `cv`; the last fit is `estimator_`."""

    estimator: Any
    cv: Any

    def __sklearn_tags__(self) -> Any:
        own = getattr(self, "estimator_", self.estimator) if is_module(self.estimator) else self.estimator
        tags, inner = super().__sklearn_tags__(), get_tags(as_estimator(own))
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "input_tags", "target_tags"):
            setattr(tags, name, deepcopy(getattr(inner, name)))
        tags.non_deterministic = inner.non_deterministic
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = tags.target_tags.multi_output = False
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """A router from `fit` to the estimator's `fit` and the splitter's `split`."""
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        router.add(estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        router.add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        return router

    def predict(self, X: Any) -> np.ndarray:
        """Predict with the model, `estimator_`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predicted targets or labels.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(_offers("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities by the model, (n_samples, n_classes) in the order of `classes_`.

        Only where the estimator has `predict_proba`; parameters and errors as in `predict`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_offers("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Decision values of the model, as its estimator shapes them.

        Only where the estimator has `decision_function`; parameters and errors as in `predict`.
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Coefficient of determination R² of a regressor's predictions, accuracy of a classifier's.

        Parameters as in `fit`; returns a float.
        """
        if is_classifier(self):
            return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))
        return r2_of(y, self.predict(X), sample_weight)

    def _learner(self, X: Any, y: Any, fit_params: dict[str, Any]) -> tuple[Learner, dict[str, Any]]:
        """The estimator with its data, and what is for the splitter."""
        if routing_enabled():
            routed = process_routing(self, "fit", **fit_params)
            params, split_params = dict(routed["estimator"]["fit"]), routed["splitter"]["split"]
        else:
            params = dict(fit_params)
            split_params = {"groups": params.pop("groups", None)}
        classifier = is_classifier(self.estimator)
        multi_output = self.__sklearn_tags__().target_tags.multi_output
        y = validate_data(self, X="no_validation", y=y, multi_output=multi_output, y_numeric=not classifier)
        keyword = weight_keyword(self.estimator)
        # without a known keyword the estimator is offered the usual one, and may refuse it in its own words
        offered = keyword if keyword in params else "sample_weight"
        weight = validation.sample_weight(params.pop(offered, None), len(y))
        return (ClassifierLearner if classifier else Learner)(
            self.estimator, X, y, params, weight, keyword
        ), split_params

    def _with_features(self) -> Self:
        """Self, with the features that the model has seen, where it counts or names them."""
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self
