"""A student learns the stress of crystals from labels, by double backward and by the kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core import load
from mlff_core.config import from_dict
from mlff_core.data.edges import find_edges
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.data.loader import TrainingBatch
from mlff_core.judging.evaluate import evaluate
from mlff_core.testing.reference_potential import PairPotential
from mlff_core.training.loss import Outputs, errors
from mlff_core.training.replay import merged
from mlff_core.training.trainer import TrainConfig, Trainer
from mlff_core.units import BAR_PER_EV_PER_ANGSTROM3


@pytest.mark.parametrize("step", ["double-backward", "kernel"])
def test_a_student_learns_the_stress_of_crystals_outside_its_training_set(crystals, tmp_path, step):
    settings = {
        "name": "small",
        "out": str(tmp_path / "run"),
        "device": "cpu",
        "step": step,
        "model": {"preset": "ultra-tiny", "hidden": 8, "n_layers": 2, "cutoff": 4.0},
        "data": {"path": str(crystals)},
        "batch": {"atoms": 64},
        "loss": {"energy_weight": 1.0, "forces_weight": 0.1, "stress_weight": 1e5},
        "optimizer": {"lr": 0.04, "ema_decay": 0.9},
        "schedule": {"warmup_steps": 5},
        "stop": {"max_steps": 100},
        "log": {"validate_every_steps": 25},
    }
    result = Trainer(from_dict(TrainConfig, settings)).fit()
    errors = [row["val_stress_mae"] for row in result.history if "val_stress_mae" in row]
    data = Dataset(crystals)
    labels = data.read(data.indices("validation"))
    spread = float((labels.stress - labels.stress.mean(dim=0)).abs().mean())
    found = load(result.model, device="cpu").predict(labels.batch, want=["stress"]).stress
    error = float((found - labels.stress).abs().mean())
    # Much better than the mean stress of all crystals, in the model file and in the log.
    assert error < 0.35 * spread, (errors, spread)
    assert error == pytest.approx(result.metrics["stress_mae"], rel=1e-3)


def test_a_known_error_of_the_stress_is_found_beside_molecules_without_stress(crystals, morse_set, tmp_path):
    planted = 1e-3
    periodic = [replace(one, stress=one.stress + planted * np.eye(3)) for one in Dataset(crystals).structures(range(5))]
    molecules = [replace(one, smiles=None, molecule_id=9) for one in Dataset(morse_set).structures(range(4))]
    teacher = PairPotential(cutoff=4.0, dtype=torch.float64)
    for name, structures in {"alone": periodic, "mixed": [*molecules, *periodic]}.items():
        write_dataset(tmp_path / f"{name}.h5", structures, teacher={"name": "pair-potential"}, license="CC0-1.0")
        found = evaluate(teacher, Dataset(tmp_path / f"{name}.h5")).to_json()
        assert found["stress_mae"] == pytest.approx(planted / 3, rel=1e-3), name
        # A higher tension in the labels is a lower pressure.
        assert found["pressure_error_mean_bar"] == pytest.approx(planted * BAR_PER_EV_PER_ANGSTROM3, rel=1e-3)
        assert found["n_skipped"] == 0
    assert evaluate(teacher, Dataset(morse_set)).metrics["stress_mae"] is None


def test_stresses_are_learned_beside_molecules_without_stress(crystals, morse_set):
    def read(path):
        labels = Dataset(path).read(np.arange(3))
        return TrainingBatch(labels, find_edges(labels.batch, 4.0), 0)

    molecules, periodic = read(morse_set), read(crystals)
    labels = merged(molecules, periodic, 1.0).labels
    nothing = torch.zeros_like(labels.batch.cell)
    outputs = Outputs(energy=labels.energy, forces=labels.forces, stress=nothing, atom_energies=labels.energy)
    found, weight = errors(outputs, labels)["stress"]
    assert weight.tolist() == [0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(found[3:], -periodic.labels.stress)
    # If a crystal has no label of its stress, no stress is learned: zero would be wrong.
    unasked = replace(periodic.labels, stress=None)
    assert merged(periodic, TrainingBatch(unasked, periodic.edges, 0), 1.0).labels.stress is None
