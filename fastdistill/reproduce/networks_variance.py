"""[S] A network of one hidden layer with a teacher: gradient cosine, schedules of the weight, SVRG, repeated teachers.

    x ← x − γ (g + decay x),    g = ∇[(1 − λ) CE(b) + λ CE(θ's softmax)]    or    ∇f_B(x) − λ ∇f_B(θ) [+ λ ∇f(θ)]

On a linear model the two gradients are equal. On this one they are not: the second carries the teacher's Jacobian. How
close they are, as the cosine of the angle between them on each batch, is the question of the paper.

Settings of the authors' script: 784–100–10 ReLU, step γ = 0.01, weight decay 10⁻⁴, batches of 10, 50 epochs, λ = 0.7,
temperature 1; teachers of SVRG and of repeated distillation are taken every second epoch, from the second on.

==================================  ==========================================
paper [S]                           here
==================================  ==========================================
λ, of an epoch                      `Method.weight`
θ                                   ``teacher``, plain SGD from other weights
∇f_B(x) − λ ∇f_B(θ)                 ``form``
==================================  ==========================================

All methods and seeds run as one batch of networks, with PyTorch's gradients: tensors carry an axis of networks Q. Cost:
three gradients for each network and batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastdistill.pages import figures
from fastdistill.pages.parts import Picture, Progress, Table, plain_table, stacked_data
from fastdistill.reproduce.data import Images
from fastdistill.reproduce.networks_images import Sample, exceeds, sample_of, spread
from fastdistill.reproduce.networks_rounds import YES

STEP, DECAY, BATCH, WIDTH, EPOCHS = 0.01, 1e-4, 10, 100, 50
WEIGHT, LARGEST = 0.7, 0.9
SHRINK, GROW = 0.9, 1.047  # of λ with every epoch
EVERY = 2  # epochs between teachers of SVRG and repeated distillation
LATE = 5  # last epochs that a result is the mean of
CLOSE = 0.5  # a cosine that counts as close, as for deep linear students


@dataclass(frozen=True)
class Plan:
    """Sizes of the experiment."""

    n_train: int
    n_test: int
    seeds: int
    epochs: int = EPOCHS


SMALL = Plan(300, 1000, 3)
FULL = Plan(8000, 2000, 3)


class Method(NamedTuple):
    """How a student moves: its λ in each epoch, by the true gradient or by the form of the theory, and its teachers."""

    name: str
    weight: Callable[[int], float]
    true: bool = False  # follows the gradient of the distillation loss itself
    unbiased: bool = False  # adds λ ∇f(θ)
    renewed: bool = False  # its teacher is the student of every second epoch


def _constant(epoch: int) -> float:
    return WEIGHT


METHODS = (
    Method("SGD", lambda epoch: 0.0),
    Method("KD", _constant, true=True),
    Method("KD, form of the theory", _constant),
    Method("the same, λ × 0.9", lambda epoch: WEIGHT * SHRINK**epoch),
    Method("the same, λ × 1.047", lambda epoch: min(WEIGHT * GROW**epoch, LARGEST)),
    Method("SVRG", lambda epoch: 1.0 if epoch else 0.0, unbiased=True, renewed=True),
    Method("repeated KD", lambda epoch: WEIGHT if epoch else 0.0, true=True, renewed=True),
)
BY_LOSS, BY_FORM, SVRG, REPEATED = 1, 2, 5, 6  # their places


class Trace(NamedTuple):
    """Training loss, test accuracy and mean cosine of the gradients of a batch, each (epochs, methods, seeds)."""

    loss: np.ndarray
    accuracy: np.ndarray
    cosine: np.ndarray

    def late(self, name: str) -> np.ndarray:
        """Means (methods, seeds) of the last epochs."""
        return getattr(self, name)[-LATE:].mean(axis=0)


class Study(NamedTuple):
    """The teachers' and the students' runs."""

    teacher: Trace
    students: Trace


def study(images: Images, plan: Plan, progress: Progress) -> Study:
    """Teachers by plain SGD, then every method from other first weights."""
    samples = [sample_of(images, plan.n_train, 0, plan.n_test, 0.0, seed) for seed in range(plan.seeds)]
    p, n_classes = samples[0].X.shape[1], samples[0].n_classes
    first = [start(p, n_classes, seed) for seed in range(2 * plan.seeds)]
    progress("networks: teachers by plain SGD")
    teacher, found = run(samples, METHODS[:1], stacked(first[: plan.seeds]), None, plan, progress)
    begin, taught = (
        [values.repeat(len(METHODS), 1, 1) for values in each] for each in (stacked(first[plan.seeds :]), teacher)
    )
    progress("networks: students of all methods")
    _, students = run(samples, METHODS, begin, taught, plan, progress)
    return Study(found, students)


def start(p: int, n_classes: int, seed: int) -> list[Any]:
    """First weights and biases of PyTorch's linear layers."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = torch.nn.Linear(p, WIDTH), torch.nn.Linear(WIDTH, n_classes)
    return [values for layer in layers for values in (layer.weight.detach().T, layer.bias.detach()[None])]


