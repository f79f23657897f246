"""[S] networks with PyTorch: a batch of networks against one network at a time, and the report with all parts."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from fastdistill import cli
from fastdistill.reproduce import networks_images, networks_variance, networks_weights
from tests.test_reproduce_networks import VARIANCE, made_up, rows_of, shorten

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
CE = torch.nn.functional.cross_entropy


@pytest.fixture
def tiny(monkeypatch):
    shorten(monkeypatch)


def module_of(parameters):
    W, a, V, c = (values.clone() for values in parameters)
    network = torch.nn.Sequential(torch.nn.Linear(*W.shape), torch.nn.ReLU(), torch.nn.Linear(*V.shape))
    for layer, weight, bias in ((network[0], W, a), (network[2], V, c)):
        layer.weight.data, layer.bias.data = weight.T.contiguous(), bias[0]
    return network


def gradient(network, X, targets):
    network.zero_grad()
    CE(network(X), targets).backward()
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def alone(method, network, teacher, s, order):
    """One network after the other: losses and mean cosines of the epochs."""
    X, targets = (torch.as_tensor(values, dtype=torch.float32) for values in (s.X, s.targets))
    found = []
    for epoch in range(VARIANCE.epochs):
        if method.renewed and epoch and (epoch - 1) % 2 == 0:
            teacher = copy.deepcopy(network)
        full, weight, cosines = gradient(teacher, X, targets), method.weight(epoch), []
        for rows in torch.as_tensor(order[epoch]).split(10):
            soft = (1 - weight) * targets[rows] + weight * teacher(X[rows]).softmax(dim=1).detach()
            direct = gradient(network, X[rows], soft)
            form = gradient(network, X[rows], targets[rows]) - weight * gradient(teacher, X[rows], targets[rows])
            cosines.append(torch.cosine_similarity(direct, form, dim=0).item())
            move = direct if method.true else form + (weight * full if method.unbiased else 0)
            values = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
            torch.nn.utils.vector_to_parameters(values - 0.01 * (move + 1e-4 * values), network.parameters())
        found.append((CE(network(X), targets).item(), np.mean(cosines)))
    return np.array(found)


def test_a_batch_of_networks_is_one_network_after_the_other():
    samples = [networks_images.sample_of(made_up(), 30, 0, 20, 0.0, seed) for seed in range(2)]
    first = [networks_variance.start(16, 3, seed) for seed in range(4)]
    count = len(networks_variance.METHODS)
    begin, taught = (
        [v.repeat(count, 1, 1) for v in networks_variance.stacked(part)] for part in (first[:2], first[2:])
    )
    _, trace = networks_variance.run(samples, networks_variance.METHODS, begin, taught, VARIANCE, lambda stage: None)
    rng = np.random.default_rng((count, 2))
    orders = [[rng.permutation(30) for _ in samples] for _ in range(VARIANCE.epochs)]
    for m, method in enumerate(networks_variance.METHODS):
        for q, s in enumerate(samples):
            wanted = alone(method, module_of(first[q]), module_of(first[2 + q]), s, [order[q] for order in orders])
            np.testing.assert_allclose(trace.loss[:, m, q], wanted[:, 0], rtol=2e-5, err_msg=method.name)
            np.testing.assert_allclose(trace.cosine[:, m, q], wanted[:, 1], atol=2e-4, err_msg=method.name)


def test_the_network_of_borup_has_the_loss_of_its_authors():
    s = networks_images.sample_of(made_up(), 40, 20, 30, 0.0, 0)
    plan = networks_weights.Plan(40, 20, 30, width=8, epochs=0, batch=20, grid=(0.0, 1.0), seeds=2)
    model = networks_weights.softmax_network(16, 3, plan, 0).fit(s.X, s.labels)
    outputs, targets = torch.randn(4, 3), torch.eye(3)[[0, 1, 2, 0]]
    wanted = torch.nn.functional.mse_loss(outputs.softmax(dim=1), targets)
    assert model.loss(outputs, targets).mean().item() == pytest.approx(wanted.item())
    norms = sum(p.norm().item() for p in model.module_.parameters())
    assert model.penalty(model.module_).item() == pytest.approx(1e-4 * norms)


@pytest.mark.usefixtures("tiny")
def test_with_pytorch_nothing_is_left_out(tmp_path, capsys):
    assert cli.main(["reproduce", "networks", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Left out" not in printed
    assert "softmax outputs" in printed
    assert len(rows_of(tmp_path / "networks-claims.csv")) == 26
    rows = rows_of(tmp_path / "networks-variance.csv")
    assert (tmp_path / "networks-variance.png").is_file()
    assert rows
