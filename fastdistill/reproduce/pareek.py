"""[P] Excess risk of repeated self-distillation: where r steps beat one, where they do not, and the UCI table.

Fixed design, y = Xθ + η, Var η = γ²; a student with the filter F over the singular values s of X has the excess risk

    (1/n) Σ_j [ s_j² θ_j² (1 − F_j)² + γ² F_j² ],    F_j = Σ_i w_i (s_j² / (s_j² + λ))^{i+1},  Σ w = 1.

Protocol on data: rows in file order, the first 30 % train, the next 30 % validate, the last 40 % test; X and y are
standardised with the training mean and standard deviation; no intercept; λ in {10⁻⁵, …, 10⁵} and the weights are those
with the least validation error.

==================================  ================================================
paper [P]                           here
==================================  ================================================
γ, n, r                             ``GAMMA``, ``N_SAMPLES``, ``len(SINGULAR)``
ξ^(k)                               ``Tuned.xi``
ridge, 1-step, 2-step SD            ``n_steps`` 0, 1, 2
assumption on singular values       `PROBLEMS`, second entry violates it
assumption θ ∥ v_1                  `PROBLEMS`, third entry violates it
==================================  ================================================

Cost: a decomposition of n_train × d for each data set; the rest is drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastdistill as fd
from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, Progress, Report, Table, grid_data, plain_table, stacked_data
from fastdistill.reproduce.data import Regression, from_file, load
from fastdistill.reproduce.report import Row, comparison

N_SAMPLES, GAMMA = 100, 0.1
SINGULAR = np.array([1.0, 0.8, 0.6, 0.4])
FIRST, SPREAD = np.array([1.0, 0.0, 0.0, 0.0]), np.full(4, 0.5)
PROBLEMS = (
    ("assumptions met", SINGULAR, FIRST),
    ("singular values all equal", np.ones(4), FIRST),
    ("θ spread over all directions", SINGULAR, SPREAD),
)
FLOOR = GAMMA**2 / N_SAMPLES  # γ²/n, the unit of every excess risk below
STEP_NAMES = ("ridge", "1 step", "2 steps", "3 steps", "4 steps")
COLOURS = (figures.GREY, figures.BLUE, figures.GREEN, figures.ORANGE, figures.PINK)
MARKS = "vos^D"

SIMULATED_PENALTIES, DRAWS, SEED = (0.05, 0.5, 5.0), 4000, 20240705
GRID = 10.0 ** np.arange(-5, 6)
TRAIN, VALIDATE = 0.3, 0.6
PUBLISHED = {
    "air_quality": ("2.01", "1.99", "1.06"),
    "airfoil": ("1.34", "1.22", "1.19"),
    "appliances_energy": ("0.62", "0.62", "0.62"),
}
# inputs left out in the two readings of Appliances energy that come closest to the paper
READINGS = (("T6",), ("Visibility", "Tdewpoint"))


class Fit(NamedTuple):
    """One data set through the protocol: what was tuned with 0, 1 and 2 steps, and the test errors."""

    data: Regression
    tuned: tuple[Any, ...]
    test: tuple[float, ...]
    alignment: np.ndarray  # squared cosines of the ridge solution with the right singular vectors


def reproduce(folder: Path | None, progress: Progress) -> Report:
    """Tables and pictures of [P]; with a folder of UCI data its table, without one the protocol on bundled data."""
    progress("pareek: simulation against theory")
    simulation = _simulation()
    fits = []
    for data in load(folder):
        progress(f"pareek: {data.title}, {len(data.y)} rows")
        fits.append(fit(data))
    readings = []
    if folder is not None:
        for without in READINGS:
            progress(f"pareek: Appliances energy without {' and '.join(without)}")
            readings.append(fit(from_file("appliances_energy", folder, without=without)))
    progress("pareek: excess risks")
    where = "the three UCI data sets of the paper" if folder else "data that scikit-learn bundles"
    return Report(
        name="pareek",
        title="Understanding the gains from repeated self-distillation",
        reference="Pareek, Du, Oh 2024, arXiv:2407.04600",
        summary=(
            "In fixed-design linear regression r = rank X steps of self-distillation reach the best filter "
            "there is, for every λ, where the singular values are distinct; if θ lies along the first "
            "singular vector, ridge and one step pay more than that by a factor that can grow with r. Where "
            f"either condition fails the gain disappears. The protocol of the paper's table is run on {where}."
        ),
        assumptions=(
            "Theory: X is fixed, y = Xθ + η with uncorrelated noise of equal variance γ²; θ and γ are known "
            "when the weights are chosen. Neither is known in practice.",
            f"Synthetic problems: n = {N_SAMPLES}, r = 4, γ = {GAMMA}, ‖θ‖ = 1; singular values 1, 0.8, 0.6, "
            "0.4 unless said otherwise.",
            "Data: first 30 % of the rows train, next 30 % validate, last 40 % test, in file order; "
            "standardised with the training mean and standard deviation; no intercept; λ in {10⁻⁵, …, 10⁵}; λ "
            "and weights chosen on validation.",
        ),
        tables=(
            _data_table(fits, bundled=folder is None),
            *([_readings_table(readings)] if readings else []),
            _theorems(),
            simulation,
        ),
        pictures=(_risk_curves(), _gain(), _blow_up(), _validation_curves(fits), _alignment(fits)),
    )


def fit(data: Regression) -> Fit:
    """Run the paper's protocol on one data set."""
    n = len(data.y)
    train, held_out, test = np.split(np.arange(n), [int(TRAIN * n), int(VALIDATE * n)])
    scale = data.X[train].std(axis=0)
    scale[scale == 0] = 1.0  # a constant column stays at 0 and gets no weight
    X = (data.X - data.X[train].mean(axis=0)) / scale
    y = (data.y - data.y[train].mean()) / data.y[train].std()
    spectrum = fd.Spectrum.from_design(X[train])
    criterion = fd.Holdout(X[held_out], y[held_out])
    tuned = tuple(fd.tune(spectrum, y[train], GRID, n_steps=k, criterion=criterion, strategy="joint") for k in range(3))
    errors = tuple(float(t.path.mse(X[test], y[test])[-1]) for t in tuned)
    ridge = tuned[0].path.coef[0]
    along = np.linalg.svd(X[train], full_matrices=False)[2] @ ridge
    return Fit(data, tuned, errors, along**2 / (ridge @ ridge))


