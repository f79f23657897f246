"""Step sizes and teacher's weights that change with the epoch: value(t) = initial · factor(t), t in epochs.

==============  =========================================  =======================================
schedule        factor(t)                                  for
==============  =========================================  =======================================
a number        1
`InverseTime`   1 / (1 + t / epochs)                       step sizes that reach the minimum itself
`Geometric`     ratio^t, at most `limit` / initial         weights that fade (< 1) or grow (> 1)
==============  =========================================  =======================================

Step sizes are read at every step, t being a fraction; the teacher's weight at the start of every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdistill.base import validation


@dataclass(frozen=True)
class InverseTime:
    """initial / (1 + t / epochs), t in epochs: Σ of all steps diverges, Σ of their squares does not.

    Parameters
    ----------
    initial : float or array-like (Q,)
        Value at the start, at least 0; several values are several configurations.
    epochs : float
        Epochs until the value has halved, above 0.

    Examples
    --------
    >>> from fastdistill import InverseTime
    >>> [float(InverseTime(0.1, epochs=5.0).factor(t)) for t in (0, 5, 15)]
    [1.0, 0.5, 0.25]
    """

    initial: Any
    epochs: float

    def __post_init__(self) -> None:
        validation.scalar(self.epochs, "epochs", minimum=0.0, strict=True)

    def factor(self, t: Any) -> Any:
        """The share of the initial value left after t epochs."""
        return 1.0 / (1.0 + np.asarray(t, dtype=np.float64) / self.epochs)


@dataclass(frozen=True)
class Geometric:
    """initial · ratio^t, t in epochs: decays for a ratio below one, grows for one above.

    Parameters
    ----------
    initial : float or array-like (Q,)
        Value at the start, at least 0; several values are several configurations.
    ratio : float
        Factor from one epoch to the next, above 0.
    limit : float, optional
        The factor ratio^t stays within this multiple of the initial value; needed where the ratio is above one.

    Examples
    --------
    >>> from fastdistill import Geometric
    >>> [float(Geometric(0.25, ratio=2.0, limit=4.0).factor(t)) for t in (0, 1, 3)]
    [1.0, 2.0, 4.0]
    """

    initial: Any
    ratio: float
    limit: float | None = None

    def __post_init__(self) -> None:
        validation.scalar(self.ratio, "ratio", minimum=0.0, strict=True)
        if self.limit is not None:
            validation.scalar(self.limit, "limit", minimum=1.0)
        elif self.ratio > 1.0:
            raise ValueError(
                f"A ratio of {self.ratio:g} grows without bound; give limit=, a multiple of the initial value."
            )

    def factor(self, t: Any) -> Any:
        """The multiple of the initial value reached after t epochs."""
        with np.errstate(over="ignore"):
            values = np.power(self.ratio, np.asarray(t, dtype=np.float64))
        return values if self.limit is None else np.minimum(values, self.limit)


def read_schedule(value: Any, name: str, *, positive: bool) -> tuple[np.ndarray, Any]:
    """(initial value, 0-D or (Q,)) and the factor t -> factor(t) of a number, an array or a schedule."""
    if type(value) is float and (0.0 < value < np.inf or (value == 0.0 and not positive)):
        return np.array(value), constant  # the usual one, in a fifth of the time
    scheduled = hasattr(value, "initial") and hasattr(value, "factor")  # those above, or one like them
    initial = validation.real_array(value.initial if scheduled else value, name, ndim=(0, 1))
    if initial.size == 0:
        raise ValueError(f"{name} is empty; at least one value is needed.")
    if initial.min() < 0 or (positive and initial.min() == 0):
        raise ValueError(f"{name} must be {'positive' if positive else 'at least 0'}, got {initial.min():.6g}.")
    return initial, value.factor if scheduled else constant


def constant(t: Any) -> Any:
    """The factor of what does not change: 1."""
    return np.ones(t.shape) if isinstance(t, np.ndarray) else 1.0
