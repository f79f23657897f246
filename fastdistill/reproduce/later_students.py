"""Claims about students of other teachers: on random inputs, of residuals, weak, surrogate, on unlabelled inputs.

With the risks R of two students, each row compares what a paper claims of R with a simulation or with a formula of
`fastdistill.theory` that the simulation confirms; see `later_claims` for what counts as holding.

=====================================  ==========================================================
paper                                  here
=====================================  ==========================================================
Dang et al. 2026, section 3            `fastdistill.theory.asymptotic_one_step`
Yamamoto and Wainwright 2026           `fastdistill.ResidualTeacherRidge`
Moniri and Hassani 2025                `fastdistill.theory.weak_to_strong_risk`
Ildiz et al. 2024                      `fastdistill.theory.optimal_surrogate`
Wu, Yang and Sun 2026                  `fastdistill.SelfTrainedRidge`
=====================================  ==========================================================

Cost: some seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel

import fastdistill as fd
from fastdistill.reproduce.data import diabetes
from fastdistill.reproduce.later_claims import YES, Claim, agrees, always, better, error_of, population, ridge, spread

SEEDS, FEWER = 20, 10  # the second where a seed takes hundreds of fits
DANG, YAMAMOTO, MONIRI = "Dang et al. 2026", "Yamamoto, Wainwright 2026", "Moniri, Hassani 2025"
ILDIZ, WU = "Ildiz et al. 2024", "Wu et al. 2026"
GAMMA = 20.0  # of the RBF kernels
BIAS = 0.1  # penalty of the biased teacher, on the mean of squares
STUDENT_PENALTIES = 10.0 ** np.arange(-4.0, 3.0)
LARGE = 5.0  # noise of the self-training problem
SPIKED = np.r_[np.full(5, 3.0), np.full(145, 0.3)]


def one_step_claims() -> Iterator[Claim]:
    """[D] The limit against ridge and its best one-step student at finite n and p."""
    (s, theta), n, lam = population(0, 300), 200, np.array([5.0, 50.0, 500.0])
    predicted = fd.theory.asymptotic_one_step(s, theta, 0.5, n, lam)
    risks, best = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, len(s))) * np.sqrt(s)
        path = fd.Spectrum.from_design(X).path(X @ theta + 0.5 * rng.standard_normal(n), lam, 1.0, 1)
        root = np.sqrt(s)
        first, second = (root * (path.coef[:, t] - theta) for t in (0, 1))
        change = second - first
        own = -(first * change).sum(axis=1) / np.square(change).sum(axis=1)
        risks.append(np.square(first).sum(axis=1))
        best.append(np.square(first + own[:, None] * change).sum(axis=1))
    yield agrees(DANG, "the limit gives the risk of ridge", "simulated / predicted", np.array(risks) / predicted.risk)
    ratios = np.array(best) / (predicted.risk - predicted.gain)
    yield agrees(DANG, "the limit gives the risk of the best one-step student", "simulated / predicted", ratios)


class Shifted(NamedTuple):
    """Labelled data, unlabelled inputs whose distribution has moved, and the function there."""

    X: np.ndarray
    y: np.ndarray
    U: np.ndarray
    wanted: np.ndarray


def shifted(seed: int, n: int) -> Shifted:
    """sin 6x with noise on [0, 1]; most of the unlabelled inputs lie to the right."""
    rng = np.random.default_rng(seed)
    X, U = rng.uniform(0, 1, (n, 1)), rng.beta(5, 2, (n, 1))
    return Shifted(X, np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(n), U, np.sin(6 * U[:, 0]))


def kernel_ridge(alpha: float) -> Any:
    """Plain kernel ridge."""
    return fd.DistilledKernelRidge(alpha, gamma=GAMMA, n_steps=0)


def errors_by_penalty(data: Shifted, teacher_penalty: float) -> np.ndarray:
    """Errors (2, penalties) of residual-as-teacher and of matching on the unlabelled inputs."""
    teacher = kernel_ridge(teacher_penalty)
    return np.array(
        [
            [
                np.mean(
                    (
                        fd.ResidualTeacherRidge(kernel_ridge(x), teacher, method)
                        .fit(data.X, data.y, X_unlabelled=data.U)
                        .predict(data.U)
                        - data.wanted
                    )
                    ** 2
                )
                for x in STUDENT_PENALTIES
            ]
            for method in ("residual", "matching")
        ]
    )


def biased_teachers() -> tuple[np.ndarray, np.ndarray]:
    """`errors_by_penalty` of a teacher that smooths too much, (seeds, 2, penalties), with 50 and with 200 samples."""
    few, many = (np.array([errors_by_penalty(shifted(seed, n), BIAS * n) for seed in range(FEWER)]) for n in (50, 200))
    return few, many


def residual_teacher_claims(few: np.ndarray, many: np.ndarray) -> Iterator[Claim]:
    """[Y] The fixed point, and what it does to a biased teacher."""
    off = [_distance_of_the_iteration(seed) for seed in range(5)]
    yield Claim(
        YAMAMOTO,
        "the proximal iteration converges, to the closed form",
        f"largest relative difference {max(off):.1g} over 5 seeds",
        YES[max(off) < 1e-9],
    )
    small, large = few.min(axis=2), many.min(axis=2)
    claim = "biased teacher, covariate shift: better than matching, each at its best penalty"
    yield better(YAMAMOTO, claim, "matching / residual", large[:, 1] / large[:, 0])
    fallen = small / large
    claim = "its error falls with the samples: 50 against 200"
    yield better(YAMAMOTO, claim, "error ratio", fallen[:, 0])
    yield Claim(
        YAMAMOTO,
        "that of matching does not fall (no more than its spread explains)",
        f"error ratio {spread(fallen[:, 1])}, {FEWER} seeds",
        YES[bool(fallen[:, 1].mean() - 2 * error_of(fallen[:, 1]) <= 1)],
    )
    ratios = _on_diabetes()
    yield better(YAMAMOTO, "the same on a real table (diabetes), penalty by validation", "matching / residual", ratios)
    tuned = np.array([errors_by_penalty(shifted(seed, 200), 1.0).min(axis=1) for seed in range(FEWER)])
    yield better(
        "(not claimed)",
        "residual-as-teacher, also of a well-tuned teacher",
        "matching / residual",
        tuned[:, 1] / tuned[:, 0],
    )


def _distance_of_the_iteration(seed: int, step: float = 0.2) -> float:
    """Relative distance of the iteration f ← Prox(f + η T (y − f)), run until it stands still, from the closed form."""
    data, teacher_penalty, penalty = shifted(seed, 60), 30.0, 1.0
    K, Kt, Ku = (rbf_kernel(a, b, gamma=GAMMA) for a, b in ((data.X, data.X), (data.X, data.U), (data.U, data.U)))
    told = Kt.T @ np.linalg.inv(K + teacher_penalty * np.eye(60))
    proximal = np.linalg.inv(Ku + step * penalty * np.eye(60))
    dual = np.zeros(60)
    for _ in range(20_000):
        following = proximal @ (Ku @ dual + step * told @ (data.y - Kt @ dual))
        moved, dual = np.abs(following - dual).max(), following
        if moved < 1e-15:
            break
    plain = [kernel_ridge(x).set_params(fit_intercept=False) for x in (penalty, teacher_penalty)]
    closed = fd.ResidualTeacherRidge(*plain).fit(data.X, data.y, X_unlabelled=data.U).predict(data.U)
    return float(np.abs(Ku @ dual - closed).max() / np.abs(closed).max())


def _on_diabetes() -> list[float]:
    """Ratios of test errors; a third of the rows each trains, chooses the student's penalty, and tests."""
    table, ratios = diabetes(), []
    X, y = table.X / table.X.std(axis=0), (table.y - table.y.mean()) / table.y.std()
    for seed in range(FEWER):
        train, valid, test = np.array_split(np.random.default_rng(seed).permutation(len(y)), 3)
        found = []
        for method in ("residual", "matching"):
            models = [
                fd.ResidualTeacherRidge(
                    fd.DistilledRidge(x, n_steps=0), fd.DistilledRidge(2000.0, n_steps=0), method
                ).fit(X[train], y[train])
                for x in 10.0 ** np.arange(-1, 4)
            ]
            chosen = min(models, key=lambda model: float(np.mean((model.predict(X[valid]) - y[valid]) ** 2)))
            found.append(float(np.mean((chosen.predict(X[test]) - y[test]) ** 2)))
        ratios.append(found[1] / found[0])
    return ratios