def _data_table(fits: list[Fit], bundled: bool) -> Table:
    rows = []
    for found in fits:
        printed = PUBLISHED.get(found.data.key, (None, None, None))
        for k, (paper, tuned, error) in enumerate(zip(printed, found.tuned, found.test, strict=True)):
            shape = f"{len(found.data.y)} × {found.data.X.shape[1]}"
            chosen = (shape, f"{tuned.lam:g}", _weights(tuned.xi), f"{tuned.score:.4f}")
            rows.append(Row(f"{found.data.title}, {STEP_NAMES[k]}", paper, error, _note(found, k), chosen))
    more = ("n × d", "λ", "ξ", "validation error")
    if bundled:
        notes = (
            "Without --data DIR: these are data sets that scikit-learn bundles, not the paper's, so there is "
            "no published number to compare with. Diabetes has its own target; of the other two the last "
            "column is predicted from all the others.",
            "The rows of Wine are sorted by class: training on the first 30 % and testing on the last 40 % is "
            "an extreme shift.",
        )
        return comparison("bundled", "Test error on bundled data (not the paper's data)", rows, more, notes)
    return comparison("uci", "Test error on UCI data", rows, more)


def _readings_table(readings: list[Fit]) -> Table:
    """Appliances energy with other columns: the two choices whose test errors come closest to the printed ones."""
    rows = [
        Row(
            f"without {' and '.join(without)}, {STEP_NAMES[k]}",
            paper,
            found.test[k],
            more=(f"{found.tuned[k].score:.4f}",),
        )
        for without, found in zip(READINGS, readings, strict=True)
        for k, paper in enumerate(PUBLISHED["appliances_energy"])
    ]
    notes = (
        "The columns behind the printed 0.62 are stated nowhere. These two readings of the data come closest: ridge "
        "and one step reach the printed value, the second step does not, in either. Which columns, or which other "
        "preprocessing, the paper used remains unknown.",
    )
    return comparison(
        "appliances", "Appliances energy, with further columns left out", rows, ("validation error",), notes
    )


