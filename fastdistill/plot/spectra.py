"""The spectrum: eigenvalues, where the signal sits, and what the filters keep.

With eigenvalues d_j, coordinates z = Uᵀ W^½ (y − ȳ) of the targets and filters f_t of students::

    share      z_j² / ‖W^½ (y − ȳ)‖²        of the variance of y along direction j
    cumulated  Σ_{i≤j} d_i / Σ d            beside the same of the shares
    filters    f_t(d_j)                     ridge: d / (d + λ)

Cost: one decomposition where the spectrum has none yet, then O(r k).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from fastdistill.base import validation
from fastdistill.plot.display import ABOVE_NOISE, Display, checked_lines, checked_names, checked_styles, step_name
from fastdistill.plot.training import GIVEN, TUNED, students_of, training_spectrum
from fastdistill.spectral.path import DistillationPath, FilteredStudents, MeanRidges

KINDS = ("signal", "cumulated", "filters", "eigenvalues")
BY_EIGENVALUE = "direction j, largest eigenvalue first"
MOST_MARKED = 150  # directions beyond which points run into each other


class SpectrumDisplay(Display):
    """Eigenvalues d (r,), the share (r,) of the signal along each direction, and filters (s, r) of students.

    Made by `from_path` or `from_estimator`.

    Parameters
    ----------
    d : array-like (r,)
        Eigenvalues, largest first.
    share : array-like (r,), optional
        Share of the variance of y along each direction.
    filters : array-like (s, r), optional
        A row for each student.
    names : sequence of s str, optional
        Of the students; by default "ridge", "1 step", ...
    noise : float, optional
        What noise alone adds to a share, on average.
    wanted : array-like (r,), optional
        The filter that each direction asks for on its own, (1 − noise / share)₊.

    Attributes
    ----------
    d, share, filters, names, noise, wanted
        As given.
    ax_, figure_
        matplotlib's axes and figure, set by `plot`.

    Examples
    --------
    >>> import numpy as np, fastdistill as fd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((50, 4)) * [8.0, 4.0, 2.0, 1.0]
    >>> path = fd.Spectrum.from_design(X).path(X[:, 0], 100.0, xi=1.0, n_steps=2)
    >>> display = fd.plot.SpectrumDisplay.from_path(path)
    >>> display.names, display.share.round(2)
    (['ridge', '1 step', '2 steps'], array([1., 0., 0., 0.]))
    """

    def __init__(
        self,
        d: Any,
        share: Any = None,
        *,
        filters: Any = None,
        names: Sequence[str] | None = None,
        noise: float | None = None,
        wanted: Any = None,
    ) -> None:
        self.d = validation.spectrum_values(d)
        r = len(self.d)
        self.share, self.wanted = (
            None if values is None else checked_lines([values], name, (1, r))[0]
            for values, name in ((share, "share"), (wanted, "wanted"))
        )
        self.filters = np.empty((0, r)) if filters is None else checked_lines(filters, "filters", (None, r))
        count = len(self.filters)
        self.names = checked_names(names, count, [step_name(t) for t in range(count)])
        self.noise = None if noise is None else validation.scalar(noise, "noise", minimum=0.0)

    @classmethod
    def from_path(cls, path: Any) -> Self:
        """The spectrum of a path of one penalty and one schedule, its targets, and the filters of its students.

        Parameters
        ----------
        path : DistillationPath, or ``fd.tune(...).path``
            The shares of several targets are those of their squares together.

        Raises
        ------
        ValueError
            Several penalties or schedules.
        TypeError
            No path.
        """
        if not isinstance(path, DistillationPath | FilteredStudents | MeanRidges):
            raise TypeError(f"path must be a path (Spectrum.path(y, lam, xi)), got {type(path).__name__}.")
        filters = np.asarray(path.filters, dtype=np.float64)
        if filters.ndim != 2:
            raise ValueError(
                f"Filters are drawn for one penalty and one schedule, but this path has the axes {filters.shape[:-1]}: "
                f"pass S.path(y, lam[0], xi)."
            )
        names = None if isinstance(path, DistillationPath) else _names_of_two(len(filters))
        return cls(path.spectrum.coordinates.d, _shares(path), filters=filters, names=names)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, sample_weight: Any = None) -> Self:
        """The spectrum of training samples, and the filters of an estimator fitted on them.

        Parameters
        ----------
        estimator : DistilledRidge, DistilledKernelRidge, DistilledRidgeCV or DistilledKernelRidgeCV
            With given weights: every step at its `alpha`. Tuned, and fitted: ridge of the penalty ``alpha_`` beside
            the filter that is used.
        X : array-like (n, p)
            Training samples; with ``kernel="precomputed"`` the kernel matrix.
        y : array-like (n,)
        sample_weight : array-like (n,), optional

        Raises
        ------
        sklearn.exceptions.NotFittedError
            A tuned estimator before `fit`.
        ValueError
            Other samples than those of `fit` (another rank); a penalty for each target.
        TypeError
            An estimator of another kind.
        """
        if not isinstance(estimator, (*GIVEN, *TUNED)):
            raise TypeError(
                f"estimator must be a ridge or kernel ridge regressor, got {type(estimator).__name__}; for "
                f"others pass a path: SpectrumDisplay.from_path(S.path(y, lam, xi))."
            )
        spectrum = training_spectrum(estimator, X, sample_weight)
        if isinstance(estimator, GIVEN):
            return cls.from_path(students_of(estimator, spectrum, y, estimator.alpha))
        if np.ndim(estimator.alpha_):
            raise ValueError("Every target was tuned alone; pass a path of one: SpectrumDisplay.from_path.")
        ridge = spectrum.path(y, estimator.alpha_, [])
        if ridge.filters.shape[-1] != len(estimator.filter_):
            raise ValueError(
                f"X and y are not those of fit: they have the rank {ridge.filters.shape[-1]}, the model "
                f"{len(estimator.filter_)}."
            )
        filters = np.stack([ridge.filters[0], estimator.filter_])
        return cls(spectrum.d, _shares(ridge), filters=filters, names=_names_of_two(2))

    @property
    def above_noise(self) -> np.ndarray:
        """Which directions (r,) stand above the noise by two standard deviations; none where it is not known."""
        if self.share is None or self.noise is None:
            return np.zeros(len(self.d), dtype=bool)
        return self.share > ABOVE_NOISE * self.noise

    def columns(self) -> dict[str, np.ndarray]:
        """``direction``, ``eigenvalue``, ``share_of_x``, ``share_of_y``, ``noise``, ``wanted``, each filter by name.

        r rows; columns of what is not known are left out.
        """
        r = len(self.d)
        known: dict[str, np.ndarray] = {
            "direction": np.arange(1, r + 1),
            "eigenvalue": self.d,
            "share_of_x": self.d / self.d.sum() if self.d.any() else self.d,
        }
        if self.share is not None:
            known["share_of_y"] = self.share
        if self.noise is not None:
            known["noise"] = np.full(r, self.noise)
        if self.wanted is not None:
            known["wanted"] = self.wanted
        return known | dict(zip(self.names, self.filters, strict=True))

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "signal",
        against: str = "direction",
        bars: bool = False,
        log: bool = False,
        styles: Sequence[dict[str, Any]] | None = None,
        legend: bool = True,
    ) -> Self:
        """Draw one of four pictures.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default those of a new figure.
        kind : {"signal", "cumulated", "filters", "eigenvalues"}, default="signal"
            Shares of the signal along each direction, beside the noise; cumulated shares of X and of y; a line for each
            filter; the eigenvalues.
        against : {"direction", "eigenvalue"}, default="direction"
            What filters are drawn against: the number of the direction, or its eigenvalue on a logarithmic axis.
        bars : bool, default=False
            Filters as bars, side by side.
        log : bool, default=False
            Filters on a logarithmic axis, for values near zero.
        styles : sequence of dict, optional
            Keywords of matplotlib's lines (bars), one dict for each filter.
        legend : bool, default=True
            Whether the panel gets a legend.

        Returns
        -------
        SpectrumDisplay
            Itself, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            A picture of what the display does not have; unknown words.
        """
        validation.choice(kind, "kind", KINDS)
        validation.choice(against, "against", ("direction", "eigenvalue"))
        if kind in ("signal", "cumulated") and self.share is None:
            raise ValueError(f"kind={kind!r} needs the shares of the signal: pass share, or a path.")
        if kind == "filters" and not len(self.filters):
            raise ValueError("kind='filters' needs filters: pass filters, or a path.")
        ax = self._on(ax)
        if kind == "filters":
            self._draw_filters(ax, against, bars, log, styles)
        else:
            {"signal": self._draw_signal, "cumulated": self._draw_shares, "eigenvalues": self._draw_eigenvalues}[kind](
                ax
            )
        if kind != "filters" or against == "direction":
            from fastdistill.pages import figures

            figures.whole_numbers(ax)
        return self._drawn(ax, legend and kind != "eigenvalues")

    def _draw_eigenvalues(self, ax: Any) -> None:
        from fastdistill.pages import figures

        ax.semilogy(np.arange(1, len(self.d) + 1), self.d, "o-", color=figures.BLUE, markersize=4)
        figures.label(ax, "Eigenvalues", BY_EIGENVALUE, "d")

    def _draw_signal(self, ax: Any) -> None:
        from fastdistill.pages import figures

        assert self.share is not None
        j, above = np.arange(1, len(self.d) + 1), self.above_noise
        floor = max(0.01 * (self.noise or 0.0), 1e-9 * self.share.max(initial=0.0), np.finfo(float).tiny)
        below = "share of y" if self.noise is None else "not told from noise"
        for chosen, colour, name in ((above, figures.ORANGE, "above the noise"), (~above, figures.GREY, below)):
            if not chosen.any():
                continue
            height = np.maximum(self.share[chosen], floor)
            ax.vlines(j[chosen], floor, height, color=colour, linewidth=1.0, alpha=0.6)
            ax.plot(j[chosen], height, "o", color=colour, markersize=4.5, label=name)
        ax.set_yscale("log")
        if self.noise:
            ax.axhline(self.noise, color=figures.BLUE, linestyle="--", linewidth=1.3, label="noise γ²")
        figures.label(ax, "Signal along each direction", BY_EIGENVALUE, "share of the variance of y")
        ax.set_xlim(0.5 - 0.02 * len(j), 0.5 + 1.02 * len(j))

    def _draw_shares(self, ax: Any) -> None:
        from fastdistill.pages import figures

        columns, j = self.columns(), np.arange(len(self.d) + 1)
        for key, colour, name in (("x", figures.GREY, "variance of X"), ("y", figures.ORANGE, "variance of y")):
            ax.plot(j, np.append(0.0, np.cumsum(columns[f"share_of_{key}"])), color=colour, label=name)
        ax.set_ylim(0, 1.02)
        figures.label(ax, "Cumulated share of the first j directions", "j")

    def _draw_filters(
        self, ax: Any, against: str, bars: bool, log: bool, styles: Sequence[dict[str, Any]] | None
    ) -> None:
        from fastdistill.pages import figures

        r, count = len(self.d), len(self.filters)
        x = np.arange(1, r + 1) if against == "direction" else self.d
        if self.wanted is not None and self.share is not None:
            told = np.maximum(self.share - (self.noise or 0.0), 0.0)
            size = 12 + 160 * told / max(told.max(initial=0.0), np.finfo(float).tiny)
            style = {"color": figures.YELLOW, "alpha": 0.75, "linewidths": 0}
            ax.scatter(x, self.wanted, s=size, label="wanted (area: signal)", **style)
        colours = figures.shades(count) if bars else figures.line_colours(count)
        defaults: list[dict[str, Any]] = [
            {"color": colour, "label": name} for colour, name in zip(colours, self.names, strict=True)
        ]
        width = 0.84 / count
        for t, style in enumerate(checked_styles(styles, defaults)):
            if bars:
                ax.bar(x + (t - (count - 1) / 2) * width, self.filters[t], width, **style)
            else:
                mark = "." if r <= MOST_MARKED else None
                ax.plot(x, self.filters[t], **{"marker": mark, "linewidth": 1.4, **style})
        if against == "eigenvalue":
            ax.set_xscale("log")
        if log:
            ax.set_yscale("log")
        else:
            drawn = self.filters[np.isfinite(self.filters)]
            low, high = drawn.min(initial=0.0), drawn.max(initial=0.0)
            bottom = max(-0.6, low - 0.05) if low < 0 else (0.0 if bars else -0.05)
            ax.set_ylim(bottom, max(1.0 if bars else 1.05, min(1.6, high + 0.05)))
        figures.label(ax, "Spectral filters", BY_EIGENVALUE if against == "direction" else "eigenvalue d", "share kept")


def _shares(path: Any) -> np.ndarray:
    """z² / ‖y‖² along each direction, all targets together."""
    squares = np.square(path.rotated.z).sum(axis=1)
    total = squares.sum() + path.rotated.outside.sum()
    return squares / total if total else squares


def _names_of_two(count: int) -> list[str]:
    return ["ridge", "what is used"] if count == 2 else ["what is used"]