def stacked(networks: list[list[Any]]) -> list[Any]:
    """Parameters of several networks with an axis in front."""
    import torch

    return [torch.stack(values) for values in zip(*networks, strict=True)]


def outputs(parameters: list[Any], X: Any) -> Any:
    """Logits (Q, b, C) of Q networks for their rows (Q, b, p)."""
    W, a, V, c = parameters
    return (X @ W + a).relu() @ V + c


def losses(parameters: list[Any], X: Any, targets: Any) -> Any:
    """Mean cross-entropy (Q,) with rows of probabilities (Q, b, C)."""
    return -(targets * outputs(parameters, X).log_softmax(dim=-1)).sum(dim=-1).mean(dim=-1)


def gradients(parameters: list[Any], X: Any, targets: Any) -> list[Any]:
    """Of each network's own loss; the sum over networks has them side by side."""
    import torch

    leaves = [values.detach().requires_grad_() for values in parameters]
    return list(torch.autograd.grad(losses(leaves, X, targets).sum(), leaves))


def directions(
    parameters: list[Any], teacher: list[Any], X: Any, labels: Any, weight: Any
) -> tuple[list[Any], list[Any]]:
    """The gradient of the distillation loss, and ∇f(x) − λ ∇f(θ): three gradients in one pass."""
    import torch

    soft = (1 - weight) * labels + weight * outputs(teacher, X).softmax(dim=-1)
    networks = [torch.cat([x, x, t]) for x, t in zip(parameters, teacher, strict=True)]
    found = gradients(networks, torch.cat([X, X, X]), torch.cat([soft, labels, labels]))
    direct, plain, taught = zip(*(each.chunk(3) for each in found), strict=True)
    return list(direct), [g - weight * t for g, t in zip(plain, taught, strict=True)]


def flat(parts: list[Any]) -> Any:
    """Gradients as (Q, number of parameters)."""
    import torch

    return torch.cat([part.flatten(1) for part in parts], dim=1)


def run(
    samples: list[Sample],
    methods: tuple[Method, ...],
    parameters: list[Any],
    teacher: Any,
    plan: Plan,
    progress: Progress,
) -> tuple[list[Any], Trace]:
    """Train every method on every sample; networks are ordered by method, then seed."""
    import torch

    count, seeds = len(methods), len(samples)
    data = [
        torch.as_tensor(np.stack([getattr(s, name) for s in samples]), dtype=torch.float32)
        for name in ("X", "targets", "test_X")
    ]
    X, targets, test_X = (values.repeat(count, 1, 1) for values in data)
    test_labels = torch.as_tensor(np.stack([s.test_labels for s in samples])).repeat(count, 1)
    true, unbiased, renewed = (_flags(methods, name, seeds) for name in ("true", "unbiased", "renewed"))
    teacher = [values.clone() for values in (parameters if teacher is None else teacher)]
    full = gradients(teacher, X, targets)
    rng = np.random.default_rng((count, seeds))
    records: dict[str, list[Any]] = {"loss": [], "accuracy": [], "cosine": []}
    for epoch in range(plan.epochs):
        progress(f"networks: epoch {epoch + 1} of {plan.epochs}")
        if epoch and (epoch - 1) % EVERY == 0 and bool(renewed.any()):
            teacher = [torch.where(renewed, x, t) for x, t in zip(parameters, teacher, strict=True)]
            full = gradients(teacher, X, targets)
        weight = torch.tensor([m.weight(epoch) for m in methods]).repeat_interleave(seeds)[:, None, None]
        orders = torch.as_tensor(np.stack([rng.permutation(plan.n_train) for _ in samples])).repeat(count, 1)
        cosines = []
        for rows in orders.split(BATCH, dim=1):
            batch, labels = (
                values.gather(1, rows[..., None].expand(-1, -1, values.shape[2])) for values in (X, targets)
            )
            direct, form = directions(parameters, teacher, batch, labels, weight)
            cosines.append(torch.nn.functional.cosine_similarity(flat(direct), flat(form), dim=1))
            unbiased_form = (f + unbiased * weight * mean for f, mean in zip(form, full, strict=True))
            moves = (torch.where(true, d, f) for d, f in zip(direct, unbiased_form, strict=True))
            parameters = [x - STEP * (g + DECAY * x) for x, g in zip(parameters, moves, strict=True)]
        right = (outputs(parameters, test_X).argmax(dim=-1) == test_labels).double().mean(dim=1)
        for name, values in zip(
            records, (losses(parameters, X, targets), right, torch.stack(cosines).mean(0)), strict=True
        ):
            records[name].append(values.numpy().reshape(count, seeds))
    return parameters, Trace(**{name: np.array(values) for name, values in records.items()})


