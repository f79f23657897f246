"""Residual-as-teacher: the closed form against its iteration, the two-spectra formula, what a biased teacher does."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastdistill import DistilledKernelRidge, DistilledRidge, ResidualTeacherRidge

LINEAR, SMOOTH = DistilledRidge(0.7, n_steps=0), DistilledKernelRidge(0.5, n_steps=0, gamma=0.3)
TEACHERS: tuple[Any, ...] = (
    DistilledRidge(3.0, n_steps=0),
    DistilledRidge(1.0, xi=[0.5, -0.2], n_steps=None, fit_intercept=False),
    DistilledKernelRidge(2.0, n_steps=0, gamma=0.2),
    DistilledKernelRidge(0.5, n_steps=1, gamma=0.5, fit_intercept=False),
)


def problem(seed=0, n=24, p=3, q=30, m=None):
    """Labelled data, and inputs whose distribution has moved."""
    rng = np.random.default_rng(seed)
    X, U = rng.standard_normal((n, p)), 0.7 * rng.standard_normal((q, p)) + 0.5
    signal = np.sin(X @ rng.standard_normal((p, m or 1)))
    y = signal + 0.3 * rng.standard_normal(signal.shape) + 2.0
    return X, y if m else y[:, 0], U


def iterated(student, teacher, X, y, U, weight=None, step=0.1, most=200_000):
    """Predictions at U and X of the proximal iteration, run until it stands still; every fit from scratch.

    With the step η the student has the penalty η λ: `step` is in units of λ, so that small ones converge.
    """
    own = None if U is not X else weight
    proximal = clone(student).set_params(alpha=step * student.alpha)
    at_source, at_inputs = np.zeros_like(y), np.zeros((len(U), *y.shape[1:]))
    for _ in range(most):
        told = clone(teacher).fit(X, y - at_source, weight).predict(U)
        proximal.fit(U, at_inputs + step * told, own)
        moved = np.abs(proximal.predict(U) - at_inputs).max()
        at_source, at_inputs = proximal.predict(X), proximal.predict(U)
        if moved < 1e-14 * max(1.0, np.abs(at_inputs).max()):
            break
    return at_inputs, at_source


def smoother(model, X, queries, weight=None):
    """The matrix of a fitted model's predictions as a function of its targets."""
    return clone(model).fit(X, np.eye(len(X)), weight).predict(queries)


def converged(student, teacher, X, y, U, weight=None, step=0.2, tol=3e-12):
    """`iterated` with the smoothers as matrices, for many steps: f_U ← P (f_U + η T (y − f_X)), carried in duals."""
    own = None if U is not X else weight
    T = smoother(teacher, X, U, weight)
    proximal = clone(student).set_params(alpha=step * student.alpha)
    P, Q = smoother(proximal, U, U, own), smoother(proximal, U, X, own)
    targets = np.zeros(len(U))
    for _ in range(200_000):
        following = P @ targets + step * (T @ (y - Q @ targets))
        if np.abs(following - targets).max() < tol * max(1.0, np.abs(targets).max()):
            break
        targets = following
    return P @ targets, Q @ targets


