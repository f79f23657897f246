"""Outcomes of iterations: their names, their warning, and what each message tells the user to do."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any

FINISHED, STOPPED, INTERRUPTED, DIVERGED = "finished", "stopped", "interrupted", "diverged"


def __getattr__(name: str) -> Any:
    """ConvergenceWarning, made on first use: its base is in scikit-learn, which takes a second to import."""
    if name != "ConvergenceWarning":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        base = import_module("sklearn.exceptions").ConvergenceWarning
    except ImportError:
        base = UserWarning
    text = "An iteration ended without converging; results are those of its last finite state."
    made = type(name, (base,), {"__doc__": text, "__module__": __name__})
    return globals().setdefault(name, made)


def _warn(message: str) -> None:
    """Warn where the package was called."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == "fastdistill":
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, __getattr__("ConvergenceWarning"), stacklevel=depth)


def warn_diverged(step_size: float, epoch: int, largest: float, configurations: str) -> None:
    """Tell that a run left the finite numbers, and how to prevent it."""
    _warn(
        f"Stochastic gradient descent diverged in epoch {epoch + 1}{configurations} with step_size={step_size:.3g}; "
        f"its state before that epoch is kept. {_advice(step_size, largest)}"
    )


def warn_risen(step_size: float, epoch: int, largest: float, configurations: str) -> None:
    """Tell that a run ended above where it began, and how to prevent it."""
    _warn(
        f"Stochastic gradient descent diverged: after {epoch + 1} epochs{configurations} with "
        f"step_size={step_size:.3g} its objective is above that of the start. {_advice(step_size, largest)}"
    )


def _advice(step_size: float, largest: float) -> str:
    if step_size > largest:
        return (
            f"Use a step of at most {largest:.3g} (1 / the largest smoothness constant of a sample, less with "
            f"momentum), or scale the features (StandardScaler) and keep the step."
        )
    return "That step is safe for plain SGD: halve it, lower kd_weight, or compress less."