def _flags(methods: tuple[Method, ...], name: str, seeds: int) -> Any:
    import torch

    return torch.tensor([getattr(m, name) for m in methods]).repeat_interleave(seeds)[:, None, None]


def table(found: Study, plan: Plan) -> Table:
    """Each method at the end of its run."""
    loss, right, cosine = (found.students.late(name) for name in ("loss", "accuracy", "cosine"))
    rows: list[tuple[Any, ...]] = [
        (
            "teacher: SGD",
            *_mean_and_deviation(found.teacher.late("loss")[0]),
            None,
            None,
            spread(found.teacher.late("accuracy")[0]),
            None,
            None,
        )
    ]
    for m, method in enumerate(METHODS):
        shown = m not in (0, SVRG)  # SGD has no teacher; the step of SVRG is none of a distillation loss
        cosines = (float(cosine[m].mean()), float(found.students.cosine[:, m].min())) if shown else (None, None)
        ratio = _mean_and_deviation(loss[m] / loss[0])
        rows.append((method.name, *_mean_and_deviation(loss[m]), *ratio, spread(right[m]), *cosines))
    columns = (
        "method",
        "training loss",
        "± loss",
        "in that of SGD",
        "± ratio",
        "test accuracy",
        "cosine, at the end",
        "least of an epoch",
    )
    return plain_table(
        "variance",
        "[S] A ReLU network with a teacher: training loss, and cosine of the true gradient and ∇f(x) − λ ∇f(θ)",
        columns,
        rows,
        (
            f"Means of the last {LATE} of {plan.epochs} epochs; ± is the standard deviation over {plan.seeds} seeds. "
            f"{plan.n_train} training images, {WIDTH} hidden units, step {STEP:g}, weight decay {DECAY:g}, batches of "
            f"{BATCH}, λ = {WEIGHT:g}, temperature 1. The teacher is plain SGD of as many epochs from other first "
            "weights.",
            f"λ × {SHRINK:g} and λ × {GROW:g} (to {LARGEST:g} at most) with every epoch, from {WEIGHT:g} on, which is "
            "our choice; SVRG with λ = 1. KD and repeated KD follow the gradient of the distillation loss, the others "
            "the form of the theory.",
            f"The authors train on 60 000 images: as many epochs on {plan.n_train} are fewer steps, and the training "
            "loss may still be falling where theirs has settled.",
        ),
    )


def _mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1))


def claims(found: Study) -> Iterator[tuple[str, str, str]]:
    """What [S] claims of networks."""
    cosine, loss = found.students.late("cosine"), found.students.late("loss")
    for m in (BY_LOSS, BY_FORM):
        text = f"mean cosine {cosine[m].mean():.3f} ± {cosine[m].std(ddof=1):.3f} at the end"
        yield (
            f"[S] {METHODS[m].name}: the theory's gradient stays close to the true one (above {CLOSE:g})",
            text,
            YES[bool(cosine[m].min() > CLOSE)],
        )
    for m in (BY_LOSS, BY_FORM, SVRG, REPEATED):
        ratio = loss[m] / loss[0]
        text = f"{ratio.mean():.3f} ± {ratio.std(ddof=1):.3f} of the loss of SGD at the end"
        yield f"[S] {METHODS[m].name}: lowers the training loss of SGD", text, YES[exceeds(1 - ratio)]


def picture(found: Study) -> Picture:
    """Training loss and cosine against the epoch."""
    figure, (left, right) = figures.panels(1, 2, 11.0, 4.6)
    epochs = np.arange(1, len(found.students.loss) + 1)
    for m, (method, colour) in enumerate(zip(METHODS, figures.shades(len(METHODS)), strict=True)):
        left.semilogy(epochs, found.students.loss[:, m].mean(axis=1), color=colour, label=method.name)
        if m in (BY_LOSS, BY_FORM):
            right.plot(epochs, found.students.cosine[:, m].mean(axis=1), color=colour, label=method.name)
    figures.label(left, "Training loss", "epoch", "cross-entropy")
    figures.label(right, "Cosine of the two gradients", "epoch", "mean over the batches")
    figures.legend_below(figure, left, 4)
    by_loss, by_form = (found.students.late("cosine")[m].mean() for m in (BY_LOSS, BY_FORM))
    return Picture(
        "variance",
        "[S] Training loss and gradient cosine of a ReLU network",
        "its theory is of linear models; whether its gradient resembles the true one on networks is measured.",
        f"at the end cosines of {by_loss:.2f} along KD and {by_form:.2f} along the form of the theory.",
        figure,
        stacked_data(
            [
                {
                    "method": np.full(len(epochs), method.name),
                    "epoch": epochs,
                    "loss": found.students.loss[:, m].mean(axis=1),
                    "accuracy": found.students.accuracy[:, m].mean(axis=1),
                    "cosine": found.students.cosine[:, m].mean(axis=1),
                }
                for m, method in enumerate(METHODS)
            ]
        ),
    )
