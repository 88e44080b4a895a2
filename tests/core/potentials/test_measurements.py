"""Moved structures, finite differences and steps at the cutoff, against numbers known beforehand."""

import math
from dataclasses import replace

import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.potentials import measurements
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import concatenate
from mlff_core.structures.examples import ethanol, one_atom, to_batch, triclinic_crystal
from mlff_core.structures.prediction import Prediction
from mlff_core.testing.reference_potential import PairPotential

QUARTER = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
"""A quarter turn about z, which takes x to y."""


def prediction(batch, **changes):
    forces = torch.arange(3.0 * batch.n_atoms).reshape(-1, 3)
    energy = torch.arange(1.0, batch.n_systems + 1, dtype=torch.float64)
    stress = torch.zeros(batch.n_systems, 3, 3)
    stress[:, 0, 0] = 0.25
    return replace(Prediction(energy, forces, stress, torch.arange(float(batch.n_atoms))), **changes)


class Cubic(Potential):
    """E = Σ (x³ + 2 y) of all atoms, with forces that lack the term of 2 y."""

    def __init__(self):
        inner = PairPotential(dtype=torch.float64)
        self.card, self.dtype, self.device = inner.card, inner.dtype, inner.device
        self.supports = frozenset({"energy", "forces"})

    def predict_checked(self, batch, want, edges=None):
        x, y = batch.positions[:, 0], batch.positions[:, 1]
        energy = torch.zeros(batch.n_systems, dtype=torch.float64).index_add(0, batch.system_idx, x**3 + 2 * y)
        forces = torch.zeros_like(batch.positions)
        forces[:, 0] = -3 * x**2
        return Prediction(energy, forces if "forces" in want else None)


def test_a_quarter_turn_takes_x_to_y_for_positions_cells_forces_and_stresses():
    batch = to_batch(triclinic_crystal())
    before = prediction(batch)
    moved, wanted = measurements.rotated(batch, before, QUARTER)
    x, y, z = batch.positions.T
    assert torch.equal(moved.positions, torch.stack([-y, x, z], dim=1))
    assert torch.equal(moved.cell[0, :, 1], batch.cell[0, :, 0])
    assert torch.equal(wanted.forces[:, 1], before.forces[:, 0].double())
    assert float(wanted.stress[0, 1, 1]) == 0.25
    assert float(wanted.stress[0, 0, 0]) == 0.0


def test_a_random_rotation_is_orthogonal_and_proper():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        rotation = measurements.random_rotation(generator)
        assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-14)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)


def test_inversion_reverses_forces_and_a_shift_changes_nothing():
    batch = to_batch(ethanol())
    before = prediction(batch)
    moved, wanted = measurements.inverted(batch, before)
    assert torch.equal(moved.positions, -batch.positions)
    assert torch.equal(moved.cell, batch.cell)
    assert torch.equal(wanted.forces, -before.forces.double())
    moved, wanted = measurements.translated(batch, before, torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(moved.positions - batch.positions, torch.tensor([1.0, 2.0, 3.0]).double())
    assert wanted is before


def test_permuted_atoms_carry_elements_forces_and_energies_with_them():
    batch = to_batch(ethanol())
    before = prediction(batch)
    moved, wanted = measurements.permuted(batch, before, torch.tensor([2, 0, 1, 3, 4, 5, 6, 7, 8]))
    assert moved.atomic_numbers[:3].tolist() == [8, 6, 6]
    assert torch.equal(moved.positions[0], batch.positions[2])
    assert wanted.forces[0].tolist() == [6.0, 7.0, 8.0]
    assert wanted.atom_energies[:3].tolist() == [2.0, 0.0, 1.0]


def test_two_of_a_molecule_are_far_apart_and_two_of_a_crystal_share_a_doubled_cell():
    molecule, crystal = to_batch(ethanol()), to_batch(triclinic_crystal())
    moved, wanted = measurements.doubled(molecule, prediction(molecule), 30.0)
    assert float(wanted.energy) == 2.0
    assert wanted.forces.shape == (18, 3)
    assert float(moved.positions[9:, 2].min() - moved.positions[:9, 2].max()) == pytest.approx(30.0)
    moved, wanted = measurements.doubled(crystal, prediction(crystal), 30.0)
    assert float(torch.linalg.det(moved.cell[0]) / torch.linalg.det(crystal.cell[0])) == pytest.approx(2.0)
    assert torch.allclose(moved.positions[12] - moved.positions[0], crystal.cell[0, 0])
    assert float(wanted.stress[0, 0, 0]) == 0.25


def test_a_couple_has_a_torque_about_any_centre_and_no_net_force():
    batch = to_batch(ethanol()[:2])
    batch = batch.with_positions(torch.tensor([[5.0, 7.0, 1.0], [7.0, 7.0, 1.0]], dtype=torch.float64))
    forces = torch.tensor([[0.0, -3.0, 0.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    assert measurements.net_force(batch, forces).tolist() == [[0.0, 0.0, 0.0]]
    assert measurements.net_torque(batch, forces).tolist() == [[0.0, 0.0, 6.0]]
    pushed = forces + torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert measurements.net_torque(batch, pushed)[0].tolist() == pytest.approx([0.0, 0.0, 6.0])


def test_a_finite_difference_is_that_of_the_energy_in_each_structure_for_a_direction_of_any_length():
    batch = concatenate([to_batch(one_atom()), to_batch(one_atom())])
    batch = batch.with_positions(torch.tensor([[0.5, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64))
    direction = torch.tensor([[7.0, 0.0, 0.0], [0.0, 0.1, 0.0]], dtype=torch.float64)
    forces = Cubic().predict(batch).forces
    by_energy, by_forces = measurements.forces_along(Cubic(), batch, forces, direction, 1e-2)
    assert by_energy.tolist() == pytest.approx([-0.75, -2.0], abs=1e-11)
    assert by_forces.tolist() == pytest.approx([-0.75, 0.0], abs=1e-14)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 2), (2, 1)])
def test_the_stress_by_strain_is_that_written_by_hand(a, b):
    potential, batch = PairPotential(dtype=torch.float64), to_batch(triclinic_crystal())
    wanted = potential.predict(batch, want=("stress",)).stress
    found = measurements.stress_by_strain(potential, batch, a, b, 1e-3)
    assert found.shape == (1,)
    assert float(found[0]) == pytest.approx(float(wanted[0, a, b]), abs=1e-9)


def test_a_jump_is_the_change_of_the_whole_energy_and_of_the_largest_force():
    inside, outside = to_batch(ethanol()), to_batch(ethanol())
    outside.positions[0, 0] += 1.0
    energy, forces = measurements.jump(Cubic(), inside, outside)
    x = float(inside.positions[0, 0])
    assert energy.found - energy.wanted == pytest.approx((x + 1) ** 3 - x**3)
    assert forces.largest == pytest.approx(3 * ((x + 1) ** 2 - x**2))
    assert (forces.atom, forces.component) == (0, "x")
    assert math.isfinite(forces.scale)


def test_a_prediction_without_forces_is_refused():
    batch = to_batch(ethanol())
    with pytest.raises(UnsupportedError, match="forces were wanted"):
        measurements.inverted(batch, prediction(batch, forces=None))
