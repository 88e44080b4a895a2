"""Energy conservation: runs that conserve, runs with a known loss, and the measures of both."""

import math

import numpy as np
import pytest
import torch

from mlff_core.errors import InputError
from mlff_core.judging.physics.nve import boxed, energy_drift, equilibrated, nve
from mlff_core.judging.physics.relaxation import relaxed
from mlff_core.judging.physics.trajectory import Trajectory, masses, run, thermal_velocities
from mlff_core.structures.batch import concatenate, single
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT

TRIANGLE = [[0.0, 0, 0], [1.1, 0.1, 0], [0.4, 1.0, 0.2]]


@pytest.fixture(name="molecule")
def fixture_molecule():
    return single(TRIANGLE, [8, 1, 1], dtype=torch.float64)


def vibrating_pair(springs, stretch):
    """Return a hydrogen pair at rest, stretched by ``stretch`` Å, and its angular frequency in 1/ps."""
    k, r0 = 20.0, 1.2
    pair = single([[0.0, 0, 0], [r0 + stretch, 0, 0]], [1, 1], dtype=torch.float64)
    reduced = float(masses(pair.atomic_numbers)[0]) / 2
    return springs(k, r0), pair, math.sqrt(k / reduced) / FS_PER_TIME_UNIT * 1e3


def test_the_period_of_a_diatomic_is_the_one_from_its_spring(springs):
    potential, pair, omega = vibrating_pair(springs, 0.05)
    period_fs = 2 * math.pi / omega * 1e3
    n = round(period_fs / 0.05)
    trajectory = run(potential, pair, torch.zeros(2, 3), n_steps=n, timestep_fs=0.05)
    distance = (trajectory.batch.positions[1] - trajectory.batch.positions[0]).norm()
    assert float(distance) == pytest.approx(1.25, abs=1e-4)


def test_a_conservative_potential_keeps_its_energy(springs, molecule):
    start = Trajectory(
        molecule, thermal_velocities(molecule, 300.0, torch.Generator().manual_seed(0)), *[np.zeros(1)] * 3
    )
    (found,) = nve(springs(), [start], length_ps=0.2, timestep_fs=0.2)
    assert abs(found.drift_mev_per_atom_per_ps) < 0.1
    assert found.score < 1e-2


def test_a_known_friction_gives_the_right_drift(springs):
    # A damped oscillator loses E0·γ per unit time on average: half of its energy is kinetic, lost at the rate 2γ.
    stretch, friction = 0.1, 0.1
    potential, pair, omega = vibrating_pair(springs, stretch)
    n_periods = 20
    timestep = 2 * math.pi / omega * 1e3 / 80
    trajectory = run(
        potential,
        pair,
        torch.zeros(2, 3),
        n_steps=80 * n_periods,
        timestep_fs=timestep,
        friction_per_ps=friction,
        record_every=8,
    )
    found = energy_drift(trajectory.times_ps, trajectory.potential_energy[:, 0], trajectory.kinetic_energy[:, 0], 2)
    energy = 0.5 * 20.0 * stretch**2
    middle = energy * math.exp(-friction * found.length_ps / 2)
    assert found.drift_mev_per_atom_per_ps == pytest.approx(-1e3 * middle * friction / 2, rel=0.03)


def test_the_measures_of_a_linear_loss_are_those_computed_by_hand():
    times = np.linspace(0.0, 2.0, 201)
    kinetic = 1.0 + 0.1 * np.sqrt(2) * np.sin(40 * np.pi * times)
    potential = 4.0 - kinetic + 1.0 + 0.03 * times
    found = energy_drift(times, potential, kinetic, 10)
    assert found.drift_mev_per_atom_per_ps == pytest.approx(3.0)
    assert found.max_deviation_mev_per_atom == pytest.approx(6.0)
    assert found.score == pytest.approx(0.03 * 2.0 / 0.1, rel=1e-2)
    assert found.drift_percent_of_total == pytest.approx(100 * 0.06 / 5.0)
    assert found.temperature == pytest.approx(2 * 1.0 / (27 * EV_PER_KELVIN), rel=1e-3)


def test_the_older_percentage_hides_any_drift_behind_a_large_zero_of_energy():
    times = np.linspace(0.0, 1.0, 11)
    kinetic = np.linspace(0.2, 0.3, 11)
    near, far = (energy_drift(times, np.full(11, zero), kinetic, 1) for zero in (-1.0, -10000.0))
    assert near.drift_mev_per_atom_per_ps == pytest.approx(far.drift_mev_per_atom_per_ps)
    assert far.drift_percent_of_total < 1e-2 * near.drift_percent_of_total


def test_the_bath_equilibrates_molecules_at_its_temperature(springs):
    molecules = concatenate([single(TRIANGLE, [8, 1, 1], dtype=torch.float64)] * 60)
    trajectory = equilibrated(springs(), molecules, temperature=300.0, length_ps=0.5)
    half = len(trajectory.times_ps) // 2
    kinetic = trajectory.kinetic_energy[half:].mean()
    assert 2 * kinetic / (9 * EV_PER_KELVIN) == pytest.approx(300.0, rel=0.06)


def test_thermal_velocities_carry_no_momentum(molecule):
    two = concatenate([molecule, molecule])
    momenta = thermal_velocities(two, 300.0, torch.Generator().manual_seed(1)) * masses(two.atomic_numbers)[:, None]
    torch.testing.assert_close(momenta[:3].sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(momenta[3:].sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_run_that_stops_gives_its_reason_and_does_not_stop_the_others(springs, molecule):
    fine = Trajectory(molecule, torch.zeros(3, 3, dtype=torch.float64), *[np.zeros(1)] * 3)
    fluorine = single(TRIANGLE, [8, 9, 1], dtype=torch.float64)
    bad = Trajectory(fluorine, torch.zeros(3, 3, dtype=torch.float64), *[np.zeros(1)] * 3)
    first, second = nve(springs(), [fine, bad], length_ps=0.01)
    assert first.max_deviation_mev_per_atom < 1.0
    assert "does not know F" in second


def test_relaxing_ends_at_the_spring_length(springs):
    pair = single([[0.0, 0, 0], [3.1, 0.4, 0]], [6, 8])
    ended = relaxed(springs(), pair, fmax=1e-5)
    assert float((ended.positions[1] - ended.positions[0]).norm()) == pytest.approx(1.2, abs=1e-5)


def test_relaxing_does_not_run_stiff_bonds_into_each_other(springs):
    class RefusesOverlap(springs):
        def predict_checked(self, batch, want, edges=None):
            if float(torch.pdist(batch.positions).min()) < 0.3:
                raise InputError("atoms overlap")
            return super().predict_checked(batch, want, edges)

    pair = single([[0.0, 0, 0], [1.25, 0, 0]], [1, 1], dtype=torch.float64)
    ended = relaxed(RefusesOverlap(k=200.0, r0=0.9), pair, fmax=1e-4)
    assert float((ended.positions[1] - ended.positions[0]).norm()) == pytest.approx(0.9, abs=1e-5)


def test_the_box_holds_the_molecule_with_the_requested_gap(molecule):
    box = boxed(molecule, gap=3.0)
    extent = molecule.positions.max(dim=0).values - molecule.positions.min(dim=0).values
    torch.testing.assert_close(torch.diagonal(box.cell[0]), extent + 3.0)
    assert bool(box.pbc.all())
    assert bool((box.cell[0].tril(-1) != 0).any())