def _weights(xi: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in xi) + ")" if len(xi) else "–"


def _note(found: Fit, k: int) -> str:
    """Why ours differs from the published number, where it does."""
    if found.data.key == "air_quality" and k == 1:
        return "ours would be printed as 2.00; cut after two digits, not rounded, it is the paper's 1.99."
    if found.data.key == "appliances_energy":
        return (
            "the paper does not say which columns it uses, nor does anything published with it. Here the target is "
            "log(Appliances), and `lights` and the random columns are left out, which brings the validation errors to "
            "the printed 0.62; the test errors stay above it. As in the paper, repeated distillation gains nothing "
            "here: the second step even costs test error."
        )
    return ""


def _theorems() -> Table:
    """What the theorem promises on each problem, in units of γ²/n."""
    rows: list[tuple[Any, ...]] = []
    for title, s, theta in PROBLEMS:
        problem = (s**2, theta, GAMMA, N_SAMPLES)
        oracle = fd.theory.oracle_risk(*problem) / FLOOR
        best = [fd.theory.best_student(*problem, n_steps=k).excess_risk / FLOOR for k in range(5)]
        rows.append((title, *best, oracle))
    columns = ("problem", *STEP_NAMES, "best of all filters")
    notes = (
        "Each at its best λ > 0 and best weights, for known θ and γ. The theorem: with distinct singular "
        "values r = 4 steps reach the best of all filters (at most 1 where θ ∥ v₁).",
    )
    return plain_table("theorems", "Least excess risk, in units of γ²/n", columns, rows, notes)


def _simulation() -> Table:
    """Excess risk of the recursion itself, fitted to noisy draws, beside the formula."""
    rng = np.random.default_rng(SEED)
    left = np.linalg.qr(rng.standard_normal((N_SAMPLES, 4)))[0]
    right = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    X = (left * SINGULAR) @ right.T
    theta = right @ FIRST
    draws = (X @ theta)[:, None] + GAMMA * rng.standard_normal((N_SAMPLES, DRAWS))
    spectrum = fd.Spectrum.from_design(X)
    rows = []
    for lam in SIMULATED_PENALTIES:
        for k, name in enumerate(STEP_NAMES):
            best = fd.theory.best_mixture(SINGULAR**2, FIRST, GAMMA, N_SAMPLES, lam, k)
            coef = spectrum.path(draws, lam, fd.xi_from_mixture(best.weights)).coef[-1]
            risks = np.square(X @ (coef - theta[:, None])).mean(axis=0) / FLOOR
            mean, error = float(risks.mean()), float(risks.std(ddof=1) / np.sqrt(DRAWS))
            expected = float(best.excess_risk / FLOOR)
            rows.append((f"λ = {lam:g}, {name}", expected, mean, mean - expected, (mean - expected) / error))
    return plain_table(
        "simulation",
        f"Theory against simulation ({DRAWS} draws of the noise), in units of γ²/n",
        ("student", "theory", "simulated", "difference", "in standard errors"),
        rows,
        ("The students are computed by the recursion from the best weights; all rows share the same draws.",),
    )


