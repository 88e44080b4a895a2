"""Charges and dipoles are learned together with forces, by every step that serves them."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core import load
from mlff_core.data.convert import convert
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.loader import BatchConfig, BatchLoader
from mlff_core.data.memory import Rows
from mlff_core.data.sampling.strategy import at
from mlff_core.errors import InputError
from mlff_core.model.charges import ChargeReadout
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.potentials.read_charges import ChargeWarning
from mlff_core.structures.dipole import dipoles
from mlff_core.training.loss import LossConfig, Outputs, errors
from mlff_core.training.progress import Reporter
from mlff_core.training.settings import ModelSection
from mlff_core.training.start import starting_model, with_charges
from mlff_core.training.step import GradientStep
from mlff_core.training.trainer import Trainer


def charges_of(structure: LabelledStructure) -> np.ndarray:
    """Charges that pairs of unlike atoms hand over, so that they sum to zero, shape (n_atoms,), e."""
    positions, numbers = structure.positions.astype(float), structure.atomic_numbers.astype(float)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    return 0.05 * ((numbers[None] - numbers[:, None]) * np.exp(-distances)).sum(axis=1)


@pytest.fixture(scope="module")
def charged_set(morse_set, tmp_path_factory):
    """The set of Morse pairs with charges and dipoles."""
    with Dataset(morse_set) as dataset:
        made = []
        for structure in dataset.structures():
            charges = charges_of(structure)
            from mlff_core.data.structure import batch_from_structures

            batch = batch_from_structures([structure], dtype=torch.float64)
            dipole = dipoles(batch, torch.from_numpy(charges))[0].numpy()
            made.append(replace(structure, charges=charges.astype(np.float32), dipole=dipole.astype(np.float32)))
    path = tmp_path_factory.mktemp("charged") / "charged.h5"
    write_dataset(path, made, teacher={"name": "pairs", "licence": "MIT"})
    return path


def test_labels_come_back_from_the_file_and_from_memory(charged_set):
    dataset = Dataset(charged_set)
    first, third = dataset.structure(0), dataset.structure(3)
    np.testing.assert_allclose(third.charges, charges_of(third), atol=1e-6)
    read = dataset.read([3, 0])
    kept = Rows(dataset, np.arange(len(dataset))).gather(np.array([3, 0]))
    for labels in (read, kept):
        assert torch.equal(labels.charges, torch.from_numpy(np.concatenate([third.charges, first.charges])))
        assert torch.equal(labels.dipole, torch.from_numpy(np.stack([third.dipole, first.dipole])))
    assert read.to(dtype=torch.float64).charges.dtype == torch.float64


def test_labels_survive_a_structure_file_and_are_left_out_of_changed_geometries(charged_set, tmp_path):
    with Dataset(charged_set) as dataset:
        convert(charged_set, tmp_path / "out.extxyz")
        convert(tmp_path / "out.extxyz", tmp_path / "back.h5")
        structure = dataset.structure(3)
        with Dataset(tmp_path / "back.h5") as back:
            again = back.structure(3)
            np.testing.assert_allclose(again.charges, structure.charges, atol=1e-6)
            np.testing.assert_allclose(again.dipole, structure.dipole, atol=1e-6)
    moved = at(structure, structure.positions + 1.0, "moved")
    assert moved.charges is None
    assert moved.dipole is None


def test_charges_of_some_structures_only_are_refused(charged_set, tmp_path):
    made = list(Dataset(charged_set).structures([0, 1]))
    made[1] = replace(made[1], charges=None)
    with pytest.raises(InputError, match="structure 1 has no charges"):
        write_dataset(tmp_path / "half.h5", made)
    with pytest.raises(InputError, match=r"charges of a structure must have shape \(3,\)"):
        replace(made[0], charges=np.zeros(2))


@pytest.mark.parametrize("crystal_first", [False, True])
def test_a_set_of_molecules_with_dipoles_may_hold_crystals_which_have_none(charged_set, tmp_path, crystal_first):
    first, second = Dataset(charged_set).structures([0, 1])
    cell = {"cell": 9.0 * np.eye(3), "pbc": np.ones(3, dtype=bool), "stress": np.zeros((3, 3)), "dipole": None}
    crystal = replace(second, **cell)
    path = tmp_path / "both.h5"
    write_dataset(path, [crystal, first] if crystal_first else [first, crystal])
    found = list(Dataset(path).structures())[:: -1 if crystal_first else 1]
    np.testing.assert_allclose(found[0].dipole, first.dipole)
    assert found[1].dipole is None
    Dataset(path).validate()
    for rest in ([replace(second, dipole=None), first], [first, replace(second, dipole=None)]):
        with pytest.raises(InputError, match="has no dipole, but others have"):
            write_dataset(tmp_path / "half.h5", rest)


def test_the_errors_are_differences_of_charges_and_of_dipoles(charged_set):
    labels = Dataset(charged_set).read([0, 1], dtype=torch.float64)
    off = torch.linspace(-0.1, 0.1, labels.batch.n_atoms, dtype=torch.float64)
    outputs = Outputs(labels.energy, labels.forces, None, labels.energy, charges=labels.charges + off)
    found = errors(outputs, labels)
    torch.testing.assert_close(found["charges"][0], off)
    torch.testing.assert_close(found["dipole"][0], dipoles(labels.batch, off), rtol=1e-5, atol=1e-6)
    sums = torch.stack([off[labels.batch.system_idx == k].sum() for k in range(2)])
    torch.testing.assert_close(found["total_charge"][0], sums)
    periodic = replace(labels, batch=replace(labels.batch, pbc=torch.ones(2, 3, dtype=torch.bool)))
    error, weight = errors(outputs, periodic)["dipole"]
    assert not error.any()
    assert not weight.any()
    assert "charges" not in errors(replace(outputs, charges=None), labels)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("stress", [False, True])
def test_the_kernel_has_the_gradient_of_double_backward(charged_set, dtype, stress):
    dataset = Dataset(charged_set)
    model, _ = starting_model(ModelSection(preset="ultra-tiny"), dataset, np.arange(48), seed=3)
    with_charges(model, True, 3)
    config = LossConfig(charges_weight=2.0, total_charge_weight=0.7, dipole_weight=0.5, stress_weight=float(stress))
    item = next(BatchLoader(dataset, np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=1).epoch(0))
    found = {}
    for kind, precision in (("kernel", dtype), ("double-backward", torch.float64)):
        own = model.to(precision)
        own.zero_grad()
        values = GradientStep(own, config, kind, contextlib.nullcontext)(item.to(torch.device("cpu"), precision), dict)
        assert {"charges", "total_charge", "dipole"} <= set(values)
        found[kind] = {name: parameter.grad.double().clone() for name, parameter in own.named_parameters()}
    relative = 1e-6 if dtype == torch.float64 else 5e-3
    for name, exact in found["double-backward"].items():
        if name.startswith("charges"):
            assert float((found["kernel"][name] - exact).norm()) <= relative * float(exact.norm()), name
    flat = [torch.cat([gradient.reshape(-1) for gradient in one.values()]) for one in found.values()]
    assert float((flat[0] - flat[1]).norm()) <= relative * float(flat[1].norm())


def test_the_gradient_is_the_finite_difference_of_the_loss(charged_set):
    dataset = Dataset(charged_set)
    model, _ = starting_model(ModelSection(preset="ultra-tiny", hidden=8), dataset, np.arange(48), seed=3)
    with_charges(model, True, 3)
    model = model.double()
    config = LossConfig(kind="mse", energy_weight=0.0, forces_weight=0.0, total_charge_weight=1.0, dipole_weight=1.0)
    item = next(BatchLoader(dataset, np.arange(48), 5.0, BatchConfig(atoms=60, prefetch=0), seed=1).epoch(0))
    item = item.to(torch.device("cpu"), torch.float64)
    step = GradientStep(model, config, "kernel", contextlib.nullcontext)
    for weight in (model.charges[0].weight, model.updates[1].mix.weight):
        model.zero_grad()
        step(item, dict)
        analytic, losses = float(weight.grad[1, 2]), []
        for shift in (1e-5, -2e-5):
            with torch.no_grad():
                weight[1, 2] += shift
            losses.append(float(step(item, dict)["loss"]))
        with torch.no_grad():
            weight[1, 2] += 1e-5
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(analytic, rel=1e-4)


@pytest.mark.parametrize("step", ["kernel", "double-backward"])
def test_a_run_learns_charges_and_reports_them(settings, charged_set, step):
    config = settings(
        data={"path": str(charged_set)},
        step=step,
        loss={"charges_weight": 20.0, "dipole_weight": 1.0},
        stop={"max_steps": 120},
        log={"validate_every_steps": 10},
    )
    result = Trainer(config).fit()
    rows = [row for row in result.history if "val_charge_mae" in row]
    assert rows[-1]["val_charge_mae"] < 0.4 * rows[0]["val_charge_mae"]
    assert any("loss_charges" in row and "loss_dipole" in row for row in result.history)
    dataset = Dataset(charged_set)
    labels = dataset.read(dataset.indices("validation"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChargeWarning)  # it has hardly learned
        found = load(result.model, device="cpu").predict(labels.batch, want=("charges", "dipole"))
    assert float((found.charges - labels.charges).abs().mean()) == pytest.approx(result.metrics["charge_mae"], rel=1e-3)
    assert float((found.dipole - labels.dipole).abs().mean()) < 0.5 * float(labels.dipole.abs().mean())


def test_a_resumed_run_is_the_same_to_the_bit(settings, charged_set, tmp_path):
    changes = {"data": {"path": str(charged_set)}, "loss": {"charges_weight": 5.0}, "stop": {"max_steps": 12}}
    alone = Trainer(settings(**changes, out=str(tmp_path / "alone"))).fit()
    trainer = Trainer(settings(**changes))
    trainer.request_stop()
    assert trainer.fit().steps == 1
    resumed = Trainer(settings(**changes)).fit(resume=True)
    states = [load_checkpoint(result.model)[0].state_dict() for result in (alone, resumed)]
    assert "charges.0.weight" in states[0]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("name", ["charges", "dipole"])
def test_a_loss_without_labels_is_refused(settings, name):
    with pytest.raises(InputError, match=f"loss.{name}_weight = 1, but .* has no such labels"):
        Trainer(settings(loss={f"{name}_weight": 1.0})).fit()


@pytest.mark.parametrize("step", ["compiled", "finite-difference"])
def test_steps_that_do_not_learn_charges_say_so(settings, charged_set, step):
    with pytest.raises(InputError, match=r"auto, double-backward or kernel with loss\.charges_weight"):
        settings(data={"path": str(charged_set)}, step=step, loss={"charges_weight": 1.0})


class Messages(Reporter):
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def test_a_fine_tuned_student_gives_only_charges_that_follow_its_weights(settings, charged_set, morse_set, tmp_path):
    first = Trainer(settings(data={"path": str(charged_set)}, stop={"max_steps": 4})).fit()
    model, card = load_checkpoint(first.model)
    assert model.charges is None
    model.charges = ChargeReadout(model.n_features, 5)
    parent = save_checkpoint(tmp_path / "parent.pt", model, card)
    for name, path, loss in (("kept", charged_set, {"charges_weight": 1.0}), ("lost", morse_set, {})):
        reporter = Messages()
        config = settings(
            out=str(tmp_path / name),
            data={"path": str(path)},
            model={"init_from": str(parent)},
            loss=loss,
            stop={"max_steps": 2},
        )
        tuned = load_checkpoint(Trainer(config, reporter).fit().model)[0]
        said = [text for text in reporter.messages if "charges" in text]
        if name == "kept":
            assert tuned.charges[0].out_features == 5
            assert not said
        else:
            assert tuned.charges is None
            assert "so the model will give none" in said[0]
