"""Tuning of a student to one system."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from mlff_core.data.convert import structures_from_atoms
from mlff_core.data.reader import Dataset
from mlff_core.data.sampling import langevin_md
from mlff_core.data.structure import batch_from_structures
from mlff_core.errors import InputError
from mlff_core.models.opening import load
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.training.tuning import DATA, TuneSettings, tune

QUICK = TuneSettings("organic-ultra-tiny", minutes=0.15, n_frames=20, temperatures_kelvin=(300.0, 300.0))


def larger():
    """Return the shipped tiny student as the teacher: no package is needed."""
    return load("organic-tiny", device="cpu", guard="off")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "inner.pt"
    stages = []

    def on_stage(title, total):
        done = []
        stages.append((title, total, done))
        return done.append

    return tune(larger, [molecule("CH3CH2OH")], out, QUICK, on_stage=on_stage), stages


def test_the_tuned_student_is_nearer_to_its_teacher(tuned):
    result, _ = tuned
    assert result.force_mae < 0.95 * result.force_mae_before
    # New frames of the dynamics that it was tuned for.
    (start,) = structures_from_atoms([molecule("CH3CH2OH")], geometries_only=True)
    rng = np.random.default_rng(5)
    (frames,) = langevin_md(larger(), [start], rng, temperature_k=300.0, n_frames=24, steps_between=40)
    batch = batch_from_structures(frames, dtype=torch.float32)
    wanted = larger().predict(batch).forces

    def error(name):
        return float((load(name, device="cpu", guard="off").predict(batch).forces - wanted).abs().mean())

    assert error(result.model) < error("organic-ultra-tiny")


def test_frames_are_of_whole_trajectories_and_labelled_by_the_teacher(tuned):
    result, stages = tuned
    with Dataset(result.model.with_name("inner.pt.tune") / DATA) as data:
        assert [len(data.indices(split)) for split in ("train", "validation", "test")] == [10, 10, 0]
        frame = data.structure(int(data.indices("validation")[0]))
        assert data.teacher["name"] == larger().card.teacher["name"]
    predicted = larger().predict(batch_from_atoms([_atoms(frame)])).forces.numpy()
    np.testing.assert_allclose(frame.forces, predicted, atol=1e-4)
    assert [(title, total, done[-1]) for title, total, done in stages] == [("sampling", 10, 10), ("labelling", 20, 20)]


def test_a_tuning_goes_on_without_the_teacher_and_refuses_other_settings(tuned):
    result, _ = tuned

    def unwanted():
        raise AssertionError("the frames are labelled already")

    again = tune(unwanted, [molecule("CH3CH2OH")], result.model, QUICK)
    assert again.force_mae == pytest.approx(result.force_mae)
    with pytest.raises(InputError, match="a tuning with other atomic_numbers, positions"):
        tune(unwanted, [molecule("CH3OH")], result.model, QUICK)
    with pytest.raises(InputError, match="a tuning with other teacher"):
        tune(unwanted, [molecule("CH3CH2OH")], result.model, QUICK, teacher_name="another")


def test_systems_of_different_atoms_and_wrong_names_are_refused(tmp_path):
    with pytest.raises(InputError, match="same atoms in one order"):
        tune(larger, [molecule("CH4"), molecule("H2O")], tmp_path / "a.pt", QUICK)
    with pytest.raises(InputError, match=r"end in \.pt"):
        tune(larger, [molecule("CH4")], tmp_path / "a.onnx", QUICK)
    with pytest.raises(InputError, match="n_frames"):
        TuneSettings(n_frames=5)
    assert not list(tmp_path.iterdir())


def _atoms(frame):
    from ase import Atoms

    return Atoms(frame.atomic_numbers, frame.positions)
