"""The verdict on a distilled model: its errors beside those of the plain model (`fastdistill.selection.paired`).

What the strategy "safe" distils is judged in five folds, in each of which penalty, evidence and student are chosen anew
from the other samples (without the last two checks, leave-one-out and folds), on samples that none of it has seen. What
the other strategies distil is judged by leave-one-out with penalty and weights held fixed; as they were tuned on the
same samples, that flatters.

Cost: none for "safe", whose folds are part of the choice; O(n r k) otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastdistill.selection.evidence import REQUIRED_EVIDENCE, Evidence
from fastdistill.selection.paired import relative_gain, squared_errors
from fastdistill.selection.tuning import Tuned
from fastdistill.spectral.path import of_same_targets


@dataclass(frozen=True)
class Verdict:
    """Whether distillation was worth it: a paired comparison with the plain model on samples held out.

    Attributes
    ----------
    gain : float
        Share of the plain model's squared error that the student removes, negative where it adds to it. The tuned ridge
        models: 0 where plain ridge was chosen; with the strategy "safe" of samples held out in five folds, in which
        penalty and student are chosen anew; with the others of leave-one-out, the tuned weights held fixed, which
        flatters.
        `SelfDistiller` (held-out folds): of the last student accepted or, where none is, of the one tried.
    standard_error : float
        Of the gain, over the samples.
    n_steps : int
        Distillation steps of the chosen student; 0 is the plain model.
    sentence : str
        The same for reading, also ``str(verdict)``.
    evidence : float or None
        Likelihood ratio of a concentrated signal against the best ridge; above 20 the strategy "safe" distils. None
        for other strategies and for `SelfDistiller`.
    """

    gain: float
    standard_error: float
    n_steps: int
    sentence: str
    evidence: float | None = None

    def __str__(self) -> str:
        return self.sentence


def verdict(tuned: Tuned, penalties: np.ndarray, y: np.ndarray) -> Verdict:
    """The verdict on a choice among `penalties` (L,), made for the targets y (n,) or (n, m)."""
    gain, error = 0.0, 0.0
    if tuned.n_steps and tuned.evidence is not None and tuned.evidence.held_out_gain is not None:
        gain, error = tuned.evidence.held_out_gain
    elif tuned.n_steps:
        ridge = of_same_targets(tuned.path, penalties[tuned.scores[:, 0].argmin()], ())
        plain, student = (squared_errors(path, y, fixed_filter=False) for path in (ridge, tuned.path))
        gain, error = relative_gain(plain, student, ridge.spectrum.frame.each_weight)
    ratio = None if tuned.evidence is None else tuned.evidence.ratio
    return Verdict(gain, error, tuned.n_steps, f"{_choice(tuned)}{_outcome(tuned, gain, error)}.", ratio)


def _choice(tuned: Tuned) -> str:
    evidence = tuned.evidence
    if evidence is None:
        return f"Distilled {_steps(tuned.n_steps)}" if tuned.n_steps else "Plain ridge, as asked"
    weighed = f"the evidence for a concentrated signal is {evidence.ratio:.3g}"
    if tuned.n_steps:
        return f"Distilled: {weighed}, above the {REQUIRED_EVIDENCE:g} required"
    return f"Plain ridge: {weighed}{_why_not(evidence)}"


def _why_not(evidence: Evidence) -> str:
    if evidence.ratio <= REQUIRED_EVIDENCE:
        return f", not above the {REQUIRED_EVIDENCE:g} required"
    if not evidence.speaks_for_filter:
        return ", but Stein's estimate of the risk speaks against the distilled filter"
    if evidence.loo_gain is None:
        return ", but no student of so few steps comes closer to the filter it supports"
    if not evidence.is_worth_folds:
        return f", but {_change(*evidence.loo_gain)} of its leave-one-out error, too little to tell from chance"
    if evidence.held_out_gain is None:
        return ", but the samples are too few, or too much alike, to check the gain in folds"
    gain = _change(*evidence.held_out_gain)
    return f", but in five folds, with penalty and student chosen anew, {gain} of its squared error"


def _change(gain: float, error: float) -> str:
    return f"distillation {'removes' if gain >= 0 else 'adds'} {abs(gain):.1%} ± {error:.1%}"


def _steps(n_steps: int) -> str:
    return "once" if n_steps == 1 else f"{n_steps} times"


def _outcome(tuned: Tuned, gain: float, error: float) -> str:
    if not tuned.n_steps:
        return ""
    change = f"{'removes' if gain >= 0 else 'adds'} {abs(gain):.1%} ± {error:.1%}"
    if tuned.evidence is not None:
        folds = "in five folds, with penalty and student chosen anew in each"
        return f"; {folds}, that {change} of the squared error of plain ridge"
    text = f"; with the weights held fixed that {change} of the leave-one-out error of the best plain ridge"
    if gain <= 2 * error:
        return f"{text}, too little to tell from chance: prefer plain ridge"
    return f"{text}, which flatters, as the weights were tuned on the same samples"
