"""The step by the CPU kernel has the gradient of double backward, and trains like it."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core.config import load_config
from mlff_core.data.edges import find_edges
from mlff_core.data.hdf5 import Dataset
from mlff_core.data.loader import BatchConfig, BatchLoader, TrainingBatch
from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.kernels import build
from mlff_core.models.checkpoint import load_checkpoint
from mlff_core.structures.batch import concatenate, single
from mlff_core.training.kernel_step import KernelGradient
from mlff_core.training.loss import LossConfig
from mlff_core.training.monitor import validate
from mlff_core.training.progress import Reporter
from mlff_core.training.settings import ModelSection
from mlff_core.training.start import starting_model
from mlff_core.training.state import read_state
from mlff_core.training.step import GradientStep
from mlff_core.training.trainer import TrainConfig, Trainer


def gradient(model, item, kind, config):
    model.zero_grad()
    values = GradientStep(model, config, kind, contextlib.nullcontext)(item, dict)
    # A shift of all energies has no gradient if only forces are learned.
    gradients = [parameter.grad if parameter.grad is not None else 0 * parameter for parameter in model.parameters()]
    return values, torch.cat([gradient.detach().double().reshape(-1) for gradient in gradients])


def assert_like_double_backward(model, item, config, relative):
    """Compare with the gradient of ``model`` in float64 by double backward."""
    values, found = gradient(model, item, "kernel", config)
    same, exact = gradient(model.double(), item.to(torch.device("cpu"), torch.float64), "double-backward", config)
    assert set(values) == set(same)
    for name, value in same.items():
        assert float(values[name]) == pytest.approx(float(value), rel=max(relative, 1e-6))
    assert float(exact.norm()) > 0
    assert float((found - exact).norm()) < relative * float(exact.norm())
    assert float(found @ exact) > (1 - relative**2) * float(found.norm() * exact.norm())


@pytest.fixture
def example(morse_set):
    """A network that has learned for a few steps, and a batch."""
    dataset = Dataset(morse_set)
    model, _ = starting_model(ModelSection(preset="ultra-tiny"), dataset, np.arange(48), seed=3)
    loader = BatchLoader(dataset, np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=1)
    step = GradientStep(model, LossConfig(), "kernel", contextlib.nullcontext)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for item in loader.epoch(0):
        optimizer.zero_grad()
        step(item, dict)
        optimizer.step()
    return model, next(loader.epoch(1))


@pytest.mark.parametrize("kind", ["huber", "mse", "mae"])
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-5), (torch.float32, 5e-3)])
def test_the_gradient_is_that_of_double_backward(example, dtype, relative, kind):
    model, item = example
    assert_like_double_backward(model.to(dtype), item.to(torch.device("cpu"), dtype), LossConfig(kind=kind), relative)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_energies_alone_and_forces_alone_have_the_gradient_too(example, weights):
    model, item = example
    config = LossConfig(energy_weight=weights[0], forces_weight=weights[1])
    assert_like_double_backward(model.double(), item.to(torch.device("cpu"), torch.float64), config, 1e-5)


def test_atomic_energies_have_the_gradient_too(morse_set_with_atom_energies):
    dataset = Dataset(morse_set_with_atom_energies)
    model, _ = starting_model(ModelSection(preset="ultra-tiny", hidden=8), dataset, np.arange(48), seed=3)
    item = next(BatchLoader(dataset, np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=1).epoch(0))
    config = LossConfig(atom_energies_weight=1.0)
    assert_like_double_backward(model.double(), item.to(torch.device("cpu"), torch.float64), config, 1e-5)


@pytest.mark.parametrize("forces_weight", [0.0, 1.0])
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-5), (torch.float32, 5e-3)])
def test_stresses_have_the_gradient_too(example, dtype, relative, forces_weight):
    model, _ = example
    rng = np.random.default_rng(0)
    cell = np.array([[5.9, 0.4, -0.3], [-1.1, 6.3, 0.5], [0.7, 1.3, 6.8]])
    points = np.stack(np.meshgrid(*[[0.1, 0.6]] * 3), axis=-1).reshape(-1, 3) @ cell + rng.normal(0, 0.2, (8, 3))
    crystal = single(points, [1, 6, 8, 1, 6, 8, 1, 6], cell, True, dtype=torch.float64)
    molecule = single([[0, 0, 0], [0.96, 0, 0.1], [-0.24, 0.93, 0]], [8, 1, 1], dtype=torch.float64)
    both = concatenate([molecule, crystal])
    labels = LabelledBatch(
        batch=both,
        energy=torch.tensor([-100.0, -400.0], dtype=torch.float64),
        forces=torch.tensor(rng.normal(0, 0.5, (both.n_atoms, 3))),
        index=torch.arange(2),
        stress=torch.tensor(rng.normal(0, 0.02, (2, 3, 3))),
    )
    item = TrainingBatch(labels, find_edges(both, 5.0), 2).to(torch.device("cpu"), dtype)
    config = LossConfig(kind="mse", energy_weight=1e-3, forces_weight=forces_weight, stress_weight=100.0)
    assert_like_double_backward(model.to(dtype), item, config, relative)


def test_atoms_without_a_gradient_are_allowed(example):
    model, _ = example
    alone = single([[0.0, 0, 0]], [6], dtype=torch.float32)
    pair = single([[0.0, 0, 0], [1.1, 0, 0]], [6, 1], dtype=torch.float32)
    both = concatenate([alone, pair])
    labels = LabelledBatch(both, torch.zeros(2, dtype=torch.float64), torch.zeros(3, 3), torch.arange(2))
    item = TrainingBatch(labels, find_edges(both, 5.0), 2)
    assert_like_double_backward(model, item, LossConfig(), 5e-3)


def test_validation_by_the_kernel_finds_the_same_errors(example, morse_set):
    model, _ = example
    loader = BatchLoader(Dataset(morse_set), np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=None)
    slow = validate(model, loader.epoch(0), LossConfig())
    fast = validate(model, loader.epoch(0), LossConfig(), by_kernel=True)
    assert fast == pytest.approx(slow, rel=1e-3)


@pytest.fixture(name="kernel_settings")
def fixture_kernel_settings(settings):
    """Make the settings of a short run by the kernel, with changes."""

    def make(**changes):
        log = {"every_steps": 10, "validate_every_steps": 15}
        return settings(**{"step": "kernel", "stop": {"max_steps": 30}, "log": log, **changes})

    return make


def test_the_loss_falls_as_it_does_by_double_backward(kernel_settings, tmp_path):
    curves = {}
    for step, precision in (("double-backward", "float64"), ("kernel", "float64"), ("kernel", "float32")):
        more = {"stop": {"max_steps": 200}, "log": {"every_steps": 1, "validate_every_steps": 50}}
        out = str(tmp_path / f"{step}-{precision}")
        rows = Trainer(kernel_settings(step=step, precision=precision, out=out, **more)).fit().history
        curves[step, precision] = [[row[key] for row in rows if key in row] for key in ("loss", "val_loss")]
    losses, validation = curves["double-backward", "float64"]
    assert validation[-1] < 0.1 * losses[0]
    exact_losses, exact_validation = curves["kernel", "float64"]
    assert exact_losses[:50] == pytest.approx(losses[:50], rel=1e-3)
    assert exact_validation == pytest.approx(validation, rel=0.05)
    # Rounding errors grow during training; how much is learned does not depend on them.
    short_losses, short_validation = curves["kernel", "float32"]
    assert short_losses[:10] == pytest.approx(losses[:10], rel=1e-3)
    assert np.mean(short_losses[-50:]) == pytest.approx(np.mean(losses[-50:]), rel=0.3)
    assert short_validation[-1] < 0.1 * losses[0]


def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_weights(kernel_settings, tmp_path):
    class Stopper(Reporter):
        def step(self, step, progress, values, rate, seconds_left):
            if step == 13:
                trainer.request_stop()

    def weights(out):
        state = read_state(out / "state.pt")
        return torch.cat([value.reshape(-1).double() for key in ("model", "average") for value in state[key].values()])

    alone = Trainer(kernel_settings(out=str(tmp_path / "alone"))).fit()
    trainer = Trainer(kernel_settings(), Stopper())
    assert trainer.fit().steps == 13
    resumed = Trainer(kernel_settings()).fit(resume=True)
    assert resumed.steps == alone.steps == 30
    assert torch.equal(weights(alone.out), weights(resumed.out))


def test_training_in_float64_works(kernel_settings):
    result = Trainer(kernel_settings(precision="float64")).fit()
    assert math.isfinite(result.metrics["loss"])


def test_precisions_and_devices_without_the_kernel_are_refused(kernel_settings):
    with pytest.raises(InputError, match="precision must be float32 or float64 with step = 'kernel', got 'bf16'"):
        kernel_settings(precision="bf16")
    with pytest.raises(InputError, match="step = 'kernel' needs device = 'cpu', got meta"):
        Trainer(kernel_settings(device="meta"))


@pytest.mark.parametrize(
    ("precision", "kind"), [("float32", "kernel"), ("float64", "kernel"), ("bf16", "double-backward")]
)
def test_by_default_a_run_uses_the_kernel_if_it_supports_the_precision(kernel_settings, precision, kind):
    assert TrainConfig.__dataclass_fields__["step"].default == "auto"
    result = Trainer(kernel_settings(step="auto", precision=precision, stop={"max_steps": 3})).fit()
    _, card = load_checkpoint(result.model)
    assert card.training["step"] == kind
    assert load_config(TrainConfig, result.out / "config.toml").step == "auto"


def test_a_run_without_the_kernel_reports_why_and_ends_with_a_model(kernel_settings, monkeypatch, tmp_path):
    class Listener(Reporter):
        heard = ()

        def message(self, text):
            self.heard += (text,)

    monkeypatch.setattr(build, "installed_library", lambda: tmp_path / "none.so")
    monkeypatch.setenv("MLFF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    listener = Listener()
    result = Trainer(kernel_settings(step="auto", stop={"max_steps": 3}), listener).fit()
    assert load_checkpoint(result.model)[1].training["step"] == "double-backward"
    assert len(listener.heard) == 1
    assert "several times as long as with the CPU kernel: no C++ compiler was found" in listener.heard[0]
    with pytest.raises(MissingDependencyError, match=r"no C\+\+ compiler was found"):
        Trainer(kernel_settings(step="kernel")).fit(resume=False)


def test_the_smallest_gradient_gives_finite_displacements(example):
    model, item = example
    kernel = KernelGradient(model)
    kernel.kernel.refresh()
    _, leaves = kernel.outputs(item, stress=False)
    model.zero_grad()
    kernel.add_gradient(item, [torch.zeros_like(leaves[0]), torch.full_like(leaves[1], 1e-44)])
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_a_loss_that_is_not_finite_is_returned_without_a_gradient(example):
    model, item = example
    forces = item.labels.forces.clone()
    forces[0, 0] = math.inf
    wrong = TrainingBatch(replace(item.labels, forces=forces), item.edges, item.position)
    model.zero_grad()
    values = GradientStep(model, LossConfig(), "kernel", contextlib.nullcontext)(wrong, dict)
    assert not math.isfinite(values["loss"])
