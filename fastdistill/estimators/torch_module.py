"""A PyTorch module as a scikit-learn estimator that also learns from soft targets.

Minimises by mini-batches, with the outputs g(x) of the module and targets u that are labels, probabilities or numbers::

    Σ_i w_i loss(g(x_i), u_i) / Σ_i w_i + penalty(module),

where the loss is by default the cross-entropy −Σ_c u_c log softmax(g)_c of classes, or of numbers the mean of (g − u)².

=============================================  =====================================
paper                                          here
=============================================  =====================================
B: targets α y + (1 − α) ŷ of a step           ``y`` of `fit`, rows of probabilities
B: squared errors of softmax outputs           ``loss``
=============================================  =====================================

PyTorch is imported when a model is fitted, so that this module can be imported without it. Cost: that of the module's
own passes, 2 for each sample and epoch.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score
from sklearn.utils import ClassifierTags, RegressorTags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from fastdistill.base import validation
from fastdistill.estimators._common import r2_of

TASKS = ("classifier", "regressor")
DATA: dict[str, Any] = {"dtype": (np.float64, np.float32), "allow_nd": True}
SHARE = 1e-6  # by which the probabilities of a row may miss 1 in sum


def is_module(model: Any) -> bool:
    """Whether it is a PyTorch module; without one PyTorch is not imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def as_estimator(model: Any, y: Any = None) -> Any:
    """The model itself, or a bare module with what trains it: a classifier where y holds labels, else a regressor."""
    if not is_module(model):
        return model
    labels = y is not None and type_of_target(y) in ("binary", "multiclass") and np.asarray(y).dtype.kind != "f"
    # one seed for every fit: the two that estimate a weight then differ in their targets alone
    return TorchEstimator(model, task="classifier" if labels else "regressor", random_state=0)


