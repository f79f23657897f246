"""Compressors of iterates: x ← C(x), with the noise or the loss ω that a step with them adds.

ω is the smallest number with E‖C(x) − x‖² ≤ ω ‖x‖² for every x of p coefficients.

=================  =============================================  ======================  ========
compressor         C(x)_j                                         ω                       E C(x)
=================  =============================================  ======================  ========
`RandK`            x_j p / k on k random places, else 0           p / k − 1               x
`Bernoulli`        x_j / q with probability q, else 0             1 / q − 1               x
`RandomRounding`   ‖x‖ sign(x_j) times |x_j| / ‖x‖, rounded up    min(p / s², √p / s)     x
                   or down at random to multiples of 1 / s
`TopK`             x_j where |x_j| is among the k largest         1 − k / p               biased
`Mask`             x_j m_j for a fixed m                          0 if m keeps all,       biased
                                                                  1 otherwise
=================  =============================================  ======================  ========

The outputs of a model are compressed one by one; its intercept never. For random rounding ω is the bound of Alistarh
et al. 2017 (QSGD), the others are exact. Cost: O(p) per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdistill.base import validation


class Compressor:
    """Base of the compressors.

    `kind` names the operation of `fastdistill.kernels.compress`, and `parameter` its number.
    """

    kind = "SCALED"
    unbiased = True

    @property
    def parameter(self) -> float:
        """The number that the kernel needs: kept coefficients or levels."""
        return 0.0

    def check(self, p: int) -> None:
        """Raise ValueError where this cannot compress p coefficients."""

    def omega(self, p: int) -> float:
        """ω for p coefficients."""
        raise TypeError("Compressor is a base class; use RandK, TopK, Bernoulli, Mask or RandomRounding.")

    def draws(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        """What the kernel needs for (steps, C, p): factors or uniform numbers; one step's where all are equal."""
        return np.zeros((1, shape[1], 1))


def _check_count(k: int, p: int, name: str) -> None:
    if k > p:
        raise ValueError(f"{name}({k}) keeps more coefficients than there are: {p}.")


@dataclass(frozen=True)
class RandK(Compressor):
    """Keep k random coefficients, scaled by p / k."""

    k: int

    def __post_init__(self) -> None:
        validation.integer(self.k, "k", minimum=1)

    def check(self, p: int) -> None:
        _check_count(self.k, p, "RandK")

    def omega(self, p: int) -> float:
        self.check(p)
        return p / self.k - 1.0

    def draws(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        p = shape[2]
        keys = rng.random(shape)
        factors = np.zeros(shape)
        kept = np.argpartition(keys, self.k - 1, axis=2)[..., : self.k]
        np.put_along_axis(factors, kept, p / self.k, axis=2)
        return factors


@dataclass(frozen=True)
class Bernoulli(Compressor):
    """Keep each coefficient with probability q, scaled by 1 / q."""

    q: float

    def __post_init__(self) -> None:
        validation.scalar(self.q, "q", minimum=0.0, maximum=1.0, strict=True)

    def omega(self, p: int) -> float:
        return 1.0 / self.q - 1.0

    def draws(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        return np.where(rng.random(shape) < self.q, 1.0 / self.q, 0.0)


@dataclass(frozen=True, eq=False)
class Mask(Compressor):
    """Keep the coefficients that a fixed mask (p,) of zeros and ones keeps."""

    mask: Any
    unbiased = False

    def __post_init__(self) -> None:
        values = validation.real_array(self.mask, "mask", ndim=1)
        if not np.all((values == 0.0) | (values == 1.0)):
            raise ValueError("mask must hold zeros and ones only.")
        object.__setattr__(self, "mask", values)

    def check(self, p: int) -> None:
        if len(self.mask) != p:
            raise ValueError(f"The mask has {len(self.mask)} entries, but there are {p} coefficients.")

    def omega(self, p: int) -> float:
        self.check(p)
        return 0.0 if self.mask.all() else 1.0

    def draws(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        return np.array(np.broadcast_to(self.mask, (1, *shape[1:])))


@dataclass(frozen=True)
class TopK(Compressor):
    """Keep the k largest coefficients; of equal ones the first."""

    k: int
    kind = "TOP"
    unbiased = False

    def __post_init__(self) -> None:
        validation.integer(self.k, "k", minimum=1)

    @property
    def parameter(self) -> float:
        return float(self.k)

    def check(self, p: int) -> None:
        _check_count(self.k, p, "TopK")

    def omega(self, p: int) -> float:
        self.check(p)
        return 1.0 - self.k / p


@dataclass(frozen=True)
class RandomRounding(Compressor):
    """Round ``|x_j| / ‖x‖`` to multiples of 1 / levels, up or down at random without bias."""

    levels: int
    kind = "ROUNDED"

    def __post_init__(self) -> None:
        validation.integer(self.levels, "levels", minimum=1)

    @property
    def parameter(self) -> float:
        return float(self.levels)

    def omega(self, p: int) -> float:
        return min(p / self.levels**2, p**0.5 / self.levels)

    def draws(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        return rng.random(shape)
