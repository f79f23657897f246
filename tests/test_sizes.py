"""Data of extreme size, from 1e-300 to 1e300: every public function gives the rescaled answer or says to rescale.

What is right follows from the equations: students are multiples of y, squared errors of its square; with X c, Kq and K
c², and λ c² (or weights c and λ c) predictions are what they were, coefficients have the unit y / X. At unit size the
answers are checked against other sources elsewhere, and here once more against ridge in rational numbers.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import Ridge

import fastdistill as fd
from fastdistill import theory

EXPONENTS = (-300, -170, -150, -100, -50, 50, 100, 150, 170, 300)
N, P = 14, 3
rng = np.random.default_rng(0)
X, XQ, W = rng.standard_normal((N, P)), rng.standard_normal((5, P)), rng.uniform(0.5, 2.0, N)
Y = np.column_stack([X @ [1.0, 2.0, -1.0] + 0.3 * rng.standard_normal(N) + 1.0, rng.standard_normal(N)])
YQ = np.column_stack([XQ @ [1.0, 2.0, -1.0], rng.standard_normal(5)])
LABELS = (Y[:, 1] > 0).astype(int)
SQUARES = ((np.vstack([X, XQ])[:, None] - X) ** 2).sum(axis=2)
KERNEL = np.exp(-0.5 * SQUARES)
GRID = np.logspace(-2, 2, 5)


def power(exponent: float) -> float:
    """A power of two near 10 ** exponent: products with it are exact."""
    return 2.0 ** round(exponent * np.log2(10.0))


class Sizes(NamedTuple):
    """Factors of the arrays; kernels have the unit of X Xᵀ, x²."""

    x: float = 1.0
    y: float = 1.0
    w: float = 1.0
    lam: float = 1.0

    @property
    def k(self) -> float:
        return self.x * self.x


class Out(NamedTuple):
    """A result and the powers of x and y in it."""

    value: object
    of_x: int = 0
    of_y: int = 0


def _students(path, queries, s):
    kind = "dual_coef" if path.spectrum.is_kernel else "coef"
    return [
        Out(path.filters),
        Out(path.fitted, 0, 1),
        Out(getattr(path, kind), -2 if path.spectrum.is_kernel else -1, 1),
        Out(path.predict(queries), 0, 1),
        Out(path.gcv, 0, 2),
        Out(path.mse(queries, YQ[:, 0] * s.y), 0, 2),
    ]


def _design(s, **options):
    return fd.Spectrum.from_design(X * s.x, **options)


def path_of_design(s):
    path = _design(s, fit_intercept=True).path(Y[:, 0] * s.y, 0.7 * s.lam, [0.5, -0.3])
    loo = [Out(path.loo, 0, 1), Out(path.loo_mse, 0, 2), Out(path.standard_error(XQ * s.x, 1.0))]
    return [*_students(path, XQ * s.x, s), *loo, Out(path.predict_std(XQ * s.x), 1)]


def path_of_csr_with_weights(s):
    S = fd.Spectrum.from_design(csr_array(X * s.x), True, W * s.w)
    return _students(S.path(Y[:, 0] * s.y, 0.7 * s.lam, [0.5]), XQ * s.x, s)


def path_of_kernel(s):
    path = fd.Spectrum.from_kernel(KERNEL[:N] * s.k, True).path(Y[:, 0] * s.y, 0.7 * s.lam, [0.5])
    std = path.predict_std(KERNEL[N:] * s.k, np.full(5, s.k))
    return [
        *_students(path, KERNEL[N:] * s.k, s),
        Out(std, 1),
        Out(path.standard_error(KERNEL[N:] * s.k, 1.0)),
        Out(path.loo, 0, 1),
    ]


def limit(s):
    return _students(_design(s).limit(Y[:, 0] * s.y, 0.7 * s.lam, 0.5), XQ * s.x, s)


def tolerance(s):
    eps = 0.7 * s.y * s.y
    if not 0 < eps < np.inf:
        raise ValueError("A tolerance that is no number: rescale.")
    rounds = _design(s, fit_intercept=True).tolerance_path(Y[:, 0] * s.y, eps)
    return [*_students(rounds, XQ * s.x, s), Out(rounds.multipliers, 2)]


def _tuned(spectrum, s, queries, **options):
    y = Y[:, 0] * s.y
    if options.get("criterion") == "holdout":
        options["criterion"] = fd.Holdout(queries, YQ[:, 0] * s.y)
    found = fd.tune(spectrum, y, GRID * s.lam, **options)
    return [Out(found.scores, 0, 2), Out(found.path.fitted, 0, 1), Out(np.log10(found.lam / s.lam))]


def _estimator(model, s, queries, y=None):
    target = Y[:, 0] * s.y if y is None else y
    model.fit(queries[0], target, sample_weight=W * s.w)
    if y is not None:
        return [Out(model.decision_function(queries[1]))]
    out = [Out(model.predict(queries[1]), 0, 1), Out(model.score(queries[1], YQ[:, 0] * s.y))]
    if hasattr(model, "best_score_"):
        # those of RidgeCV are Σ w e² / n
        out += [Out(model.best_score_ / s.w, 0, 2), Out(model.cv_results_["scores"] / s.w, 0, 2)]
        out += [Out(model.verdict_.gain)]
    return out


def batched(s):
    found = fd.batched_path(np.stack([X, 2 * X]) * s.x, np.stack([Y, Y]) * s.y, 0.7 * s.lam, [0.5], fit_intercept=True)
    return [Out(found.coef, -1, 1), Out(found.intercept, 0, 1)]


def diagnosed(s):
    found = fd.diagnose(X * s.x, Y[:, 0] * s.y, n_steps=1, folds=2, penalties=GRID)
    assert "inf" not in str(found)
    assert "nan" not in str(found)
    squares = [found.scores, found.signal, found.total, *(row.error for row in found.steps), found.noise or 0.0]
    shown = [*(value for value in squares), *(row.error_se for row in found.steps)]
    return [*(Out(value, 0, 2) for value in shown), Out(found.share), *(Out(row.gain) for row in found.steps)]


def sgd(s):
    run = fd.run_sgd(X * s.x, Y[:, 0] * s.y, step_size=0.02 / s.lam, n_epochs=2, random_state=0)
    return [Out(run.coef, -1, 1), Out(run.trace["loss"], 0, 2)]


def moments(s):
    theta, reference = np.array([0.9, 1.5, -0.7]) * s.y / s.x, np.array([1.0, 2.0, -1.0]) * s.y / s.x
    return [Out(fd.optimal_kd_weight(X * s.x, Y[:, 0] * s.y, theta, reference, step_size=0.01 / s.lam))]


def _on(make, data):
    def call(s):
        return _estimator(make(s), s, {"X": (X * s.x, XQ * s.x), "K": (KERNEL[:N] * s.k, KERNEL[N:] * s.k)}[data])

    return call


def _tune(spectrum, queries, **options):
    return lambda s: _tuned(spectrum(s), s, queries(s), **options)


def _kernel(s):
    return fd.Spectrum.from_kernel(KERNEL[:N] * s.k, True)


FUNCTIONS = {
    "path, design": path_of_design,
    "path, CSR and weights": path_of_csr_with_weights,
    "path, kernel": path_of_kernel,
    "limit": limit,
    "tolerance": tolerance,
    **{
        f"tune {criterion} {strategy} {k}": _tune(
            lambda s: _design(s, fit_intercept=True),
            lambda s: XQ * s.x,
            criterion=criterion,
            strategy=strategy,
            n_steps=k,
        )
        for criterion, strategy, k in (
            ("loo", "safe", None),
            ("loo", "joint", 2),
            ("loo", "greedy", 2),
            ("gcv", "safe", 2),
            ("gcv", "joint", 2),
            ("holdout", "safe", 2),
            ("holdout", "joint", 2),
        )
    },
    "tune in folds": _tune(_design, lambda s: XQ * s.x, cv=3, n_steps=1, strategy="joint"),
    "tune within bounds": _tune(_kernel, lambda s: KERNEL[N:] * s.k, bounds=(0.0, 1.0), n_steps=2, strategy="joint"),
    "DistilledRidge": _on(lambda s: fd.DistilledRidge(0.7 * s.lam, 0.5, 2), "X"),
    "DistilledRidgeCV": _on(lambda s: fd.DistilledRidgeCV(GRID * s.lam), "X"),
    "DistilledRidgeCV in folds": _on(lambda s: fd.DistilledRidgeCV(GRID * s.lam, 1, "joint", cv=3), "X"),
    "DistilledKernelRidge": _on(lambda s: fd.DistilledKernelRidge(0.7 * s.lam, 0.5, 2, "precomputed"), "K"),
    "DistilledKernelRidge, linear": _on(lambda s: fd.DistilledKernelRidge(0.7 * s.lam, 0.5, 2, "linear"), "X"),
    "DistilledKernelRidgeCV": _on(lambda s: fd.DistilledKernelRidgeCV(GRID * s.lam, kernel="precomputed"), "K"),
    "DistilledRidgeClassifier": lambda s: _estimator(
        fd.DistilledRidgeClassifier(0.7 * s.lam), s, (X * s.x, XQ * s.x), LABELS
    ),
    "DistilledRidgeClassifierCV": lambda s: _estimator(
        fd.DistilledRidgeClassifierCV(GRID * s.lam), s, (X * s.x, XQ * s.x), LABELS
    ),
    "SelfDistiller": lambda s: _estimator(fd.SelfDistiller(Ridge(0.7)), s._replace(x=1.0), (X, XQ)),
    "batched_path": batched,
    "diagnose": diagnosed,
    "run_sgd": sgd,
    "optimal_kd_weight": moments,
}
WEIGHTED = [name for name in FUNCTIONS if name.startswith(("Distilled", "path, CSR"))]


@cache
def at_unit_size(name: str) -> list[Out]:
    return FUNCTIONS[name](Sizes())


def says_to_rescale(refusal: ValueError) -> None:
    assert "rescale" in str(refusal).lower(), str(refusal)


def checked(name: str, s: Sizes) -> bool:
    """Whether the function answered; an answer must obey the law, a refusal say to rescale."""
    try:
        found = FUNCTIONS[name](s)
    except ValueError as err:
        says_to_rescale(err)
        return False
    for at_unit, (value, of_x, of_y) in zip(at_unit_size(name), found, strict=True):
        expected = np.asarray(at_unit.value, dtype=np.float64)
        value = np.asarray(value, dtype=np.float64)
        for factor, times in ((s.x, of_x), (s.y, of_y)):
            for _ in range(abs(times)):  # back to unit size, one factor at a time
                value = value / factor if times > 0 else value * factor
        # powers of two are exact; what LAPACK and Gram matrices do at another size rounds anew
        np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max(initial=0.0))
    return True


@pytest.mark.parametrize("name", FUNCTIONS)
def test_targets_of_any_size(name):
    answered = [exponent for exponent in EXPONENTS if checked(name, Sizes(y=power(exponent)))]
    assert {-50, 50} <= set(answered) or name in {"run_sgd", "optimal_kd_weight"}
    assert checked(name, Sizes(y=power(-20)))
    assert checked(name, Sizes(y=power(20)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_data_of_any_size(name):
    """X c and λ c²; c is 1e±150 at most where λ must be a number."""
    sizes = [Sizes(x=power(e), lam=power(e) ** 2) for e in (-150, -100, -85, -50, -20, 20, 50, 85, 100, 150)]
    answered = [checked(name, s) for s in sizes]
    assert all(answered[4:6])


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_of_any_size(name):
    answered = [e for e in EXPONENTS if checked(name, Sizes(w=power(e), lam=power(e)))]
    assert not answered or max(map(abs, answered)) < 300
    assert checked(name, Sizes(w=power(-20), lam=power(-20)))


# of a linear kernel at a tiny penalty: what rounding hides there is said, and no matter of size
@pytest.mark.filterwarnings("ignore:Rounding of K hides:RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("exponent", [-300, -150, -50, 50, 100, 170])
def test_one_array_alone_never_ends_in_what_is_no_number(name, exponent):
    for alone in ("x", "lam", "w"):
        s = Sizes(**{alone: power(exponent)})
        if not 0 < s.k < np.inf or (name == "run_sgd" and alone == "lam"):  # there it sets the step: one too large
            continue  # diverges, which is another matter
        try:
            found = FUNCTIONS[name](s)
        except ValueError as err:
            says_to_rescale(err)
        else:
            for value, *_ in found:
                assert np.isfinite(np.asarray(value, dtype=np.float64)).all()


def exact_ridge(rows, y, lam, query):
    """Ridge without an intercept in rational numbers: the predictions of rows `query`."""
    A = [[Fraction(float(v)) for v in row] for row in rows]
    b = [Fraction(float(v)) for v in y]
    p = len(A[0])
    M = [[sum(r[i] * r[j] for r in A) + (Fraction(lam) if i == j else 0) for j in range(p)] for i in range(p)]
    v = [sum(r[i] * t for r, t in zip(A, b, strict=True)) for i in range(p)]
    for i in range(p):
        for j in range(i + 1, p):
            ratio = M[j][i] / M[i][i]
            M[j] = [a - ratio * c for a, c in zip(M[j], M[i], strict=True)]
            v[j] -= ratio * v[i]
    coef = [Fraction(0)] * p
    for i in reversed(range(p)):
        coef[i] = (v[i] - sum(M[i][j] * coef[j] for j in range(i + 1, p))) / M[i][i]
    return [sum(Fraction(float(a)) * c for a, c in zip(row, coef, strict=True)) for row in query]


@pytest.mark.parametrize(
    ("x", "y", "lam"), [(1e-90, 1e140, 1e-181), (1e80, 1e-200, 1e159), (1.0, 1e280, 0.5), (1e-60, 1.0, 1.0)]
)
def test_against_ridge_in_rational_numbers(x, y, lam):
    exact = exact_ridge(X * x, Y[:, 0] * y, lam, XQ * x)
    model = fd.DistilledRidge(lam, n_steps=0, fit_intercept=False).fit(X * x, Y[:, 0] * y)
    found = [Fraction(float(value)) for value in model.predict(XQ * x)]
    assert [float(f / e) for f, e in zip(found, exact, strict=True)] == pytest.approx([1.0] * len(exact), rel=1e-9)


def test_targets_too_far_apart_are_refused_and_one_by_one_they_are_not():
    mixed = Y * [1e150, 1e-150]
    with pytest.raises(ValueError, match=r"Target 1 of y, in units of .* is too small.*Rescale"):
        _design(Sizes()).path(mixed, 1.0, [0.5])
    with pytest.raises(ValueError, match=r"(?s)Target 1 of y.*Rescale"):
        fd.DistilledRidgeCV(GRID).fit(X, mixed)
    alone = fd.DistilledRidgeCV(GRID, n_steps=0, alpha_per_target=True, fit_intercept=False)
    coef = alone.fit(X, Y).coef_
    for j, scale in enumerate((1e140, 1e-140)):
        np.testing.assert_allclose(alone.fit(X, Y[:, j] * scale).coef_ / scale, coef[j], rtol=1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-150, 1.0, 1e150])
def test_constant_targets_and_constant_columns_are_no_matter_of_size(size):
    y = np.full(N, size)
    for model in (fd.DistilledRidge(), fd.DistilledRidgeCV(), fd.DistilledKernelRidge(gamma=0.5)):
        np.testing.assert_allclose(model.fit(X, y).predict(XQ), size, rtol=1e-12, atol=0)
    flat = fd.DistilledRidge().fit(np.ones((N, 2)), Y[:, 0] * (size or 1.0))
    np.testing.assert_allclose(flat.predict(np.ones((2, 2))), Y[:, 0].mean() * (size or 1.0), rtol=1e-12)


def test_single_precision_is_refused_where_it_cannot_hold_a_result():
    rows = (X * 1e-30).astype(np.float32)
    with pytest.raises(ValueError, match=r"coefficients overflow in float32.*pass float64"):
        _ = fd.Spectrum.from_design(rows).path(Y[:, 0] * 1e20, 1e-60, []).coef
    with pytest.raises(ValueError, match=r"eigenvalues underflow in float32.*pass float64"):
        _ = fd.Spectrum.from_design(rows).d
    with pytest.raises(ValueError, match=r"X is too small.*Rescale"):
        fd.run_sgd(rows, Y[:, 0].astype(np.float32), step_size=0.1, n_epochs=1)


def test_kernels_that_tell_no_samples_apart_are_refused():
    with pytest.raises(ValueError, match=r"too small for the default gamma. Rescale X"):
        fd.DistilledKernelRidge().fit(X * 1e-20, Y[:, 0])
    with pytest.raises(ValueError, match=r"X is too large.*Rescale it"):
        fd.DistilledKernelRidge(kernel="linear").fit(X * 1e200, Y[:, 0])


def test_queries_near_zero_are_no_matter_of_size():
    """A kernel query far from all the samples has values next to nothing, and so may a single row."""
    S = fd.Spectrum.from_kernel(KERNEL[:N])
    path = S.path(Y[:, 0], 1.0, [])
    np.testing.assert_allclose(path.predict(np.full((1, N), 1e-300)), 0.0, atol=1e-290)
    with pytest.raises(ValueError, match=r"Kq is too large.*Rescale"):
        path.predict(np.full((1, N), 1e200))
    with pytest.raises(ValueError, match=r"predictions overflow"):
        fd.DistilledRidge().fit(X * 1e-50, Y[:, 0] * 1e250).predict(XQ * 1e250)


D, THETA = np.array([9.0, 4.0, 1.0, 0.3]), np.array([1.0, 0.5, -0.3, 0.2])
ROUNDS = {"y_norm": 10.0, "eps": 0.1, "n_samples": 20}
CONSTANTS = theory.smoothness(X)
THEORY = {
    "multistep_filter": lambda c: fd.multistep_filter(D * c, 2.0 * c, [0.5]),
    "limit_filter": lambda c: theory.limit_filter(D * c, 2.0 * c, 0.5),
    "convergence_rate": lambda c: theory.convergence_rate(D * c, 2.0 * c, 0.5),
    "limit_penalty": lambda c: theory.limit_penalty(2.0 * c, 0.5) / c,
    "best_step_weight": lambda c: theory.best_step_weight(Y[:, 0] * c, Y[:, 1] * c, YQ[[0] * N, 0] * c),
    "oracle_filter": lambda c: theory.oracle_filter(D * c, THETA, 0.5 * c**0.5),
    "excess_risk": lambda c: theory.excess_risk(D, THETA * c, 0.5 * c, 20, D / (D + 1)) / c / c,
    "excess_risk_quadratic": lambda c: theory.excess_risk_quadratic(D, THETA * c, 0.5 * c, 20, 1.0, 1)[0] / c / c,
    "oracle_risk": lambda c: theory.oracle_risk(D, THETA * c, 0.5 * c, 20) / c / c,
    "best_mixture": lambda c: theory.best_mixture(D * c, THETA, 0.5 * c**0.5, 20, 2.0 * c, 2).filters,
    "best_student": lambda c: theory.best_student(D, THETA * c, 0.5 * c, 20, 1).filters,
    "separation_family": lambda c: theory.separation_family(4, gamma=c).theta / c,
    "optimal_mixing": lambda c: theory.optimal_mixing(D, THETA * c, 0.5 * c, 20, 1.0).xi,
    "risk_derivative": lambda c: theory.risk_derivative(D, THETA * c, 0.5 * c, 20, 1.0) / c / c,
    "empirical_mixing": lambda c: (
        theory.empirical_mixing(1.0, np.stack([Y[:, 0] * a * c for a in (1, 2, 3)]), Y[:, 1] * c).xi
    ),
    "multiplier_bounds": lambda c: theory.multiplier_bounds(D * c, **ROUNDS)[0] / c,
    "collapse_bound": lambda c: theory.collapse_bound(D * c, **ROUNDS),
    "sparsity_bound": lambda c: theory.sparsity_bound(D * c, **ROUNDS, n_rounds=0),
    "equivalent_spectrum": lambda c: theory.equivalent_spectrum(D * c, np.array([0.5, 0.4]) * c)[0] / c,
    "early_stopping_filter": lambda c: theory.early_stopping_filter(D * c, 0.1 / c, 5),
    "smoothness": lambda c: theory.smoothness(X * c).sample_lipschitz / c / c,
    "largest_stable_step": lambda c: theory.largest_stable_step(X * c) * c * c,
    "kd_stationary": lambda c: theory.kd_stationary(X, Y[:, 0] * c, THETA[:3] * c, 0.01, 0.5).mean / c,
    "kd_stationary_weight": lambda c: theory.kd_stationary_weight(X, Y[:, 0] * c, THETA[:3] * c, 0.01),
    "kd_neighbourhood": lambda c: (
        theory.kd_neighbourhood(X, Y[:, 0] * c, THETA[:3] * c, [c, 2 * c, -c], step_size=0.01).reduction
    ),
    "kd_distance_bound": lambda c: (
        theory.kd_distance_bound(3.0 * c, CONSTANTS, step_size=0.01, n_steps=5, initial=2.0 * c) / c
    ),
    "kd_loss_bound": lambda c: theory.kd_loss_bound(3.0 * c, CONSTANTS, step_size=1e-4, n_steps=5, initial=2.0 * c) / c,
    "compressed_distance_bound": lambda c: (
        theory.compressed_distance_bound(
            3.0 * c, CONSTANTS, step_size=0.01, n_steps=5, initial=2.0 * c, omega=1e-4, reference_norm=c
        )
        / c
    ),
}


@pytest.mark.parametrize("name", THEORY)
def test_formulas_of_any_size(name):
    expected, answered = THEORY[name](1.0), []
    for exponent in (*EXPONENTS, -20, 20):
        try:
            found = THEORY[name](power(exponent))
        except ValueError as err:
            says_to_rescale(err)
        else:
            answered.append(exponent)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    assert {-20, 20} <= set(answered)
