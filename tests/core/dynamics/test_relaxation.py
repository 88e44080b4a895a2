"""Relaxed structures are minima."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from mlff_core.dynamics.relaxation import OPTIMIZERS, relax
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import PairPotential
from mlff_core.testing.structures import ethanol


@pytest.fixture(scope="module")
def potential():
    return PairPotential(dtype=torch.float64)


def energy(potential, atoms):
    return float(potential.predict(batch_from_atoms(atoms, dtype=torch.float64)).energy[0])


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_any_small_move_from_the_minimum_raises_the_energy(potential, optimizer):
    start = Atoms("C4O", np.random.default_rng(1).uniform(0, 2.5, size=(5, 3)))
    done = relax(potential, start, fmax=1e-3, optimizer=optimizer, max_steps=2000)
    assert done.converged
    assert done.max_force < 1e-3
    assert done.energy < done.energy_before
    assert energy(potential, start) == pytest.approx(done.energy_before)
    random = np.random.default_rng(0)
    for _ in range(10):
        moved = done.atoms.copy()
        moved.positions += random.normal(scale=0.02, size=moved.positions.shape)
        assert energy(potential, moved) > done.energy


def test_a_relaxed_cell_has_no_stress_and_the_best_volume(potential):
    start = bulk("C", "fcc", a=3.4, cubic=True)
    done = relax(potential, start, fmax=2e-5, cell=True)
    assert done.converged
    assert done.max_stress < 1e-5
    np.testing.assert_array_equal(start.cell.lengths(), 3.4)
    for factor in (0.99, 1.01):
        scaled = done.atoms.copy()
        scaled.set_cell(done.atoms.cell * factor, scale_atoms=True)
        assert energy(potential, scaled) > done.energy


def test_held_atoms_stay(potential):
    start = ethanol()
    start.set_constraint(FixAtoms([0, 1]))
    done = relax(potential, start, max_steps=5)
    np.testing.assert_array_equal(done.atoms.positions[:2], start.positions[:2])


def test_too_few_steps_are_reported_as_not_converged(potential):
    done = relax(potential, ethanol(), fmax=1e-6, max_steps=2)
    assert (done.converged, done.n_steps) == (False, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmax": 0.0}, "fmax"),
        ({"fmax": float("nan")}, "fmax"),
        ({"max_steps": 0}, "max_steps"),
        ({"optimizer": "newton"}, "there is no optimiser 'newton'"),
        ({"cell": True}, "periodic in all directions"),
    ],
)
def test_options_that_make_no_sense_are_refused(potential, options, message):
    with pytest.raises(InputError, match=message):
        relax(potential, ethanol(), **options)


def test_a_potential_without_stress_relaxes_no_cell(potential):
    class Stressless(PairPotential):
        supports = frozenset({"energy", "forces"})

    with pytest.raises(UnsupportedError, match="gives no stress"):
        relax(Stressless(), bulk("C", "fcc", a=3.4), cell=True)


def test_bad_structures_are_refused(potential):
    with pytest.raises(UnsupportedError, match="Xe"):
        relax(potential, Atoms("Xe"))
    with pytest.raises(InputError, match="overlap"):
        relax(potential, Atoms("HH", positions=[[0, 0, 0], [0, 0, 0.1]]))
