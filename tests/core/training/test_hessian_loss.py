"""Rows of Hessians in the loss: a student's rows, the gradient of their loss, and learning from them."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core import load
from mlff_core.config import from_dict
from mlff_core.data.edges import find_edges
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.data.hessian_rows import HessianRows
from mlff_core.data.label import label_structures
from mlff_core.data.loader import BatchConfig, BatchLoader, TrainingBatch
from mlff_core.errors import InputError
from mlff_core.structures.neighbors import edge_vectors
from mlff_core.testing.reference_potential import PairPotential
from mlff_core.training.loss import LossConfig
from mlff_core.training.refusal import refuse
from mlff_core.training.replay import merged
from mlff_core.training.settings import ModelSection
from mlff_core.training.start import starting_model
from mlff_core.training.step import GradientStep
from mlff_core.training.trainer import TrainConfig, Trainer

CONFIG = LossConfig(kind="mse", energy_weight=1.0, forces_weight=1.0, hessian_weight=0.1)


@pytest.fixture(name="with_rows", scope="module")
def fixture_with_rows(morse_set, tmp_path_factory):
    """Molecules labelled by a pair potential, every second one with two rows."""
    with Dataset(morse_set) as data:
        structures = []
        for k, structure in enumerate(data.structures()):
            teacher = PairPotential(dtype=torch.float64)
            structures += label_structures(teacher, [structure], hessian_rows=2 * (k % 2)).structures
    path = tmp_path_factory.mktemp("rows") / "rows.h5"
    write_dataset(path, structures, teacher={"name": "pair-potential"}, license="CC0-1.0")
    return path


@pytest.fixture(name="example")
def fixture_example(with_rows):
    data = Dataset(with_rows)
    model, _ = starting_model(ModelSection(preset="ultra-tiny", hidden=8), data, np.arange(48), seed=3)
    item = next(BatchLoader(data, np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=1).epoch(0))
    assert 0 < len(item.labels.hessian.system) < 2 * len(item.labels.energy)
    return model, item


def test_a_batch_that_is_refused_is_saved_with_its_rows_charges_and_multiplicities(example, tmp_path):
    _, item = example
    labels = item.labels
    n = labels.batch.n_systems
    batch = replace(labels.batch, charge=torch.zeros(n), spin_multiplicity=torch.ones(n, dtype=torch.int64))
    with pytest.raises(InputError, match=r"must be finite, got loss nan at step 7"):
        refuse(replace(labels, batch=batch), {"loss": float("nan")}, 7, tmp_path, rank=0)
    saved = torch.load(tmp_path / "bad_batch.pt", weights_only=True)
    geometry = {"positions", "atomic_numbers", "cell", "pbc", "system_idx", "charge", "spin_multiplicity"}
    rows = {"hessian_system", "hessian_direction", "hessian_product"}
    assert set(saved) == geometry | rows | {"energy", "forces", "index"}
    assert torch.equal(saved["hessian_product"], labels.hessian.product)
    assert torch.equal(saved["charge"], batch.charge)
    assert torch.equal(saved["positions"], batch.positions)


def gradient(model, item, kind, config=CONFIG):
    model.zero_grad()
    values = GradientStep(model, config, kind, contextlib.nullcontext)(item, dict)
    return values, weight_gradients(model)


def weight_gradients(model):
    """The gradient in all weights; None for a shift of all energies, which changes no force."""
    found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return torch.cat([derivative.detach().double().reshape(-1) for derivative in found])


def exact_rows(model, item):
    """H·v of the labelled rows by automatic differentiation, differentiable in the weights; shape (n, 3), eV/Å²."""
    batch, edges, rows = item.labels.batch, item.edges, item.labels.hessian
    positions = batch.positions.clone().requires_grad_()
    vectors = edge_vectors(replace(batch, positions=positions), edges)
    energy = model(batch.atomic_numbers, vectors, edges.centers, edges.neighbors).sum()
    (derivative,) = torch.autograd.grad(energy, positions, create_graph=True)
    found, begin = [], 0
    for system in rows.system.tolist():
        mine = (batch.system_idx == system).nonzero().squeeze(1)
        v = rows.direction[begin : begin + len(mine)]
        (product,) = torch.autograd.grad((derivative[mine] * v).sum(), positions, create_graph=True)
        found.append(product[mine])
        begin += len(mine)
    return torch.cat(found)


@pytest.mark.parametrize("kind", ["double-backward", "kernel"])
def test_the_loss_of_rows_and_its_gradient_are_those_of_the_exact_hessian(example, kind):
    model, item = example
    model, item = model.double(), item.to(torch.device("cpu"), torch.float64)
    only = replace(CONFIG, energy_weight=0.0, forces_weight=0.0, hessian_weight=1.0)
    values, found = gradient(model, item, kind, only)
    model.zero_grad()
    loss = (exact_rows(model, item) - item.labels.hessian.product).square().mean()
    loss.backward()
    exact = weight_gradients(model)
    assert float(values["hessian"]) == pytest.approx(float(loss.detach()), rel=2e-2)
    assert float((found - exact).norm()) < 2e-2 * float(exact.norm())


def test_the_kernel_in_float32_has_the_gradient_of_double_backward_in_float64(example):
    model, item = example
    _, found = gradient(model, item, "kernel")
    _, exact = gradient(model.double(), item.to(torch.device("cpu"), torch.float64), "double-backward")
    assert float((found - exact).norm()) < 3e-2 * float(exact.norm())


def test_rows_change_no_other_term(example):
    model, item = example
    with_rows, _ = gradient(model, item, "double-backward")
    without, _ = gradient(model, item, "double-backward", replace(CONFIG, hessian_weight=0.0))
    assert "hessian" not in without
    for name in ("energy", "forces"):
        assert float(with_rows[name]) == pytest.approx(float(without[name]), rel=1e-5)


def test_rows_of_replayed_structures_follow_their_structures(example):
    _, item = example
    rows = item.labels.hessian
    none = TrainingBatch(replace(item.labels, hessian=None), item.edges, item.position)
    both = merged(none, item, 1.0).labels.hessian
    assert isinstance(both, HessianRows)
    assert both.system.tolist() == (rows.system + len(item.labels.energy)).tolist()
    assert merged(none, none, 1.0).labels.hessian is None


def test_a_student_trained_on_rows_has_the_curvature_of_its_teacher(with_rows, settings):
    data = Dataset(with_rows)
    labels = data.read(data.indices("validation"))
    item = TrainingBatch(labels, find_edges(labels.batch, 5.0), 0).to(torch.device("cpu"), torch.float64)
    config = settings(
        step="kernel",
        data={"path": str(with_rows)},
        loss={"kind": "mse", "forces_weight": 0.1, "hessian_weight": 1.0},
        stop={"max_steps": 120},
        log={"validate_every_steps": 120},
    )
    result = Trainer(config).fit()
    losses = [row["loss_hessian"] for row in result.history if "loss_hessian" in row]
    assert losses[-1] < 0.5 * losses[0], losses
    # Also on molecules outside the training set: better than a student without curvature.
    found = exact_rows(load(result.model, device="cpu").model.double().requires_grad_(), item).detach()
    wanted = item.labels.hessian.product
    assert float((found - wanted).square().mean()) < 0.5 * float(wanted.square().mean())


def test_a_step_that_cannot_train_on_rows_names_those_that_can(with_rows):
    plain = {"data": {"path": str(with_rows)}, "step": "finite-difference", "loss": {"hessian_weight": 1.0}}
    with pytest.raises(InputError, match="step must be auto, double-backward, compiled or kernel"):
        from_dict(TrainConfig, plain)
