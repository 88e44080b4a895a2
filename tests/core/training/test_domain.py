"""The domain is what the training data hold, and a run writes it without touching the weights."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_core.config import from_dict
from mlff_core.data.hdf5 import Dataset
from mlff_core.domain import Domain
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.testing import small_student
from mlff_core.training import training_run
from mlff_core.training.domain import measured_domain, sampled
from mlff_core.training.trainer import TrainConfig, Trainer

SCRIPT = Path(__file__).parents[3] / "examples" / "train" / "guard.py"


def test_ranges_are_those_of_every_structure_by_itself(morse_set):
    student, dataset = small_student(), Dataset(morse_set)
    indices = np.arange(20)
    domain = measured_domain(student, [(dataset, indices)])
    energies: dict[int, list[float]] = {}
    distances: dict[tuple[int, int], list[float]] = {}
    labels = [dataset.read([index]) for index in indices]
    for one in labels:
        batch = one.batch.to(dtype=torch.float32)
        found = student.predict(batch, want=("energy", "atom_energies")).atom_energies
        reference = dict(zip(student.card.elements, student.model.reference_energies.tolist(), strict=True))
        numbers = batch.atomic_numbers.tolist()
        for z, energy in zip(numbers, found.tolist(), strict=True):
            energies.setdefault(z, []).append(energy - reference[z])
        edges = find_neighbors(batch, student.card.cutoff)
        lengths = edge_vectors(batch, edges).norm(dim=1).tolist()
        for i, k, length in zip(edges.centers.tolist(), edges.neighbors.tolist(), lengths, strict=True):
            distances.setdefault(tuple(sorted((numbers[i], numbers[k]))), []).append(length)
    assert set(domain.atom_energies) == set(energies)
    for z, (least, largest) in domain.atom_energies.items():
        assert least == pytest.approx(min(energies[z]), abs=1e-3)
        assert largest == pytest.approx(max(energies[z]), abs=1e-3)
    assert domain.distances == pytest.approx({pair: min(found) for pair, found in distances.items()}, abs=2e-4)
    assert domain.largest_force == pytest.approx(max(float(one.forces.abs().max()) for one in labels), abs=1e-3)
    assert domain.n_structures == 20


def test_a_sample_keeps_to_its_atoms_and_to_its_seed(morse_set):
    dataset = Dataset(morse_set)
    indices = np.arange(len(dataset))
    drawn = sampled(dataset, indices, seed=3, max_atoms=50)
    assert 0 < dataset.n_atoms_of(drawn).sum() <= 50
    assert np.array_equal(drawn, sampled(dataset, indices, seed=3, max_atoms=50))
    assert not np.array_equal(drawn, sampled(dataset, indices, seed=4, max_atoms=50))
    assert np.array_equal(sampled(dataset, indices, seed=3), indices)


def test_the_script_writes_the_domain_and_keeps_the_weights(morse_set, tmp_path):
    student = small_student()
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    before, _ = load_checkpoint(path)
    runpy.run_path(str(SCRIPT))["measure"](path, [Path(morse_set)])
    after, card = load_checkpoint(path)
    assert Domain.from_dict(card.domain).n_structures == len(Dataset(morse_set))
    assert card.domain["data"] == [{"name": Path(morse_set).name, "sha256": Dataset(morse_set).sha256()}]
    weights = after.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.state_dict().items())


def test_a_run_writes_the_domain_at_its_end_where_it_saw_enough(morse_set, tmp_path, monkeypatch):
    def run(out):
        plain = {
            "name": "small",
            "out": str(tmp_path / out),
            "device": "cpu",
            "model": {"preset": "ultra-tiny", "hidden": 8},
            "data": {"path": str(morse_set)},
            "batch": {"atoms": 60},
            "stop": {"max_steps": 4},
            "log": {"validate_every_steps": 4},
        }
        return load_checkpoint(Trainer(from_dict(TrainConfig, plain)).fit().model)

    without, card = run("few")
    assert card.domain == {}
    monkeypatch.setattr(training_run, "MIN_STRUCTURES", 10)
    model, card = run("enough")
    assert 10 <= Domain.from_dict(card.domain).n_structures <= len(Dataset(morse_set))
    weights = model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in without.state_dict().items())
