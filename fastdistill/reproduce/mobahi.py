"""[M] Rounds constrained by a residual tolerance: the sinusoid of the paper, its multipliers, its collapse.

Eleven noisy values of sin 2πx; R(f) = ∫₀¹ f″² with f(0) = f(1) = 0, whose Green's function is

    g(x, z) = max((x − z)³, 0)/6 − x (1 − z)(x² − 2z + z²)/6;

each round minimises R subject to a mean squared residual of ε = 0.045 against the fit of the round before.

==============================  ==========================================
paper [M]                       here
==============================  ==========================================
K, number of points             ``len(X)``
G = g / K                       spectrum ``S.d / len(X)``
c_t                             ``rounds.multipliers``
diag B_t                        ``rounds.filters``
S_B                             ``fd.theory.sparsity_index``
==============================  ==========================================

Cost: one 11 × 11 decomposition; the rest is drawing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fastdistill as fd
from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, Progress, Report, Table, grid_data, plain_table, stacked_data
from fastdistill.reproduce.report import Row, comparison

X = np.arange(11) / 10
# the authors' published values: sin(2πx) plus noise
Y = np.array(
    [
        0.38476636465198066,
        1.2333967683416893,
        1.33232242217057,
        0.6920159488889518,
        -0.29756145531871736,
        -0.24189291901377769,
        -0.7964485769175675,
        -0.9616480167034174,
        -0.49672509509916934,
        -0.3469066003991437,
        0.5589512650600734,
    ]
)
EPS = 0.045
MULTIPLIERS = ("2.70525292e-06", "8.76276117e-05", "2.73755413e-04", "7.90017653e-04")
ERRORS = ("0.14183", "0.0627", "0.1104", "0.27945")
FINE = np.linspace(0.0, 1.0, 201)
WELL_CONDITIONED = "Gaussian kernel exp(−80 (x − z)²)"


def truth(x: np.ndarray) -> np.ndarray:
    """What the noisy values are noisy values of."""
    return np.sin(2 * np.pi * x)


def green(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Green's function of R(f) = ∫ f″² with f(0) = f(1) = 0: (a,), (b,) -> (a, b)."""
    x, z = x[:, None], z[None, :]
    return np.maximum((x - z) ** 3, 0) / 6 - x * (1 - z) * (x**2 - 2 * z + z**2) / 6


