"""Would self-distillation help on this table? Ridge beside 1..k tuned steps, and where the signal sits.

With columns standardised, S = U diag(s) Vᵀ, d = s², z = Uᵀ(y − ȳ) and n samples::

    step t       min over λ, w of Σ_i (y_i − loo_i)² / n    loo: exact leave-one-out of the mixture w of t steps
    gain         Σ (e_0² − e_t²) / Σ e_0²                   paired with the best ridge, sample by sample
    share        z_j² / ‖y − ȳ‖²                            of the variance of y along direction j
    noise        γ̂² = outside / (n − r − 1), or likeliest   what direction j holds by chance, on average
    wanted       F_j = (1 − γ̂² / z_j²)₊                     the filter that direction j asks for

Ridge offers filters d / (d + λ), which fall with d; distillation pays where those wanted do not. Errors of tuned
weights are optimistic, the more so the more steps: they were tuned on the samples that they are judged by. (On 11
samples of one column the weights of two steps reach 1e8, and leave-one-out sees a gain of 57 % where folds held out see
a loss of 215 %.) Beside them stands therefore the gain in folds, where penalty and weights are chosen anew without the
fold, and the verdict is that of the strategy "safe" (`fastdistill.selection.evidence`), as of `DistilledRidgeCV`.

=============================================  ==================
paper                                          here
=============================================  ==================
P: (s_j θ_j)² of the signal, with noise        ``signal`` z_j²
P: imitation parameters ξ_1, …, ξ_k            ``Row.xi``
P: γ²                                          ``noise``
=============================================  ==================

Cost: one decomposition, O(n p min(n, p)), then O(n r k²) per penalty; and that once for each fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastdistill.base import validation
from fastdistill.diagnosis import table
from fastdistill.plot.display import ABOVE_NOISE
from fastdistill.selection.paired import mean_and_error, relative_gain, squared_errors
from fastdistill.selection.tuning import PENALTIES, Tuned, tune, tune_jointly
from fastdistill.selection.verdict import Verdict, verdict
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.spectrum import Spectrum

MIN_SAMPLES = 5
FOLD_SEED = 0
HEADINGS = ("student", "penalty", "weights ξ", "leave-one-out error", "gain over ridge", "gain held out")
LITTLE = 0.25  # share of the variance that ridge explains, below which a curved relation is worth a thought
CONSTANT = 1e-12  # spread of a column, relative to its largest entry, that rounding could have made

# The noise where little of y lies outside the range of X; see `_noise`.
SIGNAL_TO_NOISE = np.concatenate([[0.0], np.logspace(-3, 9, 97)])  # d_1 / λ
FAR_ABOVE = 16.0  # z² / γ²; of noise alone one in 16 000
LIKELY = 2.0  # below the largest log likelihood: an interval of 95 %
WIDE = 2.0  # with it, 3 to 5 % of the directions of pure noise stand "above", as 4.6 % should

OPTIMISTIC = (
    "Leave-one-out errors: penalties and weights were tuned on the samples that they are judged by, which flatters, "
    "the more so the more steps."
)
HELD_OUT = (
    "Held out: in each fold penalties and weights were chosen anew from the other samples, the better guide to new "
    "samples. Where tuned steps gain under leave-one-out but not here, the gain is not real. Both take samples as "
    "exchangeable: where they are ordered in time or come in groups, both promise too much."
)


@dataclass(frozen=True, eq=False)
class Row:
    """One student beside the best ridge, under leave-one-out.

    Attributes
    ----------
    name : str
    n_steps : int
    penalty : float or None
        None where the student is given by its filter alone, or ridge is averaged over several penalties.
    xi : ndarray (n_steps,) or None
        Jointly tuned imitation weights.
    error, error_se : float
        Leave-one-out mean squared error, and its standard error over the samples.
    gain, gain_se : float
        Share of the best ridge's error that is removed, and the standard error of the paired difference.
    held_out_gain, held_out_gain_se : float
        The same in folds, with penalty and weights chosen from the other samples; NaN without folds.
    filter : ndarray (r,)
        Spectral filter.
    """

    name: str
    n_steps: int
    penalty: float | None
    xi: np.ndarray | None
    error: float
    error_se: float
    gain: float
    gain_se: float
    held_out_gain: float
    held_out_gain_se: float
    filter: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """What `diagnose` found; ``print(diagnosis)`` shows it.

    Attributes
    ----------
    target : str
    feature_names : list of str
        Of the p columns used.
    rows : ndarray (n,)
        Indices of the samples used.
    notes : list of str
        What was done to the table.
    verdict : Verdict
        Whether to distil, and why, in a sentence: that of ``DistilledRidgeCV`` with these penalties. `advice` says what
        to do, `where` where the signal sits.
    steps : list of k + 1 Row
        The best ridge and the best students of 1..k steps, weights tuned jointly and unguarded.
    safe : Row
        The default: the student chosen by evidence; without any, ridge averaged over the penalties among which the
        samples do not decide.
    penalties, scores : ndarray (L,), (L, k+1)
        The best leave-one-out error with 0..k steps at each penalty.
    d, signal : ndarray (r,)
        Eigenvalues, and squared coordinates z² of the target along their directions.
    directions : ndarray (p, r)
        Those directions, in the columns used; the target grows along them.
    total : float
        Squared norm of the (centred) target.
    noise : float or None
        Estimated variance γ² of the noise; None where noise and signal cannot be told apart.
    explained : float
        Share of the variance of y that the best ridge explains under leave-one-out; below zero where it does worse than
        the mean.
    """

    target: str
    feature_names: list[str]
    rows: np.ndarray
    notes: list[str]
    verdict: Verdict
    steps: list[Row]
    safe: Row
    penalties: np.ndarray
    scores: np.ndarray
    d: np.ndarray
    signal: np.ndarray
    directions: np.ndarray
    total: float
    noise: float | None
    explained: float

    @property
    def share(self) -> np.ndarray:
        """Share of the variance of y along each direction, (r,)."""
        return self.signal / self.total

    @property
    def wanted(self) -> np.ndarray | None:
        """The filter (r,) that each direction asks for on its own, (1 − γ² / z²)₊; None where γ² is."""
        if self.noise is None:
            return None
        return np.maximum(1.0 - self.noise / np.maximum(self.signal, np.finfo(float).tiny), 0.0)

    @property
    def advice(self) -> str:
        """What to do, in a sentence or two."""
        said, ridge = _held_out(self.safe), self.steps[0]
        held_out = "" if np.isnan(self.safe.held_out_gain) else f": {said}"
        if self.safe.held_out_gain < -self.safe.held_out_gain_se:
            text = f"Fit ridge with the penalty {ridge.penalty:.3g}: DistilledRidgeCV() has {said}."
        elif self.safe.n_steps:
            text = f"Fit DistilledRidgeCV(): it distils these data{held_out}."
        elif self.safe.penalty is None:
            text = (
                f"Fit DistilledRidgeCV(): it does not distil these data, and averages ridge over penalties{held_out}."
            )
        else:
            text = f"Fit ridge with the penalty {self.safe.penalty:.3g}: distillation has nothing to add."
        tempting = [row for row in self.steps[1:] if row.held_out_gain > 2.0 * row.held_out_gain_se]
        if tempting:
            best = max(tempting, key=lambda row: row.held_out_gain)
            text += (
                f' DistilledRidgeCV(n_steps={best.n_steps}, strategy="joint") may be worth a trial on other samples: '
                f"{_held_out(best)}."
            )
        if self.explained < LITTLE:
            text += (
                f" Ridge explains {max(self.explained, 0.0):.0%} of the variance of {self.target!r} in samples left "
                f"out, and only linear models were tried: for a curved relation, DistilledKernelRidgeCV."
            )
        return text

    @property
    def where(self) -> str:
        """Where the signal sits, in a sentence."""
        if self.noise is None:
            return (
                f"How much of {self.target!r} is noise cannot be told from these {len(self.rows)} samples: they leave "
                f"too little outside the {table.counted(len(self.d), 'direction')} of X, so no direction is said to "
                f"stand above it."
            )
        above = np.flatnonzero(self.signal > ABOVE_NOISE * self.noise)
        if not len(above):
            return f"No direction of {len(self.d)} stands above the noise."
        order = above[np.argsort(-self.signal[above])]
        mass = np.cumsum(self.signal[order] - self.noise)
        most = int(np.searchsorted(mass, 0.9 * mass[-1])) + 1
        named = ", ".join(str(j + 1) for j in order[:most][:5]) + (", …" if most > 5 else "")
        return (
            f"Directions, numbered by falling eigenvalue: {len(above)} of {len(self.d)} above the noise, 90% of their "
            f"signal in {named}; all together hold {self.share.sum():.1%} of the variance of {self.target!r}."
        )

    def table(self) -> list[tuple[str, ...]]:
        """The students for reading, under a row of headings: errors and gains with their standard errors."""
        return [HEADINGS, *(_shown(row) for row in (*self.steps, self.safe))]

    def __repr__(self) -> str:
        return f"Diagnosis({self.target!r}, n_samples={len(self.rows)}, verdict={self.verdict.sentence!r})"

    def __str__(self) -> str:
        size = table.counted(len(self.feature_names), "column"), table.counted(len(self.rows), "sample")
        head = f"{self.target!r} from {size[0]}, {size[1]}, rank {len(self.d)}"
        cells = self.table()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        padded = [map(str.ljust, row, widths) for row in cells]
        lines = ["  ".join(row).rstrip() for row in padded]
        notes = [f"* {note}" for note in (*self.notes, OPTIMISTIC, HELD_OUT)]
        first = [f"What to do: {self.advice}", f"Why: {self.verdict}", self.where]
        return "\n".join([head, "", *first, "", *lines, "", *notes])


def diagnose(
    X: Any,
    y: Any,
    *,
    penalties: Any = None,
    n_steps: int = 2,
    fit_intercept: bool = True,
    standardize: bool = True,
    sample_weight: Any = None,
    folds: int = 10,
    feature_names: Sequence[str] | None = None,
) -> Diagnosis:
    """Ridge beside 1..k steps of self-distillation under exact leave-one-out: min over λ, w of Σ (y_i − loo_i)² / n.

    Only linear models are compared. For a curved relation see `DistilledKernelRidgeCV` and its ``verdict_``.

    Parameters
    ----------
    X : data frame or array-like (n, p)
        Left out are constant columns, those more than half missing, and rows with a gap, up to a fifth of them;
        beyond, gaps are filled with medians. Text of up to 10 levels becomes 0/1 columns, other text is left out. The
        notes say what was done.
    y : array-like (n,) or str
        The target, or the name of the column of X that holds it; rows without one are left out.
    penalties : float or array-like (L,), optional
        Penalties to choose from; by default those of `DistilledRidgeCV`, 40 from 1e-4 to 1e5.
    n_steps : int
        k, at least 1.
    fit_intercept : bool
        Whether to fit an unpenalised intercept.
    standardize : bool
        Whether columns are divided by their standard deviations first.
    sample_weight : float or array-like (n,), optional
        Weights of the squared residuals, at least 0 and not all 0.
    folds : int
        Folds, drawn at random with a fixed seed, in which every choice is made anew; 0 for none. At most n.
    feature_names : sequence of p str, optional
        Names of the columns; by default those of the data frame, or x0, x1, ...

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        A target that is not there, constant or text; infinite values; numbers mixed with a little text; fewer than 5
        samples; no column that varies; shapes that do not match, parameters out of range.
    TypeError
        Arguments of the wrong kind.

    Notes
    -----
    Weights of tuned students are held fixed under leave-one-out, penalties too: their errors are optimistic, and the
    verdict does not rest on them. The weights of 1..k steps are the jointly best ones (Pareek, Du and Oh 2024); the
    verdict is explained in `fastdistill.selection.evidence`. The noise is the mean square outside the range of X where
    at least max(10, n/10) degrees of freedom are left there, otherwise the likeliest under ridge's prior, and None
    where the data leave it open. Columns keep the scale of all samples in the folds. Cost: one decomposition,
    O(n p min(n, p)), then O(n r k²) per penalty, and that once more for each fold.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 30))
    >>> found = fd.diagnose(X, X @ rng.standard_normal(30) + rng.standard_normal(100))
    >>> print(found.verdict)  # doctest: +NORMALIZE_WHITESPACE
    No distillation: the evidence for a concentrated signal is 0.0104, not above the 20 required. Ridge, averaged over
    penalties from 0.838 to 4.12, among which the samples do not decide: adds 0.0% ± 0.5% of the leave-one-out error of
    the best single one.
    >>> [row.n_steps for row in found.steps], found.safe.n_steps
    ([0, 1, 2], 0)
    """
    columns = table.columns_of(X, feature_names)
    if isinstance(y, str):
        target, columns = table.take(columns, y)
    else:
        name = getattr(y, "name", None)
        target = table.column_of(name if isinstance(name, str) else "y", y)
    return diagnose_columns(
        columns,
        target,
        penalties=penalties,
        n_steps=n_steps,
        fit_intercept=fit_intercept,
        standardize=standardize,
        sample_weight=sample_weight,
        folds=folds,
    )


def diagnose_columns(
    columns: list[table.Column],
    target: table.Column,
    *,
    penalties: Any = None,
    n_steps: int = 2,
    fit_intercept: bool = True,
    standardize: bool = True,
    sample_weight: Any = None,
    folds: int = 10,
    notes: Sequence[str] = (),
) -> Diagnosis:
    """`diagnose` for columns that are not numbers yet; `notes` go before those of their treatment."""
    k = validation.integer(n_steps, "n_steps", minimum=1)
    folds = validation.integer(folds, "folds", minimum=0)
    if folds == 1:
        raise ValueError("folds must be 0 or at least 2, got 1: a fold is judged by models of the others.")
    fit_intercept = validation.boolean(fit_intercept, "fit_intercept")
    standardize = validation.boolean(standardize, "standardize")
    grid = PENALTIES if penalties is None else np.atleast_1d(validation.penalties(penalties, "penalties"))
    n = len(target.values)
    if columns and len(columns[0].values) != n:
        raise ValueError(f"y has {n} rows, but X has {len(columns[0].values)}.")
    weight = validation.sample_weight(sample_weight, n)
    numbers = table.treat(columns, target)
    numbers.notes[:0] = notes
    weight = None if weight is None else weight[numbers.rows]
    used = np.ones(len(numbers.rows)) if weight is None else weight
    if np.count_nonzero(used) < MIN_SAMPLES:
        raise table.TableError(
            f"A diagnosis needs at least {MIN_SAMPLES} samples, but {np.count_nonzero(used)} of {n} rows are left."
        )
    y = numbers.y
    for column, name in ((y, target.name), *zip(numbers.X.T, numbers.names, strict=True)):
        try:
            validation.sized(column, f"The column {name!r}", validation.LARGEST_LINEAR)
        except ValueError as err:
            raise table.TableError(str(err)) from None
    if _spread(y[:, None], used, fit_intercept)[0] == 0.0:
        raise table.TableError(f"The target {target.name!r} is constant: there is nothing to explain.")
    X, names = _varying(numbers, used, fit_intercept, standardize)
    y, scale = validation.in_units(y)
    found = _Search(X, y, weight, grid, k, fit_intercept).diagnosis(target.name, names, numbers, folds)
    return _times(found, scale)


def _times(found: Diagnosis, scale: float) -> Diagnosis:
    """The same diagnosis of a target `scale` times as large."""
    if scale == 1.0:
        return found

    def of(value: Any) -> Any:
        what, double = "squared errors of the target", np.dtype(np.float64)
        return validation.held(np.asarray(value), what, double, scale, 2, validation.ROUNDING)[()]

    rows = [replace(row, error=of(row.error), error_se=of(row.error_se)) for row in (*found.steps, found.safe)]
    return replace(
        found,
        steps=rows[:-1],
        safe=rows[-1],
        scores=of(found.scores),
        signal=of(found.signal),
        total=of(found.total),
        noise=None if found.noise is None else of(found.noise),
    )


def _varying(
    numbers: table.Numbers, weight: np.ndarray, fit_intercept: bool, standardize: bool
) -> tuple[np.ndarray, list[str]]:
    """The columns that vary, standardised if asked, and their names; constant ones are noted."""
    spread = _spread(numbers.X, weight, fit_intercept)
    varies = spread > 0
    if not varies.any():
        raise table.TableError("Every column is constant: there is nothing to explain the target with.")
    constant = [name for name, kept in zip(numbers.names, varies, strict=True) if not kept]
    table.note(numbers.notes, "Left out, constant", constant)
    X = numbers.X[:, varies]
    names = [name for name, kept in zip(numbers.names, varies, strict=True) if kept]
    return X / spread[varies] if standardize else X, names


def _spread(X: np.ndarray, weight: np.ndarray, fit_intercept: bool) -> np.ndarray:
    """Standard deviation (p,) of each column, about 0 without an intercept; 0 where rounding could have made it."""
    share, size = weight / weight.sum(), np.abs(X[weight > 0]).max(axis=0)
    unit = X / np.where(size > 0, size, 1.0)  # squares of the numbers themselves could overflow
    if fit_intercept:
        unit = unit - share @ unit
    spread = np.sqrt(share @ np.square(unit))
    return np.where(spread > CONSTANT, spread * size, 0.0)


class _Search:
    """Checked data, and the students tuned on parts of them: ridge, 1..k steps, and the one chosen by evidence."""

    def __init__(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None, grid: np.ndarray, k: int, fit_intercept: bool
    ) -> None:
        self.X, self.y, self.grid, self.k, self.fit_intercept = X, y, grid, k, fit_intercept
        self.given = weight
        self.weight = np.ones(len(y)) if weight is None else weight

    def students(self, rows: Any = slice(None)) -> list[Tuned]:
        """k + 2 of them, tuned on some rows."""
        y, weight = self.y[rows], None if self.given is None else self.given[rows]
        spectrum = Spectrum.from_design(self.X[rows], self.fit_intercept, weight)
        return [*tune_jointly(spectrum, y, self.grid, self.k), tune(spectrum, y, self.grid, n_steps=None)]

    def held_out(self, folds: int) -> np.ndarray:
        """Squared errors (k + 2, n) of students tuned without the fold of the sample; NaN at zero weight."""
        errors = np.full((self.k + 2, len(self.y)), np.nan)
        used = np.random.default_rng(FOLD_SEED).permutation(np.flatnonzero(self.weight))
        for test in np.array_split(used, min(folds, len(used))) if folds else ():
            train = np.sort(np.setdiff1d(used, test))
            for error, tuned in zip(errors, self.students(train), strict=True):
                error[test] = np.square(self.y[test] - tuned.path.predict(self.X[test])[-1])
        return errors

    def diagnosis(self, target: str, names: list[str], numbers: table.Numbers, folds: int) -> Diagnosis:
        tuned, held_out = self.students(), self.held_out(folds)
        ridge, safe, spectrum = tuned[0], tuned[-1], tuned[0].path.spectrum
        plain = squared_errors(ridge.path, self.y, fixed_filter=False)
        labels = ("ridge", *(f"{t} step{'s' * (t > 1)}" for t in range(1, self.k + 1)), "the default")
        rows = [
            self._row(label, found, plain, held_out[0], apart)
            for label, found, apart in zip(labels, tuned, held_out, strict=True)
        ]
        if len(self.grid) > 1 and ridge.lam in (self.grid.min(), self.grid.max()):
            end, why = (
                ("smallest", "it hardly matters") if ridge.lam == self.grid.min() else ("largest", "X says little")
            )
            numbers.notes.append(
                f"The best ridge has the {end} penalty tried, {ridge.lam:.3g}: {why}, or a wider grid is needed."
            )
        centre = np.average(self.y, weights=self.weight) if self.fit_intercept else 0.0
        variance = np.average(np.square(self.y - centre), weights=self.weight)
        rotated = ridge.path.rotated
        z, outside = rotated.z[:, 0], float(rotated.outside[0])
        return Diagnosis(
            target=target,
            feature_names=names,
            rows=numbers.rows,
            notes=numbers.notes,
            verdict=verdict(safe, self.grid, self.y),
            steps=rows[:-1],
            safe=rows[-1],
            penalties=self.grid,
            scores=tuned[self.k].scores,
            d=spectrum.coordinates.d,
            signal=np.square(z),
            directions=spectrum.coordinates.basis * np.where(z < 0, -1.0, 1.0),
            total=float(z @ z) + outside,
            noise=_noise(spectrum, np.square(z), outside),
            explained=float(1.0 - rows[0].error / variance),
        )

    def _row(self, name: str, tuned: Tuned, plain: np.ndarray, plain_held_out: np.ndarray, held_out: np.ndarray) -> Row:
        """A student beside the best ridge, whose squared errors (n,) are the `plain` ones."""
        errors, gain, apart = squared_errors(tuned.path, self.y, fixed_filter=False), (0.0, 0.0), (np.nan, np.nan)
        if tuned.n_steps or tuned.shares is not None:
            gain = relative_gain(plain, errors, self.weight)
        if not np.isnan(held_out).all():
            apart = relative_gain(plain_held_out, held_out, self.weight)
        penalty = None if tuned.xi is None else tuned.lam
        error = mean_and_error(errors, self.weight)
        return Row(name, tuned.n_steps, penalty, tuned.xi, *error, *gain, *apart, tuned.path.filters[-1])


def _noise(spectrum: Decomposed, squares: np.ndarray, outside: float) -> float | None:
    """The variance of the noise: of y outside the range of X, or where little is left there the likeliest one.

    With a signal as ridge assumes it, z_j² has the mean γ² (1 + d_j / λ): where the eigenvalues differ, large and small
    ones tell noise and signal apart. Directions far above (four standard deviations) are signal, whatever ridge
    assumes, and left out. None where values of γ² that differ by more than `WIDE` are about as likely: y could be all
    noise or none.
    """
    degrees, d = spectrum.frame.degrees, spectrum.coordinates.d
    free = degrees - len(d)
    if free >= max(10, spectrum.frame.n_effective / 10):
        return outside / free
    used = np.ones(len(d), dtype=bool)
    while np.count_nonzero(used) > 1:
        left = degrees - np.count_nonzero(~used)
        signal = SIGNAL_TO_NOISE[:, None] * (d[used] / d[0])
        noise = ((1.0 / (1.0 + signal)) @ squares[used] + outside) / left
        if noise.min() <= 0.0:
            return None
        likelihood = -0.5 * (left * np.log(noise) + np.log1p(signal).sum(axis=1))
        best = float(noise[likelihood.argmax()])
        far = used & (squares > FAR_ABOVE * best)
        if not far.any():
            likely = noise[likelihood > likelihood.max() - LIKELY]
            return best if likely.max() <= WIDE * likely.min() else None
        used &= ~far
    return None


def _shown(row: Row) -> tuple[str, ...]:
    averaged = row.penalty is None and not row.n_steps
    weights = "any filter" if row.xi is None else _weights(row.xi)
    return (
        row.name,
        "several" if averaged else "–" if row.penalty is None else f"{row.penalty:.3g}",
        weights if row.n_steps else "–",
        f"{row.error:.4g} ± {row.error_se:.2g}",
        _gain(row.gain, row.gain_se) if row.n_steps or averaged else "–",
        "–" if row.name == "ridge" or np.isnan(row.held_out_gain) else _gain(row.held_out_gain, row.held_out_gain_se),
    )


def _weights(xi: np.ndarray) -> str:
    """Imitation weights; many zeros at the start, steps that ignore their teacher, are counted."""
    used = np.flatnonzero(xi)
    zeros = int(used[0]) if len(used) else len(xi)
    start = [f"{zeros} × 0"] if zeros > 2 else ["0"] * zeros
    return ", ".join([*start, *(f"{value:.3g}" for value in xi[zeros:])])


def _held_out(row: Row) -> str:
    change = f"{abs(row.held_out_gain):.1%} ± {row.held_out_gain_se:.1%}"
    sign = "less" if row.held_out_gain >= 0 else "more"
    if abs(row.held_out_gain) < row.held_out_gain_se:
        return f"no clear difference from tuned ridge in samples held out ({change} {sign} error)"
    return f"{sign} error than tuned ridge by {change} in samples held out"


def _gain(gain: float, standard_error: float) -> str:
    return f"{gain:+.2%} ± {standard_error:.2%}"
