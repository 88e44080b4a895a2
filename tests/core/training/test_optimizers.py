"""Optimizers: the weights they update, and restoring a saved state."""

import pytest
import torch

from mlff_core.config import from_dict
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.training import optimizers
from mlff_core.training.optimizer_section import OptimizerSection
from mlff_core.training.optimizers import build_optimizer

KINDS = ("adamw", "soap", "muon")


def network():
    torch.manual_seed(0)
    return PaiNN(PaiNNConfig(elements=(1, 6, 8), hidden=16, n_layers=2, n_radial=8))


def steps(model, optimizer, n, seed):
    """Take steps with gradients that depend on the seed and on the weights."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.grad = 0.1 * parameter.detach() + noise
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_changed(kind):
    pytest.importorskip("pytorch_optimizer")
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    steps(model, build_optimizer(OptimizerSection(kind=kind), model), 3, seed=1)
    for (name, parameter), old in zip(model.named_parameters(), before, strict=True):
        assert not torch.equal(parameter, old), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_continues_to_the_bit(kind, tmp_path):
    pytest.importorskip("pytorch_optimizer")
    section = OptimizerSection(kind=kind, precondition_every=3, block=20, weight_decay=0.01)
    alone, model = network(), network()
    optimizer = build_optimizer(section, alone)
    steps(alone, optimizer, 8, seed=1)
    steps(alone, optimizer, 8, seed=2)
    optimizer = build_optimizer(section, model)
    steps(model, optimizer, 8, seed=1)
    torch.save({"optimizer": optimizer.state_dict(), "model": model.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = network()
    resumed.load_state_dict(saved["model"])
    optimizer = build_optimizer(section, resumed)
    optimizer.load_state_dict(saved["optimizer"])
    steps(resumed, optimizer, 8, seed=2)
    for (name, parameter), other in zip(alone.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(parameter, other), name


@pytest.mark.parametrize(("kind", "lr"), [("adamw", 0.03), ("soap", 0.03), ("muon", 0.15)])
def test_a_badly_scaled_quadratic_is_minimized(kind, lr):
    pytest.importorskip("pytorch_optimizer")
    torch.manual_seed(0)
    layer = torch.nn.Linear(12, 12)
    scales = torch.logspace(0, -3, 12)
    target = torch.randn(12, 12)
    optimizer = build_optimizer(OptimizerSection(kind=kind, lr=lr), layer)
    losses = []
    for step in range(300):
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / 300)
        loss = (((layer.weight - target) * scales) ** 2).sum() + (layer.bias**2).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


def test_muon_leaves_the_embedding_and_small_matrices_to_adamw():
    model = network()
    muon, adamw = build_optimizer(OptimizerSection(kind="muon"), model).members
    left = {id(parameter) for group in adamw.param_groups for parameter in group["params"]}
    assert id(model.embedding.weight) in left
    assert id(model.readout[-1].weight) in left
    assert id(model.updates[0].mix.weight) not in left
    n_parameters = sum(len(group["params"]) for group in muon.param_groups) + len(left)
    assert n_parameters == len(list(model.parameters()))


def test_a_matrix_longer_than_a_block_is_cut_into_equal_blocks_with_their_own_bases():
    pytest.importorskip("pytorch_optimizer")
    layer = torch.nn.Linear(12, 40, bias=False)
    optimizer = build_optimizer(OptimizerSection(kind="soap", block=16), layer)
    steps(layer, optimizer, 2, seed=0)
    bases = [[len(basis) for basis in state["Q"]] for state in optimizer.optimizer.state.values()]
    assert bases == [[13, 12], [13, 12], [14, 12]]


def test_blocks_are_updated_like_separate_matrices():
    pytest.importorskip("pytorch_optimizer")
    whole, upper, lower = torch.nn.Linear(8, 20, bias=False), *(torch.nn.Linear(8, 10, bias=False) for _ in range(2))
    with torch.no_grad():
        whole.weight.copy_(torch.cat([upper.weight, lower.weight]))
    section = OptimizerSection(kind="soap", block=10)
    optimizers = [build_optimizer(section, layer) for layer in (whole, upper, lower)]
    generator = torch.Generator().manual_seed(3)
    for _ in range(15):
        gradient = torch.randn(20, 8, generator=generator)
        whole.weight.grad, upper.weight.grad, lower.weight.grad = gradient, gradient[:10], gradient[10:]
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(whole.weight, torch.cat([upper.weight, lower.weight]), rtol=0, atol=0)


def test_each_kind_has_its_own_decay_rates():
    assert OptimizerSection().betas == (0.9, 0.999)
    assert OptimizerSection(kind="soap").betas == (0.95, 0.95)
    assert from_dict(OptimizerSection, {"kind": "muon", "betas": [0.8, 0.9]}).betas == (0.8, 0.9)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kind": "sgd"}, "kind must be"),
        ({"precondition_every": 0}, "precondition_every must be"),
        ({"block": 0}, "block must be"),
        ({"betas": [0.9, 1.0]}, "betas must lie"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        from_dict(OptimizerSection, setting)


def test_a_missing_library_is_one_line_with_the_command_that_installs_it(monkeypatch):
    def absent(what, requires, hint):
        raise MissingDependencyError(f"{what} cannot be used: {requires[0]} is not installed. Install with: {hint}")

    monkeypatch.setattr(optimizers, "require", absent)
    with pytest.raises(MissingDependencyError, match="pip install pytorch-optimizer"):
        build_optimizer(OptimizerSection(kind="soap"), network())