def _risk_curves() -> Picture:
    lams = np.logspace(-4, 3, 71)
    figure, axes = figures.panels(1, 3, 11.0, 4.3, sharey=True)
    risks = np.empty((len(PROBLEMS), len(STEP_NAMES), len(lams)))
    for ax, curves, (title, s, theta) in zip(axes, risks, PROBLEMS, strict=True):
        for k in range(len(STEP_NAMES)):
            curves[k] = fd.theory.best_mixture(s**2, theta, GAMMA, N_SAMPLES, lams, k).excess_risk / FLOOR
        _draw(ax, lams, curves.T, STEP_NAMES, "excess risk / (γ²/n)", markevery=7)
        ax.set_yscale("log")
        oracle = fd.theory.oracle_risk(s**2, theta, GAMMA, N_SAMPLES) / FLOOR
        ax.axhline(oracle, color="black", linestyle=":", linewidth=1.3, label="best of all filters")
        ax.set_title(title, fontsize=10.5)
    for ax in axes[1:]:
        ax.set_ylabel("")
    figures.legend_below(figure, axes[0], 6)
    return Picture(
        "excess-risk",
        "Excess risk against λ, best weights for known θ and γ",
        "rank 4: with both assumptions met each step lowers the curve, and four steps are flat at the bottom; "
        "with equal singular values, or with θ spread, steps barely help.",
        "the same. With equal singular values one step reaches the best ridge for every λ, and no number of "
        "steps gets below it, far above the best filter; with θ spread the best filter itself is hardly "
        "better than the best ridge.",
        figure,
        grid_data(
            {"problem": [title for title, _, _ in PROBLEMS], "student": list(STEP_NAMES), "lam": lams},
            {"excess_risk_in_gamma2_over_n": risks},
        ),
    )


def _draw(ax: Any, lams: Any, errors: np.ndarray, names: Sequence[str], quantity: str, markevery: int = 1) -> None:
    """Errors (L, k+1) against the penalty, in the colours and marks of the steps."""
    styles = [
        {"color": COLOURS[k], "marker": MARKS[k], "markevery": markevery, "markersize": 4.5} for k in range(len(names))
    ]
    display = fd.plot.PathDisplay(lams, errors, names=names, quantity=quantity)
    display.plot(ax, dots=False, styles=styles, legend=False)


def _gain() -> Picture:
    ranks = np.array([2, 4, 8, 12, 16, 24, 32, 48, 64])
    gains = np.empty((2, len(ranks)))
    for i, r in enumerate(ranks):
        problem = fd.theory.separation_family(int(r))
        many = fd.theory.best_mixture(*problem, lam=float(np.median(problem.d)), n_steps=int(r)).excess_risk
        gains[:, i] = [fd.theory.best_student(*problem, n_steps=k).excess_risk / many for k in (0, 1)]
    figure, (ax,) = figures.panels(1, 1, 8.0, 4.2)
    for k, name in enumerate(("best ridge", "best one-step student")):
        ax.plot(ranks, gains[k], marker=MARKS[k], color=COLOURS[k], label=f"{name} / r steps")
    ax.set_xticks(ranks[[0, 2, 4, 5, 6, 7, 8]])
    ax.set_ylim(0, None)
    figures.label(ax, "How many times smaller the excess risk of r steps is", "rank r", "ratio of excess risks")
    figures.legend_below(figure, ax, 2)
    return Picture(
        "gain",
        "Gain growing with the rank",
        "on a family of problems the best ridge and the best one-step student fall behind r steps by a factor "
        "that grows linearly with r.",
        f"two straight lines: at r = 64 r steps are {gains[0, -1]:.0f} times better than ridge and "
        f"{gains[1, -1]:.0f} times better than one step (singular values equally spaced from 1 to 1/2 times "
        "√n, θ ∥ v₁, a signal that grows with r).",
        figure,
        grid_data({"against": ["ridge", "1 step"], "rank": ranks}, {"ratio": gains}),
    )


