"""What a run of SGD is to do: the checked arguments of `run_sgd` that its loop and its steps read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdistill.sgd.compressors import Compressor


@dataclass(frozen=True, eq=False)
class Plan:
    """The checked arguments of a run of Q configurations.

    Attributes
    ----------
    variant, order, batch_size, temperature, teacher_every, average, compressor, n_epochs, record_every, callback
        As in `run_sgd`; a `teacher_every` of None has become 1.
    settings : ndarray (Q, 6)
        What the kernels read of each configuration at the start: step size, weight, penalty, temperature, momentum and
        the parameter of the compressor.
    step_factor, weight_factor : callable
        Factors of the step size and the weight after t epochs.
    seeds : list
        One seed or generator for all configurations, or one for each.
    n_threads : int
        Threads over configurations.
    is_single : bool
        Whether results have no axis of configurations.
    """

    variant: str
    order: str
    batch_size: int
    temperature: float
    teacher_every: int
    average: bool
    compressor: Compressor | None
    n_epochs: int
    record_every: int
    callback: Callable[[int, np.ndarray, Any], Any] | None
    settings: np.ndarray
    step_factor: Callable
    weight_factor: Callable
    seeds: list[Any]
    n_threads: int
    is_single: bool