def weak_teacher_claims() -> Iterator[Claim]:
    """[M] A student makes up for its teacher."""
    s, theta = np.ones(150), np.full(150, 150**-0.5)
    n, gamma, grid = 100, 0.7, np.logspace(-2, 4, 61)
    risks = fd.theory.weak_to_strong_risk(s, theta, gamma, n, grid, 300, grid)
    best = int(risks.teacher.argmin())
    low, least = risks.student[best - 15], risks.student.min(axis=1)
    lam = float(grid[best - 15]), float(grid[low.argmin()])
    ratios, simulated = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        X, U = rng.standard_normal((n, 150)), rng.standard_normal((300, 150))
        weak = ridge(X, X @ theta + gamma * rng.standard_normal(n), lam[0])
        strong = ridge(U, U @ weak, lam[1])
        ratios.append(np.sum((weak - theta) ** 2) / np.sum((strong - theta) ** 2))
        simulated.append([np.sum((weak - theta) ** 2), np.sum((strong - theta) ** 2)])
    predicted = risks.teacher[best - 15], low.min()
    claim = "a student makes up for a penalty of its teacher that is too small (a 30th of the best)"
    yield better(MONIRI, claim, "teacher / student risk", ratios)
    yield agrees(MONIRI, "the limit gives both risks", "simulated / predicted", np.array(simulated) / predicted)
    under = least[:best] < risks.teacher[:best] * (1 - 1e-9)
    yield always(MONIRI, "so for every penalty below the teacher's best (isotropic inputs)", "student better", under)
    over = least[best + 1 :] >= risks.teacher[best + 1 :] * (1 - 1e-9)
    yield always(
        "(not claimed)", "no student makes up for a penalty that is too large (isotropic inputs)", "no gain", over
    )
    yield better(MONIRI, "a student whose weights suit the truth surpasses its teacher", *_aligned())


