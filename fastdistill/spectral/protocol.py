"""What students need of the spectrum they belong to."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fastdistill.spectral.coordinates import Coordinates
from fastdistill.spectral.frame import Frame
from fastdistill.spectral.queries import Queries


class Decomposed(Protocol):
    """A problem with its weights and intercept, which decomposes when first needed; `Spectrum` is one."""

    @property
    def frame(self) -> Frame:
        """Weights and intercept."""

    @property
    def queries(self) -> Queries:
        """How new points are checked, centred and multiplied."""

    @property
    def coordinates(self) -> Coordinates:
        """Eigenvalues and bases; decomposes where that was not done before."""

    @property
    def is_kernel(self) -> bool:
        """Whether coefficients are dual."""

    @property
    def dtype(self) -> np.dtype:
        """Of the results."""
