"""The problem of some samples alone, from a decomposition of all: X or K themselves are not needed.

The rows R = W^-½ U are the samples up to a rotation and a shift by the mean, neither of which changes a student::

    design   R diag(d)^½          kernel   R diag(d) Rᵀ

Cost: one decomposition of the part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdistill.spectral.coordinates import Coordinates
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.problems import DesignProblem, KernelProblem
from fastdistill.spectral.protocol import Decomposed
from fastdistill.spectral.queries import Queries

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Part:
    """Some samples of a problem, decomposed."""

    frame: Frame
    queries: Queries
    coordinates: Coordinates
    is_kernel: bool
    dtype: np.dtype


def part_of(spectrum: Decomposed, train: np.ndarray, test: np.ndarray) -> tuple[Part, np.ndarray] | None:
    """The problem of the samples `train` alone, and the samples `test` as its queries; None without any weight."""
    frame, coordinates = spectrum.frame, spectrum.coordinates
    weight = None if frame.weight is None else frame.weight[train]
    if not len(train) or (weight is not None and not weight.any()):
        return None
    own = Frame(len(train), weight, frame.fit_intercept)
    rows = coordinates.unscaled_block(slice(0, frame.n_samples), coordinates.row_block(0, frame.n_samples))
    problem: Any
    if spectrum.is_kernel:
        left = rows * coordinates.d
        kernel, queries = left[train] @ rows[train].T, left[test] @ rows[train].T
        kernel = (kernel + kernel.T) / 2
        problem = KernelProblem(kernel, own, EPS, indefinite=coordinates.smallest < 0.0, known_definite=True)
    else:
        rows = rows * np.sqrt(coordinates.d) if coordinates.rank else np.zeros((frame.n_samples, 1))
        queries = rows[test]
        problem = DesignProblem(rows[train], own)
    light = problem.light_queries() if len(own.light) else None
    decomposition, of_queries = problem.decompose("auto")
    found = Coordinates(decomposition, own, of_queries, light, is_kernel=spectrum.is_kernel)
    return Part(own, of_queries, found, spectrum.is_kernel, spectrum.dtype), queries
