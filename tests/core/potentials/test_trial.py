"""An optimiser's trial step into an overlap gets a high energy; dynamics into one stops."""

import numpy as np
import pytest
import torch

from mlff_core.errors import InputError, OverlapError
from mlff_core.potentials.trial import repulsion
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.neighbors import NUCLEUS, find_neighbors
from mlff_core.testing import small_student, structures
from mlff_core.testing.reference_potential import PairPotential

WANT = ("energy", "forces", "atom_energies")


def on_path(share):
    """Return ethanol with a hydrogen brought so far to another one, to 0.25 Å at 1."""
    start, atoms = structures.ethanol(), structures.ethanol()
    atoms.positions[5] += share * (start.positions[3] + [0.0, 0.15, 0.2] - start.positions[5])
    return structures.to_batch(atoms).to(dtype=torch.float64)


@pytest.fixture(params=[small_student, PairPotential])
def running(request):
    return VerletPotential(request.param(dtype=torch.float64))


def test_a_trial_costs_the_last_good_energy_and_the_repulsion_of_the_nuclei(running):
    good = running.predict(on_path(0.0), want=WANT)
    trial = running.predict(on_path(1.0), want=WANT)
    r = float((on_path(1.0).positions[5] - on_path(1.0).positions[3]).norm())
    assert float(trial.energy - good.energy) == pytest.approx(14.3996454 / r, rel=1e-6)
    assert trial.atom_energies.sum() == pytest.approx(float(trial.energy), rel=1e-12)
    assert trial.forces.norm(dim=1).max() == pytest.approx(14.3996454 / r**2, rel=1e-6)
    assert torch.equal(running.predict(on_path(0.0), want=WANT).forces, good.forces)


def test_the_first_structure_and_atoms_that_come_close_in_small_steps_are_refused(running):
    with pytest.raises(OverlapError):
        running.predict(on_path(1.0))
    for k in range(20):
        running.predict(on_path(k / 20))
    with pytest.raises(InputError, match="atoms 3 and 5 overlap"):
        running.predict(on_path(1.0))
    running.predict(on_path(0.0))


def test_a_jump_in_known_dynamics_is_refused(running):
    running.predict(on_path(0.0), dynamics=True)
    with pytest.raises(OverlapError):
        running.predict(on_path(1.0), dynamics=True)


def test_a_line_search_halves_its_step_through_overlaps(running):
    """From the far side too, where the whole step passes through another atom."""
    start = on_path(0.0).positions
    across = on_path(1.0).positions + 0.5 * (on_path(1.0).positions - start)
    energies = []
    for scale in (0.0, 1.0, 2 / 3, 0.6, 1 / 3):
        batch = on_path(0.0).with_positions(start + scale * (across - start))
        energies.append(float(running.predict(batch).energy))
    assert max(energies) == energies[2]


def drifting(k):
    """Return ten atoms that fly past each other, and one of them into another at k = 1."""
    positions = np.arange(10)[:, None] * [3.0, 0.0, 0.0] + k * np.array([0.0, 0.05, 0.05])
    positions[9] = positions[8] + [1.0 - 0.8 * k, 0.0, 0.0]
    return single(positions, [6] * 10, dtype=torch.float64)


def test_dynamics_that_jumped_into_an_overlap_stops_at_the_next_step(running):
    running.predict(drifting(0))
    assert torch.isfinite(running.predict(drifting(1)).energy).all()
    with pytest.raises(OverlapError, match="went on through atoms that overlap"):
        running.predict(drifting(2))
    running.predict(drifting(0))


def test_in_a_batch_the_other_structures_keep_their_energies(running):
    moved = structures.ethanol()
    moved.rattle(0.05, seed=1)
    other = structures.to_batch(moved).to(dtype=torch.float64)
    running.predict(concatenate([on_path(0.0), other]), want=WANT)
    further = other.with_positions(other.positions + 0.2 * torch.sin(other.positions))
    found = running.predict(concatenate([on_path(1.0), further]), want=WANT)
    wanted = running.potential.predict(further, want=WANT)
    assert float(found.energy[1]) == pytest.approx(float(wanted.energy[0]), abs=1e-9)
    torch.testing.assert_close(found.forces[9:], wanted.forces)
    assert found.forces[:9].abs().max() > 100


def test_the_stress_of_a_trial_is_its_strain_derivative():
    running = VerletPotential(PairPotential(dtype=torch.float64))
    cell = torch.tensor([[6.0, 0.0, 0.0], [1.0, 7.0, 0.0], [0.5, -1.0, 8.0]], dtype=torch.float64)

    def crystal(x, strain=0.0):
        deformation = torch.eye(3, dtype=torch.float64)
        deformation[0, 1] += strain
        positions = torch.tensor([[5.9, 1.0, 1.0], [x, 1.1, 1.05]], dtype=torch.float64) @ deformation
        return single(positions.numpy(), [6, 8], (cell @ deformation).numpy(), True, dtype=torch.float64)

    running.predict(crystal(2.0))
    found = running.predict(crystal(0.05), want=("energy", "stress"))
    up, down = (float(running.predict(crystal(0.05, s)).energy) for s in (1e-4, -1e-4))
    volume = float(torch.linalg.det(cell))
    # One off-diagonal element of the strain: half of it is a rotation, which does not change the energy.
    assert float(found.stress[0, 0, 1]) == pytest.approx((up - down) / 2e-4 / volume, rel=1e-5)


def test_the_repulsion_is_finite_and_its_force_continuous_down_to_no_distance():
    def at(r):
        batch = single([[0, 0, 0], [r, 0, 0]], [6, 8], dtype=torch.float64)
        energies, gradients, _ = repulsion(batch, find_neighbors(batch, 0.3))
        return float(energies.sum()), float(gradients[0, 0] - gradients[1, 0])

    assert at(0.0)[1] == 0.0
    assert at(0.0)[0] == pytest.approx(1.5 * 14.3996454 * 48 / NUCLEUS)
    for r in (0.02, NUCLEUS, 0.2):
        derivative = (at(r + 1e-6)[0] - at(r - 1e-6)[0]) / 2e-6
        assert at(r)[1] == pytest.approx(derivative, rel=1e-4)
    assert at(NUCLEUS - 1e-9)[1] == pytest.approx(at(NUCLEUS + 1e-9)[1], rel=1e-6)