def _aligned() -> tuple[str, list[float]]:
    """Teacher with its best plain penalty, student that penalises the directions of the signal less."""
    s, theta = np.ones(150), np.r_[np.full(10, 0.3), np.full(140, 0.01)]
    weights, grid = np.r_[np.full(10, 0.1), np.full(140, 10.0)], np.logspace(-1, 4, 26)
    risks = fd.theory.weak_to_strong_risk(s, theta, 0.7, 100, grid, 300, grid, student_weights=weights)
    t = int(risks.teacher.argmin())
    lam, ratios = (float(grid[t]), float(grid[risks.student[t].argmin()])), []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        X, U = rng.standard_normal((100, 150)), rng.standard_normal((300, 150))
        weak = ridge(X, X @ theta + 0.7 * rng.standard_normal(100), lam[0])
        strong = ridge(U, U @ weak, lam[1], weights)
        ratios.append(np.sum((weak - theta) ** 2) / np.sum((strong - theta) ** 2))
    return "teacher / student risk", ratios


def surrogate_claims() -> Iterator[Claim]:
    """[I] Labels that are better to learn from than the truth."""
    j = np.arange(1, 401.0)
    s, theta, n, gamma = j**-1.5, j**-0.1, 100, 0.1
    found, ratios = fd.theory.optimal_surrogate(s, theta, gamma, n), []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        X, noise = rng.standard_normal((n, len(s))) * np.sqrt(s), gamma * rng.standard_normal(n)
        risks = [s @ (ridge(X, X @ labels + noise, 0.0) - theta) ** 2 for labels in (found.surrogate, theta)]
        ratios.append(risks[1] / risks[0])
    yield better(ILDIZ, "a surrogate's labels are better to learn from than true ones", "true / surrogate risk", ratios)
    factor = found.surrogate / theta
    grows = np.flatnonzero(factor > 1)
    yield Claim(
        ILDIZ,
        "the best surrogate amplifies strong directions and shrinks weak ones",
        f"amplified: the {len(grows)} strongest of {len(s)}; worth keeping as they are: {int(found.mask.sum())}",
        YES[bool(0 < len(grows) < len(s) and grows.max() == len(grows) - 1)],
    )
    sizes, wide = (50, 100, 200, 400), np.arange(1, 8001.0)
    curves = [fd.theory.optimal_surrogate(wide**-1.5, wide**-0.25, 0.0, n) for n in sizes]
    slopes = [
        -np.polyfit(np.log(sizes), np.log(risks), 1)[0]
        for risks in zip(*((c.true_risk, c.risk) for c in curves), strict=True)
    ]
    yield Claim(
        ILDIZ,
        "it does not improve the data scaling law",
        f"exponents {slopes[0]:.3f} (true labels) and {slopes[1]:.3f} (best surrogate), 8000 features",
        YES[bool(abs(slopes[0] - slopes[1]) < 0.05)],
    )


