"""Later results: each claim of nine papers beside what simulations and formulas of `fastdistill.theory` give.

Claims about students of other teachers are in `later_students`, claims about labels in `later_labels`. A row says
whether the claim holds, by the rules of `later_claims`: for a ratio r of two risks over seeds::

    better: mean(r) − 2 sd(r) / √seeds > 1        agrees: |mean(r) − 1| ≤ 3 sd(r) / √seeds + 2 %

=====================================  =====================================
paper                                  here
=====================================  =====================================
student soft matching, RaT             ``method="matching"``, ``"residual"``
fresh covariates of an iterate         rows of ``X_unlabelled``
proportion of real data                ``real_fraction``
=====================================  =====================================

Cost: about ten seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, Progress, Report, grid_data, plain_table
from fastdistill.reproduce import later_labels as labels
from fastdistill.reproduce import later_students as students
from fastdistill.reproduce.later_claims import Claim


def reproduce(folder: Path | None, progress: Progress) -> Report:
    """All claims; no data set is needed."""
    claims: list[Claim] = []
    progress("later: one step on random inputs, residual-as-teacher")
    biased = students.biased_teachers()
    claims += [*students.one_step_claims(), *students.residual_teacher_claims(*biased)]
    progress("later: weak teachers, surrogates, self-training")
    trained = students.self_training()
    claims += [*students.weak_teacher_claims(), *students.surrogate_claims(), *students.self_training_claims(trained)]
    progress("later: generations, label noise")
    generations, stages = labels.generations(), labels.stages()
    claims += [*labels.generation_claims(generations), *labels.real_fraction_claims(generations)]
    claims += [*labels.imitation_claims(), *labels.mixture_claims(stages)]
    return Report(
        name="later",
        title="Later results on distillation: claim by claim",
        reference=(
            "Nine papers, named in each row: Das, Sanghavi 2023, arXiv:2301.13304; Dohmatob, Feng, Kempe 2024, "
            "arXiv:2402.07712; Ildiz et al. 2024, arXiv:2410.18837; Takanami, Takahashi, Sakata 2025, "
            "arXiv:2501.16226; Moniri, Hassani 2025, arXiv:2505.18346; Garg, Bhattacharya, Sur 2025, "
            "arXiv:2509.22341; Wu, Yang, Sun 2026, arXiv:2602.14029; Dang, Patil, Rinaldo 2026, arXiv:2602.17565; "
            "Yamamoto, Wainwright 2026, arXiv:2603.25466"
        ),
        summary=(
            "What papers claim about students of biased, weak and surrogate teachers, about self-training, about "
            "generations of models on synthetic labels and about label noise, beside what we find. Rows marked (not "
            "claimed) ask what a user would ask next."
        ),
        assumptions=(
            "The texts of these papers could not be had, only their abstracts and the beginnings of some: claims are "
            "as stated there, formulas are our own derivations, and every formula is compared with a simulation here "
            "or in the tests.",
            "A number with ± is a mean and a standard deviation over seeds. A ratio is better than one if its mean "
            "exceeds one by two standard errors; it agrees with a formula within three standard errors and 2 %.",
            "Best penalties are those of the least true risk, which a user does not know, unless a row says how they "
            "were chosen.",
            "That hard labels help more than soft ones is asked as: their gain is more than twice as large.",
            "Garg et al. may mean the same or fresh inputs in every generation; their claim is true of the same "
            "inputs. For fresh ones it is asked as the other reading.",
            "Takanami et al. reuse the inputs at every stage, which is simulated here; the formula has fresh inputs. "
            "Their loss is not known to us; with the squared loss here, soft labels at a large penalty are a power "
            "iteration towards the direction between the classes, and help as much as hard ones.",
        ),
        tables=(plain_table("claims", "Claims, and what we find", ("paper", "claim", "ours", "holds"), claims),),
        pictures=(_teachers(biased[1]), _self_training(trained), _generations(generations)),
    )


def _teachers(errors: np.ndarray) -> Picture:
    mean = errors.mean(axis=0)
    figure, (ax,) = figures.panels(1, 1, 6.4, 4.4)
    for row, name, colour, line in zip(
        mean, ("residual-as-teacher", "matching"), (figures.GREEN, figures.ORANGE), ("-", "--"), strict=True
    ):
        ax.loglog(students.STUDENT_PENALTIES, row, color=colour, linestyle=line, linewidth=2, label=name)
    figures.label(ax, "A teacher that smooths too much", "penalty of the student", "error on unlabelled inputs")
    figures.legend_below(figure, ax, 2)
    grid = {"method": ["residual", "matching"], "alpha": students.STUDENT_PENALTIES}
    return Picture(
        "teachers",
        "Residual-as-teacher and matching, biased teacher, covariate shift",
        "a separation: matching keeps the teacher's bias for any sample size, residual-as-teacher does not.",
        f"the least error of matching is {mean[1].min():.3f}, at any penalty; of residual-as-teacher "
        f"{mean[0].min():.4f}. Mean over {len(errors)} seeds.",
        figure,
        grid_data(grid, {"error": mean}),
    )


def _self_training(found: students.SelfTraining) -> Picture:
    true, estimated = found.true.mean(axis=0), found.estimated.mean(axis=0)
    figure, (ax,) = figures.panels(1, 1, 6.4, 4.4)
    steps = np.arange(true.shape[1])
    for i, (alpha, colour) in enumerate(zip(found.alphas, figures.shades(len(found.alphas)), strict=True)):
        ax.plot(steps, true[i], color=colour, linewidth=2, label=f"risk, alpha = {alpha:g}")
        ax.plot(steps, estimated[i], color=colour, linestyle="none", marker="o", markersize=4)
    figures.label(ax, "Iterated GCV (dots) and risk on new labels (lines)", "self-training steps", "mean squared error")
    figures.legend_below(figure, ax, 2)
    return Picture(
        "self-training",
        "Self-training on fresh unlabelled inputs",
        "a U-shaped risk, and an estimate that is consistent along the steps.",
        f"small penalties gain from steps, large ones lose; the least risk of all is {true.min():.2f}, without steps "
        f"{true[:, 0].min():.2f}. Mean over {students.SEEDS} seeds.",
        figure,
        grid_data({"alpha": found.alphas, "step": steps}, {"risk": true, "iterated_gcv": estimated}),
    )


def _generations(found: labels.Generations) -> Picture:
    figure, (ax,) = figures.panels(1, 1, 6.4, 4.4)
    times, mean = np.arange(labels.LAST + 1), found.simulated.mean(axis=0)
    for i, (share, colour) in enumerate(zip(labels.SHARES, figures.shades(len(labels.SHARES)), strict=True)):
        ax.plot(times, found.predicted[i], color=colour, linewidth=2, label=f"share {share:.3g} real")
        ax.plot(times, mean[i], color=colour, linestyle="none", marker="o", markersize=4)
    figures.label(ax, "Generations of least squares: formula (lines), simulation (dots)", "generation", "excess risk")
    figures.legend_below(figure, ax, 2)
    return Picture(
        "generations",
        "Models that learn from the labels of the generation before",
        "linear growth without real labels, and a best share of real labels in the long run.",
        f"after {labels.LAST} generations {found.predicted[0, -1]:.2f} without real labels, "
        f"{found.predicted[2, -1]:.3f} with the share 0.618, {found.predicted[3, -1]:.3f} with real labels only.",
        figure,
        grid_data({"share": labels.SHARES, "generation": times}, {"predicted": found.predicted, "simulated": mean}),
    )