def gaussian(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """exp(−80 (x − z)²), the kernel of [B]'s example: (a,), (b,) -> (a, b)."""
    return np.exp(-80 * (x[:, None] - z[None, :]) ** 2)


def reproduce(folder: Path | None, progress: Progress) -> Report:
    """Tables and pictures of [M]; needs no data folder."""
    progress("mobahi: the rounds of the sinusoid")
    spectrum = fd.Spectrum.from_kernel(green(X, X))
    rounds = spectrum.tolerance_path(Y, EPS)
    gauss = fd.Spectrum.from_kernel(gaussian(X, X))
    return Report(
        name="mobahi",
        title="Self-distillation amplifies regularisation in Hilbert space",
        reference="Mobahi, Farajtabar, Bartlett 2020, arXiv:2002.05715",
        summary=(
            "Each round fits the previous fit within a mean squared residual of ε = 0.045. The fits first get "
            "closer to the truth, then drift away from it, and after four rounds the zero function is within "
            "the tolerance: collapse."
        ),
        assumptions=(
            "11 points x = 0, 0.1, …, 1; y = sin 2πx plus noise, the authors' values.",
            "R(f) = ∫ f″² with f(0) = f(1) = 0. The Green's function vanishes at both ends, so the kernel "
            "matrix is singular (rank 9 of 11), and no fit reaches y at x = 0 and x = 1.",
            "No ground truth after the first round; the tolerance ε is the same in every round.",
        ),
        tables=(_published(rounds), _theorems(spectrum, gauss, rounds)),
        pictures=(
            _curves(rounds),
            _bars(spectrum, rounds),
            _sparsity(spectrum, gauss, rounds),
            _collapse(spectrum, gauss),
            _early_stopping(spectrum, rounds),
        ),
    )


def _published(rounds: Any) -> Table:
    errors = np.square(rounds.fitted - truth(X)).mean(axis=1)
    rows = [Row(f"multiplier c of round {t}", p, c) for t, (p, c) in enumerate(_pairs(MULTIPLIERS, rounds.multipliers))]
    rows.append(Row("rounds before collapse", "4", rounds.n_rounds if rounds.collapsed else np.nan))
    rows += [Row(f"mean squared error to sin 2πx, round {t}", p, e) for t, (p, e) in enumerate(_pairs(ERRORS, errors))]
    note = "The error is the mean over the 11 points; round 0 is the fit of y itself."
    return comparison("published", "The sinusoid, ε = 0.045", rows, notes=(note,))


def _pairs(printed: tuple[str, ...], ours: np.ndarray) -> list[tuple[str, float]]:
    return list(zip(printed, ours.tolist(), strict=True))


def _theorems(spectrum: Any, gauss: Any, rounds: Any) -> Table:
    """Each bound of the paper beside what happens."""
    n, eps = len(X), 0.001
    d = spectrum.d / n
    norms = np.linalg.norm(np.vstack([Y, rounds.fitted[:-1]]), axis=1)
    _, upper = fd.theory.multiplier_bounds(d, norms, EPS, n)
    well = gauss.tolerance_path(Y, eps)
    guaranteed = fd.theory.collapse_bound(gauss.d / n, float(np.linalg.norm(Y)), eps, n)
    index, bound = fd.theory.sparsity_index(rounds.filters), _bound_from_first_fit(spectrum, rounds)
    dagger, c_0 = fd.theory.equivalent_spectrum(d, rounds.multipliers)
    gap = float(np.abs(dagger / (dagger + c_0) - rounds.filters[-1]).max())
    rows: list[tuple[Any, ...]] = [
        (f"multiplier, round {t}", f"≤ {u:.4g}", float(c), _holds(c <= u))
        for t, (u, c) in enumerate(zip(upper, rounds.multipliers, strict=True))
    ]
    rows += [
        (f"sparsity index, round {t}", f"≥ {b:.4f}", float(s), _holds(s >= b - 1e-12))
        for t, (b, s) in enumerate(zip(bound, index, strict=True))
    ]
    rows.append(
        (
            f"rounds before collapse, {WELL_CONDITIONED}, ε = 0.001",
            f"≥ {guaranteed:.3f}",
            well.n_rounds,
            _holds(well.n_rounds >= guaranteed),
        )
    )
    rows.append(("one ridge with the equivalent kernel, largest |difference|", "0", gap, _holds(gap < 1e-12)))
    return plain_table(
        "theorems",
        "What the theorems promise",
        ("quantity", "promised", "ours", "holds"),
        rows,
        (
            "The sparsity bound needs targets within the range of G; y is not, the first fit is: the theorem "
            "is applied from the first fit on, times the ratios of that fit.",
            "The guaranteed number of rounds is (‖y‖/√(nε) − 1)/κ with κ the condition number. The paper's "
            "own kernel matrix is singular, κ = ∞, so the bound promises nothing there; the Gaussian kernel "
            f"on the same points has κ = {gauss.d[0] / gauss.d[-1]:.1f}.",
        ),
    )


def _holds(truth_value: Any) -> str:
    return "yes" if truth_value else "NO"


def _bound_from_first_fit(spectrum: Any, rounds: Any) -> np.ndarray:
    """Lower bound (T,) on the sparsity index of every round, for a target partly outside the range of G."""
    n, d = len(X), spectrum.d / len(X)
    first = fd.theory.filter_ratios(rounds.filters[0])
    norm, later = float(np.linalg.norm(rounds.fitted[0])), rounds.n_rounds - 1
    bounds = [fd.theory.sparsity_bound(d, norm, EPS, n, t, observed_rounds=later) for t in range(rounds.n_rounds)]
    return (first * np.array(bounds)).min(axis=1)


def _curves(rounds: Any) -> Picture:
    predictions = rounds.predict(green(FINE, X))
    figure, (ax,) = figures.panels(1, 1, 8.0, 4.6)
    ax.plot(FINE, truth(FINE), color="black", linestyle="--", linewidth=1.2, label="truth sin 2πx")
    ax.plot(X, Y, "o", color=figures.GREY, markersize=6, label="data y")
    for t, (curve, colour) in enumerate(zip(predictions, figures.shades(len(predictions)), strict=True)):
        ax.plot(FINE, curve, color=colour, linewidth=2, label=f"round {t}")
    figures.label(ax, "Fits of the rounds", "x", "f(x)")
    figures.legend_below(figure, ax, 6)
    return Picture(
        "curves",
        "The rounds' curves",
        "the curve of the first fit wiggles after the noise; further rounds are smoother and smaller.",
        "the same: the error to the truth falls from 0.142 to 0.063 in one round of distillation, and has "
        "risen to 0.279 three rounds later, when little but one damped wave is left.",
        figure,
        stacked_data(
            [
                {"curve": np.full(FINE.shape, "truth"), "x": FINE, "value": truth(FINE)},
                {"curve": np.full(X.shape, "data"), "x": X, "value": Y},
                *(
                    {"curve": np.full(FINE.shape, f"round {t}"), "x": FINE, "value": curve}
                    for t, curve in enumerate(predictions)
                ),
            ]
        ),
    )


def _bars(spectrum: Any, rounds: Any) -> Picture:
    full = np.zeros((rounds.n_rounds, len(X)))
    full[:, : spectrum.rank] = rounds.filters  # the two directions outside the range of G are 0
    index, eigenvalues = np.arange(1, len(X) + 1), np.zeros(len(X))
    eigenvalues[: spectrum.rank] = spectrum.d
    figure, axes = figures.panels(1, rounds.n_rounds, 10.0, 3.0, sharey=True)
    for t, (ax, colour) in enumerate(zip(axes, figures.shades(len(axes)), strict=True)):
        display = fd.plot.SpectrumDisplay(eigenvalues, filters=full[t : t + 1])
        display.plot(ax, kind="filters", bars=True, styles=[{"color": colour}], legend=False)
        ax.set_xticks(index[::2])
        figures.label(ax, f"round {t}", "k, largest eigenvalue first", "[B]ₖₖ" if t == 0 else "")
    return Picture(
        "bars",
        "Diagonal of B, the filter of each round",
        "one panel a round; the small bars vanish first.",
        "after round 0 nearly all of the nine directions are kept; by round 3 only the first has more than "
        "half of its weight. Two of the eleven are 0 throughout: G is singular.",
        figure,
        grid_data({"round": range(rounds.n_rounds), "k": index}, {"filter": full}),
    )


def _sparsity(spectrum: Any, gauss: Any, rounds: Any) -> Picture:
    n, eps = len(X), 0.001
    well = gauss.tolerance_path(Y, eps)
    steps = np.arange(1, well.n_rounds + 1)
    norm = float(np.linalg.norm(Y))
    bounds = [
        fd.theory.sparsity_bound(gauss.d / n, norm, eps, n, int(t), observed_rounds=well.n_rounds).min() for t in steps
    ]
    parts = [
        ("paper's kernel, ε = 0.045", rounds.filters, _bound_from_first_fit(spectrum, rounds)),
        (f"{WELL_CONDITIONED}, ε = 0.001", well.filters, np.array(bounds)),
    ]
    figure, axes = figures.panels(1, 2, 9.5, 3.9)
    data = []
    for ax, (title, filters, bound) in zip(axes, parts, strict=True):
        index, t = fd.theory.sparsity_index(filters), np.arange(len(filters))
        ax.semilogy(t, index - 1, "o-", color=figures.BLUE, markersize=5, label="observed")
        ax.semilogy(t, bound - 1, "s--", color=figures.ORANGE, markersize=4, label="the theorem's lower bound")
        figures.whole_numbers(ax)
        figures.label(ax, title, "round", "sparsity index − 1")
        data.append({"problem": np.full(t.shape, title), "round": t, "index": index, "bound": bound})
    axes[1].set_ylabel("")
    figures.legend_below(figure, axes[0], 2)
    return Picture(
        "sparsity",
        "Sparsity index of the rounds",
        "the theorem: the sparsity index, the smallest ratio B[k]/B[k+1] of neighbouring diagonal entries, "
        "grows with every round.",
        "they do, and faster than the bound, which is loose where the condition number is large. In round 0 "
        "of the left panel bound and index are the same by construction.",
        figure,
        stacked_data(data),
    )


def _collapse(spectrum: Any, gauss: Any) -> Picture:
    n = len(X)
    figure, (left, right) = figures.panels(1, 2, 9.5, 4.2)
    data = []
    for eps, colour in zip((0.042, 0.045, 0.1, 0.3), figures.shades(4), strict=True):
        rounds = spectrum.tolerance_path(Y, eps)
        squares = np.append(np.square(Y).mean(), np.square(rounds.fitted).mean(axis=1))
        t = np.arange(-1, rounds.n_rounds)
        left.semilogy(t, squares, "o-", color=colour, markersize=4, label=f"ε = {eps}")
        left.axhline(eps, color=colour, linestyle=":", linewidth=1.2)
        data.append(_long("mean square of the round", f"paper's kernel, eps {eps}", t, squares))
    left.set_xticks(range(-1, 5), ["y", *map(str, range(5))])
    figures.label(left, "Mean square of targets and fits; dotted: ε", "round", "mean square")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False, fontsize=9)

    largest = float(np.square(Y).mean())
    for name, source, smallest, colour in (
        ("paper's kernel (κ = ∞: no guarantee)", spectrum, 0.0419, figures.BLUE),
        ("Gaussian kernel", gauss, 1e-5, figures.ORANGE),
    ):
        grid = np.geomspace(smallest, 0.98 * largest, 40)
        counts = np.array([source.tolerance_path(Y, eps).n_rounds for eps in grid])
        right.loglog(grid, counts, ".-", color=colour, label=f"observed, {name}")
        data.append(_long("rounds before collapse", name, grid, counts))
    bound = np.array([fd.theory.collapse_bound(gauss.d / n, float(np.linalg.norm(Y)), eps, n) for eps in grid])
    right.loglog(grid, bound, "--", color=figures.GREY, label="guaranteed, Gaussian kernel")
    right.set_ylim(0.05, 1000)
    data.append(_long("guaranteed rounds", "Gaussian kernel", grid, bound))
    figures.label(right, "Rounds before collapse", "tolerance ε", "rounds")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1, frameon=False, fontsize=9)
    return Picture(
        "collapse",
        "Collapse, and the guaranteed number of rounds",
        "the norm of the fit falls in every round, and a bound says how many rounds are possible before it is zero.",
        "as soon as the mean square of a fit is within ε (dotted) the next fit is zero. The number of rounds "
        "grows like 1/√ε, the guaranteed number with it, about a factor κ below.",
        figure,
        stacked_data(data),
    )


