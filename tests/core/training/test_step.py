from __future__ import annotations

import contextlib
import functools
import itertools

import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import Dataset
from mlff_core.data.loader import BatchConfig, BatchLoader
from mlff_core.training.loss import LossConfig
from mlff_core.training.settings import ModelSection
from mlff_core.training.start import starting_model
from mlff_core.training.step import GradientStep


def _gradient(path, kind, config, dtype=torch.float64, **changes):
    dataset = Dataset(path)
    section = ModelSection(preset="ultra-tiny", **{"hidden": 8, **changes})
    model, _ = starting_model(section, dataset, np.arange(48), seed=3)
    model = model.to(dtype)
    batches = BatchLoader(dataset, np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=1).epoch(0)
    step = GradientStep(model, config, kind, contextlib.nullcontext)
    values = step(next(batches).to(torch.device("cpu"), dtype), dict)
    return values, torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None]), model, step


def test_the_gradient_is_the_finite_difference_of_the_loss(morse_set):
    config = LossConfig(kind="huber")
    _, gradient, model, step = _gradient(morse_set, "double-backward", config)
    weight = model.readout[0].weight
    item = next(BatchLoader(Dataset(morse_set), np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=1).epoch(0))
    item = item.to(torch.device("cpu"), torch.float64)
    analytic = float(weight.grad[0, 1])
    losses = []
    for shift in (1e-4, -2e-4):
        with torch.no_grad():
            weight[0, 1] += shift
        losses.append(float(step(item, dict)["loss"]))
    assert len(gradient) == sum(p.numel() for p in model.parameters())
    assert (losses[0] - losses[1]) / 2e-4 == pytest.approx(analytic, rel=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-3), (torch.float32, 5e-3)])
def test_a_finite_difference_gives_the_gradient_of_double_backward(morse_set, dtype, tolerance):
    config = LossConfig(kind="mse")
    values, exact, _, _ = _gradient(morse_set, "double-backward", config, dtype)
    same, close, _, _ = _gradient(morse_set, "finite-difference", config, dtype)
    assert float(same["loss"]) == pytest.approx(float(values["loss"]), rel=1e-6)
    assert float((close - exact).norm() / exact.norm()) < tolerance


def test_atomic_energies_have_the_gradient_too(morse_set_with_atom_energies):
    config = LossConfig(kind="mse", forces_weight=0.0, energy_weight=0.0, atom_energies_weight=1.0)
    values, exact, _, _ = _gradient(morse_set_with_atom_energies, "double-backward", config)
    _, close, _, _ = _gradient(morse_set_with_atom_energies, "finite-difference", config)
    assert set(values) == {"loss", "atom_energies"}
    assert float(exact.norm()) > 0
    assert float((close - exact).norm() / exact.norm()) < 1e-3


@pytest.mark.parametrize(
    ("backend", "n_layers"),
    [
        ("aot_eager", 1),  # all steps except generating machine code
        pytest.param("inductor", 3, marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(1800)  # compiling takes many minutes on a busy machine
def test_the_compiled_step_gives_the_gradient_of_double_backward_for_any_size(
    morse_set, monkeypatch, backend, n_layers
):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    config = LossConfig()
    _, exact, _, step = _gradient(morse_set, "double-backward", config, n_layers=n_layers)
    _, same, _, compiled = _gradient(morse_set, "compiled", config, n_layers=n_layers)
    assert float((same - exact).norm() / exact.norm()) < 1e-6
    loader = BatchLoader(Dataset(morse_set), np.arange(48), 5.0, BatchConfig(atoms=24, prefetch=0), seed=2)
    for item in itertools.islice(loader.epoch(0), 4):
        gradients = []
        for each in (step, compiled):
            each.model.zero_grad()
            each(item.to(torch.device("cpu"), torch.float64), dict)
            gradients.append(torch.cat([p.grad.reshape(-1) for p in each.model.parameters()]))
        assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 1e-6
