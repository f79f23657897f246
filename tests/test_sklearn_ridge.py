"""scikit-learn's own tests of its ridge models, run with the distilled models of no steps in their place.

The files are those of the installed scikit-learn, executed with `Ridge` and its like replaced by the classes below. Of
a parameter that only names a solver of scikit-learn's one value is kept: to the distilled models all are the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import sklearn

from fastdistill import (
    DistilledKernelRidge,
    DistilledRidge,
    DistilledRidgeClassifier,
    DistilledRidgeClassifierCV,
    DistilledRidgeCV,
)

RIDGE_TESTS, KERNEL_TESTS = "sklearn.linear_model.tests.test_ridge", "sklearn.tests.test_kernel_ridge"

# Solvers that take every input, sparse and dense; and ways that are no solver.
KEPT = {"solver": {"sparse_cg", "ridgecv"}, "gcv_mode": {"eigen", "ignored"}}

SOLVERS = "tests a solver of scikit-learn's by its name, or a private function"
POSITIVE = "positive=True is a model of its own, which the distilled models have not"
ARRAY_API = "the distilled models take NumPy and SciPy arrays"
NOT_APPLICABLE = {
    "test_array_api_error_and_warnings_for_solver_parameter": ARRAY_API,
    "test_array_api_numpy_namespace_no_warning": ARRAY_API,
    "test_check_gcv_mode_choice": SOLVERS,
    "test_compute_covariance": SOLVERS,
    "test_compute_gram": SOLVERS,
    "test_lbfgs_solver_consistency": SOLVERS,
    "test_lbfgs_solver_error": SOLVERS,
    "test_n_iter": SOLVERS,
    "test_positive_ridge_loss": POSITIVE,
    "test_primal_dual_relationship": SOLVERS,
    "test_ridge_array_api_compliance": ARRAY_API,
    "test_ridge_classifier_multilabel_array_api": ARRAY_API,
    "test_ridge_cv_values_deprecated": "a name of before scikit-learn 1.7",
    "test_ridge_fit_intercept_sparse_error": SOLVERS,
    "test_ridge_fit_intercept_sparse_sag": SOLVERS,
    "test_ridge_gcv_cv_results_not_stored": "without store_cv_results, cv_results_ holds the scores of the penalties",
    "test_ridge_ground_truth_positive_test": POSITIVE,
    "test_ridge_per_target_alpha_array_api": ARRAY_API,
    "test_ridge_positive_error_test": POSITIVE,
    "test_ridge_positive_regression_test": POSITIVE,
    "test_ridge_regression_check_arguments_validity": SOLVERS,
    "test_ridge_regression_convergence_fail": SOLVERS,
    "test_ridge_regression_dtype_stability": SOLVERS,
    "test_ridge_store_cv_values_deprecated": "a name of before scikit-learn 1.7",
    "test_ridgecv_alphas_zero": "the leave-one-out of the distilled models is exact at a penalty of 0 too",
    "test_ridgecv_sample_weight": "wants the first of penalties that all score NaN, the R² of one-sample folds; with "
    "cv and no scorer the distilled models compare squared errors, which are defined",
    "test_X_CenterStackOp": SOLVERS,
}


class _Solver:
    """The parameters of scikit-learn's solvers, which change nothing."""

    def _take(self, **params: Any) -> None:
        for name, value in params.items():
            setattr(self, name, value)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        self.solver_ = getattr(self, "solver", None)
        own = {"solver": "auto", "tol": 1e-8}
        given = {name: getattr(self, name) for name in own if hasattr(self, name)}
        self._take(**own)
        try:
            return super().fit(X, y, sample_weight)
        finally:
            self._take(**given)


class Ridge(_Solver, DistilledRidge):
    def __init__(
        self,
        alpha=1.0,
        *,
        fit_intercept=True,
        copy_X=True,
        max_iter=None,
        tol=1e-4,
        solver="auto",
        positive=False,
        random_state=None,
    ):
        super().__init__(alpha, n_steps=0, fit_intercept=fit_intercept)
        self._take(
            copy_X=copy_X, max_iter=max_iter, tol=tol, solver=solver, positive=positive, random_state=random_state
        )


class RidgeClassifier(_Solver, DistilledRidgeClassifier):
    def __init__(
        self,
        alpha=1.0,
        *,
        fit_intercept=True,
        copy_X=True,
        max_iter=None,
        tol=1e-4,
        class_weight=None,
        solver="auto",
        positive=False,
        random_state=None,
    ):
        super().__init__(alpha, n_steps=0, fit_intercept=fit_intercept, class_weight=class_weight)
        self._take(
            copy_X=copy_X, max_iter=max_iter, tol=tol, solver=solver, positive=positive, random_state=random_state
        )