class SelfTraining(NamedTuple):
    """Risks (seeds, penalties, steps) of the chain, true and estimated, of labels with noise, and choices."""

    alphas: np.ndarray
    true: np.ndarray
    estimated: np.ndarray
    chosen: np.ndarray  # (seeds, 3): risks of the chosen penalty and steps, of the chosen penalty alone, of the best


def self_training() -> SelfTraining:
    """Five strong among 145 weak directions, 60 labelled and 600 unlabelled inputs."""
    signal, alphas = np.r_[np.ones(5), np.zeros(145)], np.array([1.0, 10.0, 30.0, 100.0])
    true, estimated, chosen = [], [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        X, U = rng.standard_normal((60, 150)) * SPIKED, rng.standard_normal((600, 150)) * SPIKED
        y = X @ signal + LARGE * rng.standard_normal(60)
        model = fd.SelfTrainedRidge(alphas, max_steps=8, fit_intercept=False).fit(X, y, X_unlabelled=U)
        risks = np.array([_chain(X, y, U, float(alpha), signal) for alpha in alphas])
        own = int(np.flatnonzero(alphas == model.alpha_)[0])
        plain = int(model.scores_[:, 0].argmin())
        chosen.append([risks[own, model.n_steps_], risks[plain, 0], risks.min()])
        true.append(risks)
        estimated.append(model.scores_)
    return SelfTraining(alphas, np.array(true), np.array(estimated), np.array(chosen))


def _chain(X: np.ndarray, y: np.ndarray, U: np.ndarray, alpha: float, signal: np.ndarray) -> list[float]:
    coef = ridge(X, y, alpha)
    risks = [np.sum((SPIKED * (coef - signal)) ** 2)]
    for rows in (U[t::8] for t in range(8)):
        coef = ridge(rows, rows @ coef, alpha * len(rows) / len(y))
        risks.append(np.sum((SPIKED * (coef - signal)) ** 2))
    return [float(risk) + LARGE**2 for risk in risks]


def self_training_claims(found: SelfTraining) -> Iterator[Claim]:
    """[W] Falls, then rises; iterated GCV follows."""
    excess_risks = found.true[:, 1] - LARGE**2  # of the second penalty
    steps = int(excess_risks.mean(axis=0).argmin())
    shown = ", ".join(spread(excess_risks[:, t]) for t in (0, steps, 8))
    yield Claim(
        WU,
        "the risk falls and then rises with the steps: there is a best stopping time",
        f"at alpha = {found.alphas[1]:g} excess risks {shown} after 0, {steps} and 8 steps, {SEEDS} seeds",
        YES[bool(0 < steps < 8)],
    )
    yield agrees(WU, "the limit gives the risk along the steps", "simulated / predicted", _over_predicted(found))
    ratios = found.estimated / found.true.mean(axis=0)
    yield agrees(WU, "iterated GCV estimates the risk along the steps", "estimated / true", ratios.reshape(SEEDS, -1))
    excess = found.chosen - LARGE**2
    chosen = spread(excess[:, 0] / excess[:, 2])
    claim = "it selects the stopping time: less risk than without steps, at the small penalty alpha = 1"
    yield better(WU, claim, "plain / self-trained excess risk", _gain_at_smallest(found))
    yield better(
        "(not claimed)",
        f"choosing penalty and steps beats choosing the penalty (the best of all is better by {chosen})",
        "ridge / self-trained excess risk",
        excess[:, 1] / excess[:, 0],
    )


def _over_predicted(found: SelfTraining) -> np.ndarray:
    """Risks (seeds, penalties · steps) over those in the limit, with 60 labelled and 75 inputs of each step."""
    signal, sizes = np.r_[np.ones(5), np.zeros(145)], np.r_[60, np.full(8, 75)]
    predicted = [
        fd.theory.generation_risk(SPIKED**2, signal, LARGE, sizes, alpha * sizes / 60, 8, synthetic_gamma=0.0)
        for alpha in found.alphas
    ]
    return (found.true / (np.array(predicted) + LARGE**2)).reshape(len(found.true), -1)


def _gain_at_smallest(found: SelfTraining) -> np.ndarray:
    """Excess risk without steps over that with the number of steps of the least estimate, at the smallest penalty."""
    true, steps = found.true[:, 0] - LARGE**2, found.estimated[:, 0].argmin(axis=1)
    return np.asarray(true[:, 0] / true[np.arange(len(true)), steps])
