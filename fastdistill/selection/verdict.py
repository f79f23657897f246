"""The verdict on a distilled model: its squared errors e'² beside those e² of the plain model::

    gain = Σ w (e² − e'²) / Σ w e²        with its standard error, see `fastdistill.selection.paired`

A student of the strategy "safe" is judged in five folds, in each of which penalty, evidence and student are chosen anew
from the other samples (by conditions 1 and 2 of `fastdistill.selection.evidence`), on samples that were not used for
it. A student of the other strategies is judged by leave-one-out with penalty and weights held fixed. As these were
tuned on the same samples, that gain is too large.

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
        Share of the plain model's squared error that the student removes, negative where it adds to it.
        Tuned ridge models: 0 where plain ridge was chosen. With the strategy "safe", the error of samples held out in
        five folds, in which penalty and student are chosen anew. With the others, the leave-one-out error with the
        tuned weights held fixed, which makes the gain too large.
        `SelfDistiller`, held-out folds: the gain of the last student accepted or, where none is, of the one tried.
        `NoisyLabelClassifier`, held-out folds: the gain of the second fit, accepted or not, by the labels as given; 0
        where it finds no flipped labels.
    standard_error : float
        Of the gain, over the samples.
    n_steps : int
        Distillation steps of the chosen student; 0 is the plain model. Of `NoisyLabelClassifier` 1 if the second fit
        is taken.
    sentence : str
        The same for reading, also ``str(verdict)``.
    evidence : float or None
        Likelihood ratio of a concentrated signal against the best ridge; above 20 the strategy "safe" distils. None
        for other strategies and for `SelfDistiller` and `NoisyLabelClassifier`.
    penalty_gain, penalty_standard_error : float
        What is owed to the penalty alone, not to distillation: where ridge is averaged over several penalties, the
        share of the leave-one-out error of the best single one that this removes, and its standard error. 0 elsewhere.
        The single penalty was chosen for that error, so that new samples see more of a gain.
    """

    gain: float
    standard_error: float
    n_steps: int
    sentence: str
    evidence: float | None = None
    penalty_gain: float = 0.0
    penalty_standard_error: float = 0.0

    def __str__(self) -> str:
        return self.sentence


def verdict(tuned: Tuned, penalties: np.ndarray, y: np.ndarray) -> Verdict:
    """The verdict on the choice `tuned` among `penalties` (L,), made for the targets y (n,) or (n, m)."""
    if not tuned.n_steps:
        return verdict_on_ridge(tuned.evidence, penalties, tuned.shares, tuned.penalty_gain)
    if tuned.evidence is not None and tuned.evidence.held_out_gain is not None:
        gain, error = tuned.evidence.held_out_gain
    else:
        ridge = of_same_targets(tuned.path, penalties[tuned.scores[:, 0].argmin()], ())
        plain, student = (squared_errors(path, y, fixed_filter=False) for path in (ridge, tuned.path))
        gain, error = relative_gain(plain, student, ridge.spectrum.frame.each_weight)
    ratio = None if tuned.evidence is None else tuned.evidence.ratio
    return Verdict(gain, error, tuned.n_steps, f"{_choice(tuned)}{_outcome(tuned, gain, error)}.", ratio)


def verdict_on_ridge(
    evidence: Evidence | None,
    penalties: np.ndarray,
    shares: np.ndarray | None = None,
    penalty_gain: tuple[float, float] | None = None,
) -> Verdict:
    """The verdict where ridge was chosen on this evidence, of one penalty or of a mean with these shares (L,)."""
    if evidence is None:
        return Verdict(0.0, 0.0, 0, "Plain ridge, as asked.")
    weighed = f"{_weighed(evidence)}{_why_not(evidence)}"
    if shares is None or penalty_gain is None:
        return Verdict(0.0, 0.0, 0, f"Plain ridge: {weighed}.", evidence.ratio)
    used = penalties[shares > 0]
    sentence = (
        f"No distillation: {weighed}. Ridge, averaged over penalties from {used.min():.3g} to {used.max():.3g}, among "
        f"which the samples do not decide: {_change(*penalty_gain)} of the leave-one-out error of the best single one."
    )
    return Verdict(0.0, 0.0, 0, sentence, evidence.ratio, *penalty_gain)


def _choice(tuned: Tuned) -> str:
    """How a student was distilled, and the evidence for it."""
    if tuned.evidence is None:
        return f"Distilled {_steps(tuned.n_steps)}"
    return f"Distilled: {_weighed(tuned.evidence)}, above the {REQUIRED_EVIDENCE:g} required"


def _weighed(evidence: Evidence) -> str:
    return f"the evidence for a concentrated signal is {evidence.ratio:.3g}"


def _why_not(evidence: Evidence) -> str:
    """The first of the conditions that fails."""
    if evidence.ratio <= REQUIRED_EVIDENCE:
        return f", not above the {REQUIRED_EVIDENCE:g} required"
    above = f", above the {REQUIRED_EVIDENCE:g} required"
    if not evidence.supports_filter:
        return f"{above}, but another test, Stein's estimate of the risk, speaks against the distilled filter"
    if evidence.loo_gain is None:
        return f"{above}, but no student of so few steps comes closer to the filter it supports"
    if not evidence.passes_leave_one_out:
        change = _change(*evidence.loo_gain)
        return f"{above}, but distillation {change} of its leave-one-out error, too little to tell from chance"
    if evidence.held_out_gain is None:
        return f"{above}, but the samples are too few, or too much alike, to check the gain in folds"
    change = _change(*evidence.held_out_gain)
    return (
        f"{above}, but in five folds, with penalty and student chosen anew, distillation {change} of its squared error"
    )


def _change(gain: float, error: float) -> str:
    return f"{'removes' if gain >= 0 else 'adds'} {abs(gain):.1%} ± {error:.1%}"


def _steps(n_steps: int) -> str:
    return "once" if n_steps == 1 else f"{n_steps} times"


def _outcome(tuned: Tuned, gain: float, error: float) -> str:
    """The gain of a distilled student in words."""
    change = _change(gain, error)
    if tuned.evidence is not None:
        folds = "in five folds, with penalty and student chosen anew in each"
        return f"; {folds}, that {change} of the squared error of plain ridge"
    text = f"; with the weights held fixed that {change} of the leave-one-out error of the best plain ridge"
    if gain <= 2 * error:
        return f"{text}, too little to tell from chance: prefer plain ridge"
    return f"{text}, which flatters, as the weights were tuned on the same samples"
