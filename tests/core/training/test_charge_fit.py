"""A readout of charges fitted to a trained student."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mlff_core import load
from mlff_core.cli.main import cli
from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.errors import InputError
from mlff_core.training import charge_fit
from mlff_core.training.charge_fit import write_charges
from mlff_core.training.trainer import Trainer


@pytest.fixture
def trained(settings):
    """A student that was trained for a few steps."""
    return Trainer(settings(stop={"max_steps": 40})).fit().model


@pytest.fixture
def charged_set(morse_set, tmp_path):
    """The structures of its training with charges that pairs of unlike atoms hand over."""
    with Dataset(morse_set) as dataset:
        made = []
        for structure in dataset.structures():
            numbers, positions = structure.atomic_numbers.astype(float), structure.positions.astype(float)
            distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
            charges = 0.05 * ((numbers[None] - numbers[:, None]) * np.exp(-distances)).sum(axis=1)
            made.append(replace(structure, charges=charges.astype(np.float32)))
    write_dataset(tmp_path / "charged.h5", made, teacher={"name": "pairs"})
    return tmp_path / "charged.h5"


def test_charges_are_learned_and_energies_and_forces_stay_the_same(trained, charged_set, tmp_path):
    found = write_charges(trained, charged_set, tmp_path / "new.pt")
    before, after = load(trained, device="cpu"), load(tmp_path / "new.pt", device="cpu")
    with Dataset(charged_set) as dataset:
        labels = dataset.read(np.arange(20))
    old, new = before.predict(labels.batch), after.predict(labels.batch, want=("energy", "forces", "charges"))
    assert torch.equal(old.energy, new.energy)
    assert torch.equal(old.forces, new.forces)
    spread = float((labels.charges - labels.charges.mean()).abs().mean())
    assert float((new.charges - labels.charges).abs().mean()) < 0.2 * spread
    assert found["charge_mae"] < 0.2 * spread
    assert after.card.metrics["charges"]["charge_mae"] == found["charge_mae"]
    assert after.card.n_parameters > before.card.n_parameters


def test_the_command_writes_the_file_and_its_errors(trained, charged_set, tmp_path, monkeypatch):
    monkeypatch.setattr(charge_fit, "STEPS", 50)
    done = CliRunner().invoke(cli, ["charges", "fit", str(trained), str(charged_set), "-o", str(tmp_path / "new.pt")])
    assert done.exit_code == 0, done.output
    assert "charge_mae" in done.output
    assert "charges" in load(tmp_path / "new.pt", device="cpu").supports


def test_a_set_without_charges_or_with_other_elements_is_refused(trained, morse_set, charged_set, tmp_path):
    with pytest.raises(InputError, match="has no charges"):
        write_charges(trained, morse_set, tmp_path / "new.pt")
    with Dataset(charged_set) as dataset:
        other = [replace(s, atomic_numbers=np.full_like(s.atomic_numbers, 79)) for s in dataset.structures()]
    write_dataset(tmp_path / "gold.h5", other)
    with pytest.raises(InputError, match=r"does not know, with atomic numbers \[79\]"):
        write_charges(trained, tmp_path / "gold.h5", tmp_path / "new.pt")
    assert not (tmp_path / "new.pt").exists()