@parametrize_with_checks(
    [
        ResidualTeacherRidge(),
        ResidualTeacherRidge("rbf", "linear"),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


# --- the fixed point ---


@pytest.mark.parametrize(("teacher", "intercept"), [*zip(TEACHERS, (True, False, False, True), strict=True)], ids=str)
@pytest.mark.parametrize("student", [LINEAR, SMOOTH], ids=["linear", "kernel"])
@pytest.mark.parametrize("shift", [False, True])
def test_closed_form_is_where_the_iteration_converges(student, teacher, intercept, shift):
    X, y, U = problem()
    U = U if shift else X
    student = clone(student).set_params(fit_intercept=intercept)
    model = ResidualTeacherRidge(student, teacher).fit(X, y, X_unlabelled=U if shift else None)
    at_inputs, at_source = converged(student, teacher, X, y, U)
    np.testing.assert_allclose(model.predict(U), at_inputs, rtol=0, atol=1e-9 * np.abs(at_inputs).max())
    np.testing.assert_allclose(model.predict(X), at_source, rtol=0, atol=1e-9 * np.abs(at_source).max())


def test_the_iteration_by_matrices_is_the_one_by_refits():
    X, y, U = problem(n=12, q=15)
    student, teacher = clone(LINEAR).set_params(alpha=5.0), TEACHERS[2]
    found = iterated(student, teacher, X, y, U, step=0.5, most=400)
    for ours, theirs in zip(found, converged(student, teacher, X, y, U, step=0.5), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    model = ResidualTeacherRidge(student, teacher).fit(X, y, X_unlabelled=U)
    np.testing.assert_allclose(found[0], model.predict(U), rtol=0, atol=1e-9)


@pytest.mark.parametrize("student", [LINEAR, SMOOTH], ids=["linear", "kernel"])
def test_weights_more_features_than_inputs_and_several_targets(student):
    X, y, _ = problem(1, n=15, p=25)
    weight = np.random.default_rng(2).integers(0, 3, len(X)).astype(float)
    teacher = DistilledKernelRidge(0.3, n_steps=0, gamma=0.02)
    model = ResidualTeacherRidge(student, teacher).fit(X, y, weight)
    at_inputs, _ = converged(student, teacher, X, y, X, weight)
    np.testing.assert_allclose(model.predict(X), at_inputs, rtol=0, atol=1e-9 * np.abs(at_inputs).max())
    rows = np.repeat(np.arange(len(X)), weight.astype(int))
    repeated = ResidualTeacherRidge(student, teacher).fit(X[rows], y[rows]).predict(X)
    np.testing.assert_allclose(model.predict(X), repeated, rtol=0, atol=1e-10 * np.abs(at_inputs).max())
    two = ResidualTeacherRidge(student, teacher).fit(X, np.column_stack([y, -3.0 * y]), weight).predict(X)
    np.testing.assert_allclose(two, np.outer(model.predict(X), [1.0, -3.0]), rtol=0, atol=1e-9)


def test_filter_of_two_spectra_with_the_same_eigenvectors():
    X, y, _ = problem(3)
    d_teacher, U = np.linalg.eigh(rbf_kernel(X, gamma=0.3))
    penalty, of_teacher = 0.4, 2.5
    teacher = DistilledKernelRidge(of_teacher, n_steps=0, gamma=0.3, fit_intercept=False)
    student = DistilledKernelRidge(penalty, n_steps=0, gamma=0.3, fit_intercept=False)
    a = d_teacher / (d_teacher + of_teacher)
    for method, f in (
        ("residual", d_teacher * a / (d_teacher * a + penalty)),
        ("matching", a * d_teacher / (d_teacher + penalty)),
    ):
        model = ResidualTeacherRidge(student, teacher, method).fit(X, y)
        np.testing.assert_allclose(model.predict(X), U @ (f * (U.T @ y)), rtol=1e-9)


def test_far_from_zero_and_uneven_columns():
    X, y, U = problem(4)
    scale, offset = np.array([1e6, 1.0, 1e-3]), np.array([1e8, 0.0, 5.0])
    teacher = DistilledKernelRidge(2.0, n_steps=0, gamma=0.3)

    def fitted(rescaled, shift):
        rows = [part * rescaled + shift for part in (X, U)]
        whitened = DistilledRidge(1e-9, n_steps=0)
        return ResidualTeacherRidge(whitened, DistilledRidge(1e-9, n_steps=0)).fit(rows[0], y, X_unlabelled=rows[1])

    model, plain = fitted(scale, offset), fitted(np.ones(3), np.zeros(3))
    expected = Ridge(1e-9).fit(X, y).predict(U)
    np.testing.assert_allclose(plain.predict(U), expected, rtol=1e-6)
    np.testing.assert_allclose(model.predict(U * scale + offset), expected, rtol=1e-5)
    moved = ResidualTeacherRidge(LINEAR, teacher).fit(X, y + 1e6, X_unlabelled=U).predict(U)
    np.testing.assert_allclose(
        moved - 1e6, ResidualTeacherRidge(LINEAR, teacher).fit(X, y, None, U).predict(U), atol=1e-8
    )


def test_features_and_targets_of_any_size_beside_each_other():
    """Kernel values of far inputs, and targets, next to zero or huge."""
    X, y, U = problem(8)
    far = np.vstack([U, np.full(3, 30.0)])  # kernel values below 1e-300
    student = clone(SMOOTH).set_params(fit_intercept=False)
    teacher = TEACHERS[2]
    model = ResidualTeacherRidge(student, teacher).fit(X, y, X_unlabelled=far)
    at_inputs, _ = converged(student, teacher, X, y, far)
    np.testing.assert_allclose(model.predict(far), at_inputs, rtol=0, atol=1e-9 * np.abs(at_inputs).max())
    for size in (1e-150, 1e150):
        scaled = ResidualTeacherRidge(student, teacher).fit(X, size * y, X_unlabelled=far)
        np.testing.assert_allclose(scaled.predict(U), size * model.predict(U), rtol=1e-12)
    with pytest.raises(ValueError, match="X_unlabelled cannot be used: X has 2 features"):
        ResidualTeacherRidge().fit(X, y, X_unlabelled=U[:, :2])


# --- what it is for ---


def best_errors(students, teacher, data, queries, wanted):
    """Test errors of (residual, matching), each with the student that is best for it."""
    return [
        min(np.mean((ResidualTeacherRidge(s, teacher, m).fit(*data).predict(queries) - wanted) ** 2) for s in students)
        for m in ("residual", "matching")
    ]


def test_better_than_matching_under_a_biased_teacher_and_covariate_shift():
    """The teacher's bias is undone, not handed on, whatever the penalty of the matching student."""
    students = [DistilledKernelRidge(x, gamma=20.0, n_steps=0) for x in 10.0 ** np.arange(-3, 2)]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, U = rng.uniform(0, 1, (150, 1)), rng.beta(5, 2, (60, 1))
        y = np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(150)
        teacher = DistilledKernelRidge(100.0, gamma=20.0, n_steps=0)
        residual, matching = best_errors(students, teacher, (X, y, None, U), U, np.sin(6 * U[:, 0]))
        assert residual < matching / 3


def test_better_than_matching_on_a_real_table():
    """Diabetes: a teacher with a penalty far too large; half of the rows judge."""
    X, y = load_diabetes(return_X_y=True)
    X, y = X / X.std(axis=0), (y - y.mean()) / y.std()
    students = [DistilledRidge(x, n_steps=0) for x in 10.0 ** np.arange(-2, 4)]
    gains = []
    for seed in range(5):
        train, test = np.split(np.random.default_rng(seed).permutation(len(y)), 2)
        teacher = DistilledRidge(2000.0, n_steps=0)
        residual, matching = best_errors(students, teacher, (X[train], y[train]), X[test], y[test])
        gains.append(matching / residual)
    assert min(gains) > 1.0
    assert np.mean(gains) > 1.1


def test_matching_is_the_student_of_the_teachers_predictions():
    X, y, U = problem(5)
    model = ResidualTeacherRidge(LINEAR, SMOOTH, "matching").fit(X, y, X_unlabelled=U)
    labels = clone(SMOOTH).fit(X, y).predict(U)
    np.testing.assert_array_equal(model.predict(X), clone(LINEAR).fit(U, labels).predict(X))
    np.testing.assert_array_equal(model.teacher_.predict(U), labels)


# --- what it takes ---


def test_kinds_of_students_and_teachers():
    X, y, U = problem(6)
    ours = ResidualTeacherRidge(
        DistilledRidge(2.0, n_steps=0), DistilledKernelRidge(3.0, n_steps=0, fit_intercept=False)
    )
    theirs = ResidualTeacherRidge(Ridge(2.0), KernelRidge(alpha=3.0, kernel="rbf"))
    expected = ours.fit(X, y, X_unlabelled=U).predict(U)
    np.testing.assert_array_equal(theirs.fit(X, y, X_unlabelled=U).predict(U), expected)
    names = ResidualTeacherRidge("linear", "laplacian").fit(X, y).predict(U)
    own = ResidualTeacherRidge(DistilledRidge(n_steps=0), DistilledKernelRidge(n_steps=0, kernel="laplacian")).fit(X, y)
    np.testing.assert_array_equal(names, own.predict(U))
    sparse = clone(ours).fit(sp.csr_array(X), y, X_unlabelled=sp.csr_array(U)).predict(sp.csr_array(U))
    np.testing.assert_allclose(sparse, expected, rtol=1e-9)
    single = clone(ours).fit(X.astype(np.float32), y.astype(np.float32), X_unlabelled=U.astype(np.float32))
    assert single.predict(U.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(single.predict(U.astype(np.float32)), expected, rtol=1e-4)
    loaded = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(loaded.predict(U), expected)
    assert clone(ours).set_params(student__alpha=5.0).student.alpha == 5.0


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"student": DistilledRidge()}, ValueError, "student must be plain ridge, but it has 1 distillation steps"),
        ({"student": DistilledRidge(0.0, n_steps=0)}, ValueError, "alpha of the student must be above 0"),
        ({"student": DistilledRidge([1.0, 2.0], n_steps=0)}, TypeError, "alpha of the student must be a real number"),
        ({"teacher": DistilledRidge([1.0, 2.0])}, ValueError, "The teacher must have one penalty"),
        ({"teacher": 3}, TypeError, "teacher must be DistilledRidge, .* got 3"),
        ({"teacher": Ridge(positive=True)}, TypeError, "without positive=True"),
        ({"student": "sigmoid"}, ValueError, "kernel of the student must be positive semi-definite; 'sigmoid'"),
        ({"teacher": "precomputed"}, ValueError, "teacher cannot have kernel='precomputed'"),
        ({"method": "both"}, ValueError, "method must be one of 'residual', 'matching'"),
    ],
)
def test_bad_parameters(parameters, error, message):
    X, y, _ = problem()
    with pytest.raises(error, match=message):
        ResidualTeacherRidge(**parameters).fit(X, y)


def test_a_fixed_point_that_cannot_be_resolved_is_refused():
    """The student's kernel is far narrower than the distance of its inputs from the labelled data."""
    X, y, U = problem(7)
    student = DistilledKernelRidge(1e-300, gamma=1e-3, n_steps=0)
    with pytest.raises(ValueError, match="The fixed point cannot be resolved"):
        ResidualTeacherRidge(student, SMOOTH).fit(X, y, X_unlabelled=U)