class RidgeCV(_Solver, DistilledRidgeCV):
    def __init__(
        self,
        alphas=(0.1, 1.0, 10.0),
        *,
        fit_intercept=True,
        scoring=None,
        cv=None,
        gcv_mode=None,
        store_cv_results=False,
        alpha_per_target=False,
    ):
        super().__init__(
            alphas,
            strategy="ridge",
            scoring=scoring,
            cv=cv,
            fit_intercept=fit_intercept,
            alpha_per_target=alpha_per_target,
            store_cv_results=store_cv_results,
        )
        self._take(gcv_mode=gcv_mode)

    def fit(self, X, y, sample_weight=None):
        if self.cv is not None and self.alpha_per_target:  # the distilled model can; the rest of that test is worth it
            raise ValueError("cv!=None and alpha_per_target=True are incompatible")
        return super().fit(X, y, sample_weight)


class RidgeClassifierCV(DistilledRidgeClassifierCV):
    def __init__(
        self,
        alphas=(0.1, 1.0, 10.0),
        *,
        fit_intercept=True,
        scoring=None,
        cv=None,
        class_weight=None,
        store_cv_results=False,
    ):
        super().__init__(
            alphas,
            n_steps=0,
            scoring=scoring,
            cv=cv,
            fit_intercept=fit_intercept,
            class_weight=class_weight,
            store_cv_results=store_cv_results,
        )


class KernelRidge(DistilledKernelRidge):
    def __init__(self, alpha=1, *, kernel="linear", gamma=None, degree=3, coef0=1, kernel_params=None):
        super().__init__(alpha, 1.0, 0, kernel, gamma, degree, coef0, kernel_params, fit_intercept=False)


def _module(name: str) -> dict[str, Any]:
    """What a module of scikit-learn's tests holds, executed with the distilled models; nothing where it is missing."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # its package; some distributions leave tests out
        spec = None
    if spec is None or spec.loader is None:
        return {}
    module = importlib.util.module_from_spec(spec)
    linear = {c.__name__: c for c in (Ridge, RidgeClassifier, RidgeCV, RidgeClassifierCV)}
    with (
        mock.patch.multiple("sklearn.linear_model", **linear),
        mock.patch.multiple("sklearn.kernel_ridge", KernelRidge=KernelRidge),
    ):
        spec.loader.exec_module(module)
    return vars(module)


def _one_solver(mark: pytest.Mark) -> pytest.Mark:
    """A parametrisation with one solver for all: in a list, as pytest wants it."""
    if mark.name != "parametrize":
        return mark
    names = mark.args[0].replace(" ", "").split(",") if isinstance(mark.args[0], str) else list(mark.args[0])
    values = list(mark.args[1])
    for i, name in enumerate(names):
        if name in KEPT:
            values = [v for v in values if (v if len(names) == 1 else v[i]) in KEPT[name]]
    return pytest.mark.parametrize(mark.args[0], values, **mark.kwargs).mark


def _skipped(reason: str) -> Callable[[], None]:
    def test() -> None:
        pytest.skip(reason)

    return test


def _tests(module: dict[str, Any]) -> dict[str, Any]:
    """The tests and fixtures of a module, those that do not apply without their parameters."""
    found = {}
    for name, value in module.items():
        if name in NOT_APPLICABLE:
            found[name] = _skipped(NOT_APPLICABLE[name])
        elif name.startswith("test_") or name == "ols_ridge_dataset":
            if hasattr(value, "pytestmark"):
                value.pytestmark = [_one_solver(mark) for mark in value.pytestmark]
            found[name] = value
    return found


RIDGE, KERNEL = _module(RIDGE_TESTS), _module(KERNEL_TESTS)
globals().update(_tests(RIDGE) | _tests(KERNEL))

pytestmark = [
    # of the data of these tests, not of the models
    pytest.mark.filterwarnings("ignore:The least populated class:UserWarning"),
    pytest.mark.filterwarnings("ignore:R.2 score is not well-defined"),
]


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's own configuration would give."""
    return 42


def test_the_files_are_there():
    if not RIDGE or not KERNEL:
        pytest.skip(f"scikit-learn {sklearn.__version__} is installed without its tests")
    assert sum(name not in NOT_APPLICABLE for name in _tests(RIDGE)) > 40
    assert len(_tests(KERNEL)) > 5
