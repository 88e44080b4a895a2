"""The integrators against results of statistical mechanics."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mlff_core.dynamics.barostat import LangevinBarostat, volume_of
from mlff_core.dynamics.integrators import Langevin, VelocityVerlet
from mlff_core.dynamics.state import first_state, thermal_velocities, without_drift, without_rotation
from mlff_core.dynamics.surface import HostSurface
from mlff_core.errors import InputError
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT, GPA_PER_EV_PER_ANGSTROM3


def moving(potential, atoms, temperature, seed=0, mobile=None):
    """Return (surface, masses, random, first state)."""
    random = np.random.default_rng(seed)
    masses = atoms.get_masses()[:, None]
    surface = HostSurface(potential, batch_from_atoms(atoms, dtype=potential.dtype), mobile)
    velocities = without_drift(thermal_velocities(masses, temperature, random), masses)
    start = first_state(atoms.positions.copy(), velocities, np.asarray(atoms.cell)[None])
    return surface, masses, random, surface.refresh(start, want_stress=bool(atoms.pbc.all()))


def drawing(random, state):
    return lambda: random.standard_normal(state.positions.shape)


def total_energies(integrator, masses, state, n_steps):
    energies = []
    for _ in range(n_steps):
        state = integrator.advance(state, want_stress=False)
        energies.append(state.energy + state.kinetic_energy(masses) - state.bath_energy)
    return np.array(energies), state


def standard_error(values, n_blocks=10):
    blocks = np.asarray(values)[: len(values) // n_blocks * n_blocks].reshape(n_blocks, -1).mean(axis=1)
    return blocks.std(ddof=1) / np.sqrt(n_blocks)


def test_nve_conserves_energy_and_its_error_falls_with_the_square_of_the_step(argon, crystal):
    errors = []
    for timestep_fs, n_steps in ((16.0, 100), (8.0, 200), (4.0, 400)):
        surface, masses, _, start = moving(argon, crystal, 40.0)
        stepper = VelocityVerlet(surface, masses, timestep_fs / FS_PER_TIME_UNIT)
        energies, _ = total_energies(stepper, masses, start, n_steps)
        errors.append(np.sqrt(np.mean((energies - energies.mean()) ** 2)))
        drift = np.polyfit(np.arange(n_steps), energies, 1)[0]
        assert abs(drift) * n_steps < 3 * errors[-1]  # no drift beyond the oscillation
    assert errors[-1] < 1e-4 * 1.5 * len(crystal) * EV_PER_KELVIN * 40
    assert 3.2 < errors[0] / errors[1] < 5.0
    assert 3.2 < errors[1] / errors[2] < 5.0


def test_nve_run_backwards_returns_to_where_it_began(argon, crystal):
    surface, masses, _, start = moving(argon, crystal, 40.0)
    stepper = VelocityVerlet(surface, masses, 8.0 / FS_PER_TIME_UNIT)
    _, there = total_energies(stepper, masses, start, 50)
    turned = replace(there, velocities=-there.velocities)
    _, back = total_energies(stepper, masses, turned, 50)
    assert np.abs(there.positions - start.positions).max() > 0.1
    np.testing.assert_allclose(back.positions, start.positions, atol=1e-9)


def test_nve_keeps_momentum_and_angular_momentum_of_a_cluster_at_zero(argon, cluster):
    surface, masses, _, start = moving(argon, cluster, 20.0)
    velocities, n_rotations = without_rotation(start.velocities, start.positions, masses)
    assert n_rotations == 3
    start = replace(start, velocities=velocities)
    _, end = total_energies(VelocityVerlet(surface, masses, 1.0), masses, start, 50)
    momenta = masses * end.velocities
    assert np.abs(momenta.sum(axis=0)).max() < 1e-10
    assert np.abs(np.cross(end.positions, momenta).sum(axis=0)).max() < 1e-9


@pytest.mark.parametrize(("positions", "expected"), [([[0, 0, 0]], 0), ([[0, 0, 0], [0, 0, 3.8], [0, 0, 7.6]], 2)])
def test_an_atom_has_no_rotations_and_a_line_has_two(positions, expected):
    positions = np.array(positions, dtype=float)
    masses = np.full((len(positions), 1), 40.0)
    velocities = np.random.default_rng(0).normal(size=positions.shape)
    still, n_rotations = without_rotation(without_drift(velocities, masses), positions, masses)
    assert n_rotations == expected
    centred = positions - positions.mean(axis=0)
    assert np.abs(np.cross(centred, masses * still).sum(axis=0)).max() < 1e-10


def test_starting_velocities_have_the_width_of_maxwell_and_boltzmann_for_every_mass():
    masses = np.array([[1.0], [16.0], [200.0]]).repeat(20000, axis=0)
    velocities = thermal_velocities(masses, 300.0, np.random.default_rng(3))
    for mass in (1.0, 16.0, 200.0):
        energy = 0.5 * mass * velocities[masses[:, 0] == mass] ** 2
        expected = 0.5 * EV_PER_KELVIN * 300.0
        assert abs(energy.mean() - expected) < 4 * energy.std() / np.sqrt(energy.size)


def test_langevin_keeps_three_halves_nkt_within_its_standard_error(argon, crystal):
    temperature = 40.0
    surface, masses, random, state = moving(argon, crystal, temperature, seed=5)
    thermal_energy = EV_PER_KELVIN * temperature
    friction = 20.0 * FS_PER_TIME_UNIT / 1000
    langevin = Langevin(surface, masses, 5.0 / FS_PER_TIME_UNIT, thermal_energy, friction, drawing(random, state))
    kinetic, conserved = [], []
    for k in range(2200):
        state = langevin.advance(state, want_stress=False)
        if k >= 200:
            kinetic.append(state.kinetic_energy(masses))
            conserved.append(state.energy + kinetic[-1] - state.bath_energy)
    expected = 1.5 * len(crystal) * thermal_energy
    error = standard_error(kinetic)
    assert error < 0.03 * expected
    assert abs(np.mean(kinetic) - expected) < 3.5 * error
    # Canonical fluctuations: var(K) = 3N/2 (kT)².
    assert np.std(kinetic) == pytest.approx(np.sqrt(1.5 * len(crystal)) * thermal_energy, rel=0.2)
    # The energy of the bath is counted: the total energy fluctuates, the conserved energy does not.
    assert np.std(conserved) < 0.02 * np.std(kinetic)


def test_langevin_leaves_held_atoms_alone(argon, crystal):
    mobile = np.ones((len(crystal), 1), dtype=bool)
    mobile[:4] = False
    surface, masses, random, state = moving(argon, crystal, 40.0, mobile=mobile)
    state = replace(state, velocities=state.velocities * mobile)
    langevin = Langevin(surface, masses, 0.5, EV_PER_KELVIN * 40, 0.1, drawing(random, state))
    _, end = total_energies(langevin, masses, state, 20)
    np.testing.assert_array_equal(end.positions[:4], state.positions[:4])
    assert np.abs(end.positions[4:] - state.positions[4:]).min(axis=1).max() > 0


@pytest.fixture(scope="module")
def gas_volumes(ideal_gas):
    """Volumes (Å³) of 8 atoms of ideal gas at 300 K and 1 GPa, and kT/P (Å³)."""
    thermal_energy, pressure = EV_PER_KELVIN * 300.0, 1.0 / GPA_PER_EV_PER_ANGSTROM3
    side = (9 * thermal_energy / pressure) ** (1 / 3)
    rest = np.random.default_rng(0).uniform(size=(8, 3))
    gas = Atoms("Ar8", scaled_positions=rest, cell=[side] * 3, pbc=True)
    surface, masses, random, state = moving(ideal_gas, gas, 300.0, seed=1)
    langevin = Langevin(surface, masses, 1.0, thermal_energy, 1.0, drawing(random, state))
    barostat = LangevinBarostat(langevin, pressure, thermal_energy, 1.0, [random], full_cell=False, every=1)
    volumes = []
    for _ in range(5000):
        state = barostat.advance(state, want_stress=False)
        volumes.append(volume_of(state))
    return np.array(volumes[100:]), thermal_energy / pressure


def test_the_barostat_gives_an_ideal_gas_its_exact_mean_volume(gas_volumes):
    volumes, unit = gas_volumes
    error = standard_error(volumes)
    assert error < 0.02 * volumes.mean()
    # (N + 1) kT/P: one more than the gas law, and more than four standard errors from it.
    assert abs(volumes.mean() - 9 * unit) < 3.5 * error


def test_the_barostat_gives_an_ideal_gas_its_exact_fluctuations(gas_volumes):
    volumes, unit = gas_volumes
    assert volumes.std() == pytest.approx(3 * unit, rel=0.1)  # √(N + 1) kT/P
    # The mean of 1/V is P/(N kT): the pressure of an ideal gas averages to the barostat's.
    assert (1 / volumes).mean() * 8 * unit == pytest.approx(1.0, rel=0.06)


def pressures(argon, crystal, *, full_cell, n_steps, temperature=30.0, pressure_gpa=0.1):
    """Return −stress with the motion of the atoms, GPa, shape (n, 3, 3), and the conserved energies, eV."""
    thermal_energy = EV_PER_KELVIN * temperature
    surface, masses, random, state = moving(argon, crystal, temperature, seed=2)
    langevin = Langevin(surface, masses, 8.0 / FS_PER_TIME_UNIT, thermal_energy, 0.1, drawing(random, state))
    pressure = pressure_gpa / GPA_PER_EV_PER_ANGSTROM3
    barostat = LangevinBarostat(
        langevin, pressure, thermal_energy, 200.0 / FS_PER_TIME_UNIT, [random], full_cell=full_cell, every=5
    )
    tensors, conserved = [], []
    for k in range(n_steps):
        state = barostat.advance(state, want_stress=True)
        if k >= n_steps // 10:
            ideal = (masses * state.velocities).T @ state.velocities / volume_of(state)
            tensors.append((ideal - state.stresses[0]) * GPA_PER_EV_PER_ANGSTROM3)
            conserved.append(state.energy + state.kinetic_energy(masses) - state.bath_energy)
    return np.array(tensors), np.array(conserved)


def test_npt_holds_a_crystal_at_the_pressure_and_accounts_for_the_work(argon, crystal):
    tensors, conserved = pressures(argon, crystal, full_cell=False, n_steps=2000)
    scalar = np.trace(tensors, axis1=1, axis2=2) / 3
    error = standard_error(scalar)
    assert error < 0.01
    assert abs(scalar.mean() - 0.1) < 3.5 * error
    assert np.std(conserved) < 0.1 * 1.5 * len(crystal) * EV_PER_KELVIN * 30 / np.sqrt(len(crystal))


@pytest.mark.slow
def test_npt_of_the_full_cell_has_the_pressure_on_the_diagonal_and_nothing_beside_it(argon, crystal):
    tensors, _ = pressures(argon, crystal, full_cell=True, n_steps=20000, temperature=15.0)
    for i in range(3):
        for j in range(3):
            error = standard_error(tensors[:, i, j])
            assert error < 0.01
            assert abs(tensors[:, i, j].mean() - (0.1 if i == j else 0.0)) < 4 * error


def test_an_atom_that_jumps_is_refused(argon, crystal):
    surface, masses, _, state = moving(argon, crystal, 40.0)
    fast = state.velocities.copy()
    fast[7] = [3.0, 0, 0]
    state = replace(state, velocities=fast)
    with pytest.raises(InputError, match="atom 7 moved by 3"):
        VelocityVerlet(surface, masses, 1.0).advance(state, want_stress=False)


@pytest.mark.parametrize("pressure_gpa", [-100.0, 1e5])
def test_a_barostat_whose_moves_are_all_refused_says_so_once(argon, crystal, pressure_gpa):
    with pytest.warns(UserWarning, match="no move of the volume accepted in 50 tries") as caught:
        pressures(argon, crystal, full_cell=False, n_steps=600, pressure_gpa=pressure_gpa)
    assert len([warning for warning in caught if "no move of the volume" in str(warning.message)]) == 1
