"""Structures relaxed together reach the minima that they reach alone."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength

from mlff_core.dynamics.batched_relaxation import has_only_fixed, relax_many
from mlff_core.dynamics.held_torsions import angles_and_gradients
from mlff_core.dynamics.relaxation import relax
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import PairPotential
from mlff_core.testing.structures import ethanol


@pytest.fixture(scope="module")
def potential():
    return PairPotential(dtype=torch.float64)


@pytest.fixture(scope="module")
def frames():
    random = np.random.default_rng(1)
    clusters = [Atoms("C4O", random.uniform(0, 2.5, size=(5, 3))) for _ in range(6)]
    crystal = bulk("C", "fcc", a=3.4, cubic=True)
    crystal.positions += random.normal(scale=0.1, size=(4, 3))
    far = clusters[0].copy()
    far.positions += 3000.0
    return [*clusters, ethanol(), crystal, far]


def energy(potential, atoms):
    return float(potential.predict(batch_from_atoms(atoms, dtype=torch.float64)).energy[0])


def test_each_structure_is_at_a_minimum_and_keeps_its_order(potential, frames):
    counts = []
    done = relax_many(potential, frames, fmax=1e-3, max_steps=2000, on_done=counts.append)
    assert counts == sorted(counts)
    assert counts[-1] == len(frames)
    random = np.random.default_rng(0)
    for start, one in zip(frames, done, strict=True):
        assert one.converged
        assert one.max_force < 1e-3
        assert one.atoms.get_chemical_formula() == start.get_chemical_formula()
        assert one.energy_before == pytest.approx(energy(potential, start), abs=1e-8)
        assert one.energy == pytest.approx(energy(potential, one.atoms), abs=1e-6)
        assert one.atoms.get_potential_energy() == one.energy
        for _ in range(5):
            moved = one.atoms.copy()
            moved.positions += random.normal(scale=0.02, size=moved.positions.shape)
            assert energy(potential, moved) > one.energy


def test_the_company_and_the_size_of_batches_change_nothing(potential, frames):
    together = relax_many(potential, frames)
    for few in (relax_many(potential, frames, batch_atoms=12), [relax_many(potential, [one])[0] for one in frames]):
        for a, b in zip(together, few, strict=True):
            assert a.n_steps == b.n_steps
            np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, atol=1e-6)


def test_a_molecule_reaches_the_minimum_of_ases_optimizer(potential):
    alone = relax(potential, ethanol(), fmax=1e-4, max_steps=2000)
    together = relax_many(potential, [ethanol(), molecule("CH4")], fmax=1e-4, max_steps=2000)[0]
    assert together.energy == pytest.approx(alone.energy, abs=1e-5)


def test_held_atoms_stay_and_other_constraints_are_refused(potential):
    held, bonded = ethanol(), ethanol()
    held.set_constraint(FixAtoms([0, 1]))
    bonded.set_constraint(FixBondLength(0, 1))
    done = relax_many(potential, [ethanol(), held], max_steps=20)
    np.testing.assert_array_equal(done[1].atoms.positions[:2], held.positions[:2])
    assert np.abs(done[0].atoms.positions[:2] - held.positions[:2]).max() > 0
    assert has_only_fixed(held)
    assert not has_only_fixed(bonded)
    with pytest.raises(UnsupportedError, match=r"frame 1 of 2: .*FixBondLength"):
        relax_many(potential, [ethanol(), bonded])


def test_too_few_steps_are_reported_as_not_converged(potential):
    done = relax_many(potential, [ethanol(), ethanol()], fmax=1e-6, max_steps=2)
    assert [(one.converged, one.n_steps) for one in done] == [(False, 2)] * 2


def test_a_structure_that_cannot_be_relaxed_is_named(potential):
    overlapping = Atoms("CC", positions=[[0, 0, 0], [0, 0, 0.1]])
    for bad, message in [(overlapping, "overlap"), (Atoms("C", positions=[[np.nan, 0, 0]]), "finite")]:
        with pytest.raises(InputError, match=f"frame 2 of 3: .*{message}"):
            relax_many(potential, [ethanol(), ethanol(), bad], batch_atoms=18)
    with pytest.raises(InputError, match="at least one structure"):
        relax_many(potential, [])
    for options in ({"fmax": 0.0}, {"fmax": float("nan")}, {"max_steps": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            relax_many(potential, [ethanol()], **options)


def test_the_gradient_of_a_torsion_is_the_derivative_of_its_angle():
    torch.manual_seed(0)
    positions = torch.randn(8, 3, dtype=torch.float64)
    quads = torch.tensor([[0, 1, 2, 3], [7, 5, 4, 1]])
    angles, gradients = angles_and_gradients(positions, quads)
    atoms = Atoms("C8", positions.numpy())
    for k, quad in enumerate(quads.tolist()):
        assert np.degrees(float(angles[k])) % 360 == pytest.approx(atoms.get_dihedral(*quad), abs=1e-8)
        for place, atom in enumerate(quad):
            for axis in range(3):
                moved = positions.clone()
                moved[atom, axis] += 1e-6
                change = (angles_and_gradients(moved, quads)[0][k] - angles[k]) / 1e-6
                assert float(gradients[k, place, axis]) == pytest.approx(float(change), abs=1e-5)


def test_held_torsions_keep_their_angles_at_a_constrained_minimum(potential):
    start = Atoms("C6", np.random.default_rng(4).uniform(0, 3.2, size=(6, 3)))
    hold = [(0, 1, 2, 3), (2, 3, 4, 5)]
    (one,) = relax_many(potential, [start], hold=[hold], fmax=1e-3, max_steps=3000)
    assert one.converged
    for torsion in hold:
        assert one.atoms.get_dihedral(*torsion) == pytest.approx(start.get_dihedral(*torsion), abs=1e-5)
    assert one.energy < one.energy_before
    # The remaining force is along the gradients of the two angles: a multiplier for each explains all of it.
    quads = torch.tensor(hold)
    gradients = angles_and_gradients(torch.from_numpy(one.atoms.positions), quads)[1]
    rows = torch.zeros(2, 6, 3, dtype=torch.float64)
    for row, quad, gradient in zip(rows, quads, gradients, strict=True):
        row[quad] = gradient
    forces = one.atoms.get_forces().reshape(-1)
    matrix = rows.reshape(2, -1).T.numpy()
    multipliers = np.linalg.lstsq(matrix, forces, rcond=None)[0]
    assert np.abs(matrix @ multipliers - forces).max() < 1e-3
    assert np.abs(forces).max() > 1e-2