def _blow_up() -> Picture:
    gaps = np.logspace(-5, -0.5, 46)
    size, risk = np.empty((4, len(gaps))), np.empty((4, len(gaps)))
    for i, gap in enumerate(gaps):
        for k in range(1, 5):
            d = np.array([1.0, 1.0 - gap, 0.5, 0.25]) ** 2
            best = fd.theory.best_mixture(d, FIRST, GAMMA, N_SAMPLES, 1.0, k)
            size[k - 1, i], risk[k - 1, i] = np.abs(best.weights).max(), best.excess_risk / FLOOR
    figure, (left, right) = figures.panels(1, 2, 10.0, 4.2)
    for k in range(1, 5):
        style: dict[str, Any] = {"color": COLOURS[k], "marker": MARKS[k], "markevery": 5, "markersize": 4.5}
        left.loglog(gaps, size[k - 1], label=STEP_NAMES[k], **style)
        right.semilogx(gaps, risk[k - 1], label=STEP_NAMES[k], **style)
    right.set_ylim(0, None)
    figures.label(left, "Largest weight of the best mixture", "gap s₁ − s₂", "max |wᵢ|")
    figures.label(right, "Its excess risk", "gap s₁ − s₂", "excess risk / (γ²/n)")
    figures.legend_below(figure, left, 4)
    return Picture(
        "blow-up",
        "Best weights as two singular values approach each other",
        "the magnitude of the best parameters grows as the gap closes, which makes them useless in practice.",
        "only four steps can still separate the two directions, with weights that grow like 1/gap: 10⁶ at a "
        "gap of 10⁻⁴. Fewer steps keep small weights and give up the gain. Singular values 1, 1 − gap, 0.5, "
        "0.25; λ = 1.",
        figure,
        grid_data({"steps": range(1, 5), "gap": gaps}, {"largest_weight": size, "excess_risk_in_gamma2_over_n": risk}),
    )


def _validation_curves(fits: list[Fit]) -> Picture:
    figure, axes = figures.panels(1, len(fits), 11.0, 4.2)
    scores = np.array([found.tuned[2].scores.T for found in fits])
    for ax, found, curves in zip(axes, fits, scores, strict=True):
        _draw(ax, GRID, curves.T, STEP_NAMES[:3], "validation error (MSE)")
        ax.set_xticks(GRID[::2])
        ax.set_ylim(0.97 * curves.min(), min(curves.max(), 3 * curves.min()) * 1.05)
        ax.set_title(found.data.title, fontsize=10.5)
    for ax in axes[1:]:
        ax.set_ylabel("")
    figures.legend_below(figure, axes[0], 3)
    return Picture(
        "validation",
        "Validation error against λ, best weights at each λ",
        "more steps lower the validation error at every λ and make it depend less on λ.",
        "so it is by construction: every mixture of k steps is one of k + 1 steps, and the weights are fitted "
        "to the validation rows themselves; whether the gain survives on the test rows is for the table to "
        "say. For small λ the best weights grow like 1/λ^k: where double precision cannot carry them, a curve "
        "jumps to that of fewer steps.",
        figure,
        grid_data(
            {"data": [found.data.title for found in fits], "student": list(STEP_NAMES[:3]), "lam": GRID},
            {"validation_error": scores},
        ),
    )


def _alignment(fits: list[Fit]) -> Picture:
    figure, axes = figures.panels(1, len(fits), 11.0, 3.8, sharey=True)
    data = []
    for ax, found in zip(axes, fits, strict=True):
        j = np.arange(1, len(found.alignment) + 1)
        ax.bar(j, found.alignment, color=figures.BLUE)
        figures.whole_numbers(ax)
        figures.label(ax, found.data.title, "j, largest singular value first")
        title = np.full(len(j), found.data.title)
        data.append({"data": title, "j": j, "squared_cosine": found.alignment})
    axes[0].set_ylabel("squared cosine of ridge and vⱼ")
    largest = ", ".join(f"{found.data.title} {found.alignment.max():.2f}" for found in fits)
    return Picture(
        "alignment",
        "Where the signal lies",
        "the squared cosines of the ridge solution with the singular vectors: concentrated for Air Quality "
        "and Airfoil, spread out for Appliances energy, which the paper gives as the reason that nothing is "
        "gained there.",
        f"the share of each direction in the ridge solution at the chosen λ. The largest: {largest}. One tall "
        "bar is only half of the paper's condition; the gain also needs little noise and a shape that ridge "
        "cannot make.",
        figure,
        stacked_data(data),
    )