def _long(quantity: str, series: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    return {
        "quantity": np.full(len(x), quantity),
        "series": np.full(len(x), series),
        "x": np.asarray(x, dtype=float),
        "y": np.asarray(y, dtype=float),
    }


def _early_stopping(spectrum: Any, rounds: Any) -> Picture:
    d = spectrum.d / len(X)
    iterations = (10, 100, 1000, 10_000)
    descent = fd.theory.early_stopping_filter(d, 1.0 / d[0], iterations)
    k = np.arange(1, len(d) + 1)
    figure, (left, right) = figures.panels(1, 2, 9.5, 3.9, sharey=True)
    styles = [
        {"marker": mark, "color": colour, "markersize": 5}
        for mark, colour in zip("os^D", figures.shades(4), strict=True)
    ]
    kinds = (
        (left, "Distillation: lowered with every round", rounds.filters, [f"round {t}" for t in range(4)]),
        (right, "Gradient descent: raised with every iteration", descent, [f"{i} iterations" for i in iterations]),
    )
    for ax, title, filters, names in kinds:
        display = fd.plot.SpectrumDisplay(d, filters=filters, names=names)
        display.plot(ax, kind="filters", log=True, styles=styles, legend=False)
        figures.label(ax, title, "k, largest eigenvalue first", "filter value" if ax is left else "")
    for ax in (left, right):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, frameon=False, fontsize=9)
    return Picture(
        "early-stopping",
        "Distillation is not early stopping",
        "the remark that stopping gradient descent early regularises too, but by another filter.",
        "distillation lowers the filter with every round, small eigenvalues first; gradient descent, 1 − (1 − "
        "ωd)^t with ω = 1/d₁, raises it with every iteration, small eigenvalues last.",
        figure,
        stacked_data(
            [
                grid_data({"method": ["distillation"], "t": range(4), "k": k}, {"filter": rounds.filters}),
                grid_data({"method": ["gradient descent"], "t": iterations, "k": k}, {"filter": descent}),
            ]
        ),
    )
