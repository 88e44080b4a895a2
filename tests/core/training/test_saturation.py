"""A run bounds the learned energies of its student at its end, and the bounds change nothing on the training data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlff_core import load
from mlff_core.data.hdf5 import Dataset
from mlff_core.errors import InputError
from mlff_core.model.saturation import Saturation
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.testing import small_student
from mlff_core.training import training_run
from mlff_core.training.saturation import measured_saturation, write_saturation
from mlff_core.training.trainer import Trainer


@pytest.fixture
def enough(monkeypatch):
    """A run with few structures measures ranges too."""
    monkeypatch.setattr(training_run, "MIN_STRUCTURES", 10)


def learned(student, dataset):
    """What the network alone gives each atom, by the modules themselves; and the species, shape (n_atoms,) each."""
    model = student.model.double()
    labels = dataset.read(np.arange(len(dataset)), dtype=torch.float64)
    batch = labels.batch
    edges = find_neighbors(batch, model.cutoff)
    vectors, species = edge_vectors(batch, edges), model.species_of_number[batch.atomic_numbers]
    features = model.features(species, vectors, vectors.norm(dim=1), edges.centers, edges.neighbors)
    return model.readout(features).squeeze(-1) * model.scale, species


def test_the_bounds_are_the_ranges_of_the_network_alone(morse_set):
    student, dataset = small_student(kernel="reference"), Dataset(morse_set)
    found = measured_saturation(student.model, [(dataset, np.arange(len(dataset)))], 3.0, dtype=torch.float64)
    energies, species = learned(student, dataset)
    assert float(found.width) == 1.5
    for k, z in enumerate(student.card.elements):
        own = energies[species == k]
        least, largest = (float(own.min()), float(own.max())) if len(own) else (0.0, 0.0)
        assert float(found.lowest[k]) == pytest.approx(least - 1.5, abs=1e-4), z
        assert float(found.highest[k]) == pytest.approx(largest + 1.5, abs=1e-4), z


def test_bounds_given_to_a_trained_student_change_nothing_on_its_data(morse_set, tmp_path):
    student, dataset = small_student(), Dataset(morse_set)
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    write_saturation(path, [(dataset, np.arange(48))], 0.2)
    bounded, labels = load(path, device="cpu"), dataset.read(np.arange(48))
    assert bounded.model.saturation is not None
    want = ("energy", "forces", "atom_energies")
    before, after = (one.predict(labels.batch, want=want) for one in (student, bounded))
    assert all(torch.equal(getattr(before, name), getattr(after, name)) for name in want)


def test_bounds_of_a_parent_are_only_widened(morse_set):
    student, dataset = small_student(), Dataset(morse_set)
    n = len(student.card.elements)
    sets = [(dataset, np.arange(12))]
    alone = measured_saturation(student.model, sets)
    before = Saturation([-99.0] + [5.0] * (n - 1), [6.0] * n, 1.0)
    widened = measured_saturation(student.model, sets, before=before)
    assert float(widened.lowest[0]) == -99.0
    assert torch.equal(widened.lowest[1:], alone.lowest[1:].clamp(max=5.0))
    assert torch.equal(widened.highest, alone.highest.clamp(min=6.0))


def test_a_run_bounds_its_model_at_the_end_where_it_saw_enough(settings, enough):
    config = settings(
        stop={"max_steps": 8}, log={"validate_every_steps": 4}, model={"preset": "ultra-tiny", "energy_margin": 1.0}
    )
    result = Trainer(config).fit()
    model, card = load_checkpoint(result.model)
    assert model.saturation is not None
    assert float(model.saturation.width) == 0.5
    assert card.training["model"]["energy_margin"] == 1.0
    assert card.domain


def test_a_run_with_few_structures_or_a_margin_of_zero_sets_no_bounds(settings, tmp_path, monkeypatch):
    assert load_checkpoint(Trainer(settings(stop={"max_steps": 4})).fit().model)[0].saturation is None
    monkeypatch.setattr(training_run, "MIN_STRUCTURES", 10)
    config = settings(
        out=str(tmp_path / "off"), stop={"max_steps": 4}, model={"preset": "ultra-tiny", "energy_margin": 0.0}
    )
    assert load_checkpoint(Trainer(config).fit().model)[0].saturation is None


def test_a_fine_tuned_student_learns_without_bounds_and_keeps_its_parents(settings, tmp_path, morse_set):
    first = Trainer(settings(stop={"max_steps": 6}, log={"validate_every_steps": 3})).fit()
    model, card = load_checkpoint(first.model)
    n = len(model.config.elements)
    parents = {}
    # Bounds so narrow that nothing could be learned at them, and none.
    for name, bounds in (("narrow", Saturation([-1e-6] * n, [1e-6] * n, 1e-6)), ("none", None)):
        model.saturation = bounds
        parents[name] = save_checkpoint(tmp_path / f"{name}.pt", model, card)
    tuned = {}
    for name, parent in parents.items():
        config = settings(
            out=str(tmp_path / f"tuned-{name}"),
            model={"init_from": str(parent)},
            stop={"max_steps": 6, "max_minutes": 100.0},
            log={"validate_every_steps": 3},
        )
        tuned[name] = load_checkpoint(Trainer(config).fit().model)[0]
    assert tuned["none"].saturation is None
    assert tuned["narrow"].saturation is not None
    for (name, weight), other in zip(tuned["none"].named_parameters(), tuned["narrow"].parameters(), strict=True):
        assert torch.equal(weight, other), name
    bounds = tuned["narrow"].saturation
    assert float((bounds.highest - bounds.lowest).min()) >= 2.0


def test_a_stopped_run_keeps_the_bounds_it_started_with(settings, tmp_path):
    first = Trainer(settings(stop={"max_steps": 6}, log={"validate_every_steps": 3})).fit()
    model, card = load_checkpoint(first.model)
    n = len(model.config.elements)
    model.saturation = Saturation([-77.0] * n, [77.0] * n, 0.5)
    parent = save_checkpoint(tmp_path / "parent.pt", model, card)
    config = settings(
        out=str(tmp_path / "tuned"),
        model={"init_from": str(parent)},
        stop={"max_steps": 20},
        log={"validate_every_steps": 2},
    )
    trainer = Trainer(config)
    trainer.request_stop()
    assert trainer.fit().status == "stopped"
    parent.unlink()  # the state must have them
    result = Trainer(config).fit(resume=True)
    assert load_checkpoint(result.model)[0].saturation.lowest.tolist() == [-77.0] * n


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_a_margin_that_is_none_is_refused(margin, morse_set):
    with pytest.raises(InputError, match="margin"):
        measured_saturation(small_student().model, [(Dataset(morse_set), np.arange(3))], margin)


def test_no_structures_are_refused(morse_set):
    with pytest.raises(InputError, match="no structures"):
        measured_saturation(small_student().model, [(Dataset(morse_set), np.arange(0))])