class TorchEstimator(BaseEstimator):
    """A PyTorch module, trained by mini-batches, with scikit-learn's interface and soft targets.

    Minimises the weighted mean of loss(g(x), u) plus a penalty, where g(x) are the outputs of the module and u the
    targets: numbers, labels, or rows of probabilities over the classes.

    Parameters
    ----------
    module : torch.nn.Module or callable
        The network, or a function without arguments that makes one. A network is copied for each fit and never trained
        itself: every fit starts from its weights. A function is called with the generator seeded by `random_state`.
    task : {"classifier", "regressor"}, default="classifier"
        What `y` is. A classifier's module has an output, a logit, for each class; a regressor's one for each target.
    loss : callable or None, default=None
        loss(outputs, targets) -> one number for each sample, as tensors (b, m), (b, m) -> (b,); targets of a classifier
        are rows of probabilities. None: cross-entropy of logits, or the mean over the outputs of squared errors.
    penalty : callable or None, default=None
        penalty(module) -> a number, added to the loss of each batch.
    optimizer : callable or None, default=None
        optimizer(parameters) -> a torch optimizer. None: ``torch.optim.Adam(parameters, lr=1e-3)``.
    n_epochs : int, default=50
        Passes over the data.
    batch_size : int, default=32
        Samples of a step.
    random_state : int, RandomState instance or None, default=None
        Seeds the order of the samples, and whatever the module draws: first weights, dropout.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained network.
    classes_ : ndarray of shape (n_classes,)
        Labels of the outputs; only of classifiers.
    n_features_in_ : int
        Size of the second axis of X.

    See Also
    --------
    SelfDistiller : Retrains it on mixtures of the truth and its own outputs; takes bare modules, too.

    Notes
    -----
    This is an adapter for distillation, not a trainer: no schedules, no early stopping, no callbacks. For those use
    skorch or Lightning; :class:`SelfDistiller` takes every estimator with scikit-learn's interface.

    X is passed to the module in the dtype and on the device of its first parameter, with all its axes, so that images
    (n, channels, height, width) work. torch's generator of the CPU is left as it was.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> from sklearn.datasets import load_digits
    >>> from fastdistill import SelfDistiller, TorchEstimator
    >>> X, y = load_digits(return_X_y=True)
    >>> layers = torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)  # doctest: +SKIP
    >>> network = torch.nn.Sequential(*layers)  # doctest: +SKIP
    >>> plain = TorchEstimator(network, n_epochs=20, random_state=0).fit(X / 16, y)  # doctest: +SKIP
    >>> soft = plain.predict_proba(X / 16)  # doctest: +SKIP
    >>> student = TorchEstimator(network, n_epochs=20, random_state=0).fit(X / 16, soft)  # doctest: +SKIP
    """

    learns_distributions = True

    def __init__(
        self,
        module: Any,
        task: str = "classifier",
        loss: Callable[[Any, Any], Any] | None = None,
        penalty: Callable[[Any], Any] | None = None,
        optimizer: Callable[[Any], Any] | None = None,
        n_epochs: int = 50,
        batch_size: int = 32,
        random_state: Any = None,
    ) -> None:
        self.module = module
        self.task = task
        self.loss = loss
        self.penalty = penalty
        self.optimizer = optimizer
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        """Those of a classifier or a regressor, as `task` says."""
        tags = super().__sklearn_tags__()
        tags.estimator_type = self.task
        if self.task == "classifier":
            tags.classifier_tags = ClassifierTags()
        else:
            tags.regressor_tags = RegressorTags()
        tags.target_tags.required = True
        tags.target_tags.multi_output = self.task == "regressor"
        tags.non_deterministic = self.random_state is None
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> TorchEstimator:
        """Train a fresh copy of the module.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Training data.
        y : array-like of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_classes)
            Targets; of classifiers labels, or rows of probabilities over the classes.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights of the losses, at least 0 and not all 0.
        classes : array-like of shape (n_classes,), default=None
            Labels of the columns, where y holds probabilities; by default 0, 1, ….

        Returns
        -------
        self : TorchEstimator

        Raises
        ------
        ImportError
            PyTorch is not installed.
        ValueError
            NaN or inf, shapes that do not match, rows that are no probabilities, more classes or targets than outputs,
            a loss that becomes NaN or inf.
        TypeError
            Parameters of the wrong kind.
        """
        torch = _torch()
        validation.choice(self.task, "task", TASKS)
        n_epochs = validation.integer(self.n_epochs, "n_epochs", minimum=0)
        batch_size = validation.integer(self.batch_size, "batch_size", minimum=1)
        X = validate_data(self, X, **DATA)
        targets = self._targets(y, len(X), classes)
        weight = validation.sample_weight(sample_weight, len(X))
        weight = np.ones(len(X)) if weight is None else weight / weight.mean()
        seed = int(check_random_state(self.random_state).randint(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = copy.deepcopy(self.module) if is_module(self.module) else self.module()
            self.module_ = module
            data = [self._tensor(values) for values in (X, targets, weight)]
            self._check_outputs(data[0][:1], targets.shape[1])
            self._train(data, n_epochs, batch_size)
        return self

    def _targets(self, y: Any, n: int, classes: Any) -> np.ndarray:
        """Numbers (n, m), or probabilities (n, C) with their `classes_`."""
        y = np.asarray(y)
        if len(y) != n:
            raise ValueError(f"X has {n} samples, but y has {len(y)}.")
        self._is_column = y.ndim == 1
        if self.task == "regressor":
            return validation.real_array(y, "y", ndim=(1, 2)).reshape(n, -1)
        if y.ndim == 1:
            self.classes_, codes = np.unique(y if classes is None else np.append(classes, y), return_inverse=True)
            return np.eye(len(self.classes_))[codes[-n:]]
        y = validation.real_array(y, "y", ndim=2)
        if y.min() < 0 or np.abs(y.sum(axis=1) - 1).max() > SHARE:
            raise ValueError("y of two axes must hold probabilities: at least 0, with a sum of 1 in each row.")
        self.classes_ = np.arange(y.shape[1]) if classes is None else np.asarray(classes)
        if self.classes_.shape != (y.shape[1],):
            raise ValueError(f"y has {y.shape[1]} columns, but classes has the shape {self.classes_.shape}.")
        return y

    def _tensor(self, values: np.ndarray) -> Any:
        torch = _torch()
        first = next(self.module_.parameters(), torch.zeros(0))
        return torch.as_tensor(np.ascontiguousarray(values), dtype=first.dtype, device=first.device)

    def _check_outputs(self, row: Any, wanted: int) -> None:
        self.module_.eval()
        with _torch().no_grad():
            shape = tuple(self.module_(row).shape)
        if len(shape) != 2 or shape[1] != wanted:
            what = "classes" if self.task == "classifier" else "targets"
            raise ValueError(
                f"module gives outputs of shape {shape} for one sample, but y needs (1, {wanted}): {what}."
            )

    def _train(self, data: list[Any], n_epochs: int, batch_size: int) -> None:
        torch, module, loss = _torch(), self.module_, self.loss or self._usual_loss
        parameters = list(module.parameters())
        optimizer = self.optimizer(parameters) if self.optimizer else torch.optim.Adam(parameters, lr=1e-3)
        module.train()
        for _ in range(n_epochs):
            for rows in torch.randperm(len(data[0])).split(batch_size):
                X, targets, weight = (values[rows] for values in data)
                value = (weight * loss(module(X), targets)).mean()
                if self.penalty:
                    value = value + self.penalty(module)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            if not bool(torch.isfinite(value)):
                raise ValueError("The loss became NaN or inf; scale X, or lower the learning rate of the optimizer.")
        module.eval()

    def _usual_loss(self, outputs: Any, targets: Any) -> Any:
        functional = _torch().nn.functional
        if self.task == "classifier":
            return functional.cross_entropy(outputs, targets, reduction="none")
        return (outputs - targets).square().mean(dim=1)

    def _outputs(self, X: Any) -> Any:
        check_is_fitted(self, "module_")
        X = validate_data(self, X, reset=False, **DATA)
        with _torch().no_grad():
            return self.module_(self._tensor(X))

    def predict(self, X: Any) -> np.ndarray:
        """Labels of the largest outputs, or the outputs of a regressor in the shape of its y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        outputs = self._outputs(X).cpu().numpy()
        if self.task == "classifier":
            return self.classes_[outputs.argmax(axis=1)]
        return outputs.ravel() if self._is_column else outputs

    @available_if(lambda self: self.task == "classifier")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Softmax of the outputs, (n_samples, n_classes); only of classifiers, with the parameters of `predict`."""
        return _torch().softmax(self._outputs(X).double(), dim=1).cpu().numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a classifier, coefficient of determination R² of a regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their labels or targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        score : float
        """
        if self.task == "classifier":
            return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))
        return r2_of(y, self.predict(X), sample_weight)


def _torch() -> Any:
    """PyTorch, which is optional."""
    try:
        import torch
    except ImportError as err:
        raise ImportError("TorchEstimator needs PyTorch; install it with: pip install 'fastdistill[torch]'") from err
    return torch
