"""Many structures in batches, and the error when one of them is bad."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.frames import predict_frames, with_results
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.structures.writing import write_structures
from mlff_core.testing import PairPotential
from mlff_core.testing.structures import ethanol, slab, small_cell, triclinic_crystal

CRYSTALS = (triclinic_crystal, slab, small_cell)


@pytest.fixture(scope="module")
def potential():
    return PairPotential(dtype=torch.float64)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_batches_give_each_structure_what_it_has_alone(potential, batch_size):
    frames = [make() for make in CRYSTALS]
    rows = predict_frames(potential, frames, want=("forces", "stress", "atom_energies"), batch_size=batch_size)
    for frame, row in zip(frames, rows, strict=True):
        alone = potential.predict(batch_from_atoms(frame, dtype=torch.float64), want=("forces", "stress"))
        assert row["energy"] == pytest.approx(float(alone.energy[0]), abs=1e-9)
        np.testing.assert_allclose(row["forces"], alone.forces, atol=1e-9)
        np.testing.assert_allclose(row["stress"], alone.stress[0], atol=1e-10)
        assert row["atom_energies"].sum() == pytest.approx(row["energy"])


def test_progress_is_reported_after_every_batch(potential):
    seen = []
    predict_frames(potential, [ethanol()] * 5, batch_size=2, on_frames=seen.append)
    assert seen == [2, 4, 5]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (Atoms("Xe"), UnsupportedError, r"frame 3 of 5: .* does not know Xe"),
        (Atoms("HH", positions=[[0, 0, 0], [0, 0, 0.1]]), InputError, r"frame 3 of 5: atoms \d and \d overlap"),
        (Atoms("C", positions=[[np.nan, 0, 0]]), InputError, "frame 3 of 5: positions must be finite, but atom 0"),
        (Atoms(), InputError, "frame 3 of 5: a structure is empty"),
        (Atoms("C", info={"charge": 1}), UnsupportedError, "frame 3 of 5: .*neutral"),
        (Atoms("C", info={"charge": "much"}), InputError, "frame 3 of 5: .*must be a number"),
    ],
)
def test_a_bad_structure_among_good_ones_is_named(potential, bad, error, message):
    frames = [ethanol(), ethanol(), ethanol(), bad, ethanol()]
    with pytest.raises(error, match=message):
        predict_frames(potential, frames)


def test_results_survive_a_file(potential, tmp_path):
    frames = [triclinic_crystal(), small_cell()]
    rows = predict_frames(potential, frames, want=("forces", "stress"))
    path = write_structures(tmp_path / "out.extxyz", [with_results(f, r) for f, r in zip(frames, rows, strict=True)])
    for frame, row in zip(read(path, ":"), rows, strict=True):
        assert frame.get_potential_energy() == pytest.approx(row["energy"], abs=1e-6)
        np.testing.assert_allclose(frame.get_forces(), row["forces"], atol=1e-6)
        np.testing.assert_allclose(frame.get_stress(voigt=False), row["stress"], atol=1e-6)
