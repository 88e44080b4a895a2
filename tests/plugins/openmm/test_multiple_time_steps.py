"""``create_mts`` in simulations by OpenMM."""

import pickle

import numpy as np
import openmm
import pytest
import torch
from openmm import unit

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.difference import Difference
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import PairPotential, structures
from mlff_core.units import ANGSTROM_PER_NM, FS_PER_TIME_UNIT, KJ_MOL_PER_EV
from mlff_plugins.openmm import create_mts


class Weaker(PairPotential):
    """Like the outer potential, but 10 % weaker."""

    def predict_checked(self, batch, want, edges=None):
        found = super().predict_checked(batch, want, edges)
        return type(found)(energy=0.9 * found.energy, forces=0.9 * found.forces)


OUTER, INNER = PairPotential(dtype=torch.float64), Weaker(dtype=torch.float64)


def system_of(atoms):
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    return system


def started(atoms, velocities, **settings):
    """Return a Context with both models and given velocities, Å per Å·√(amu/eV)."""
    system = system_of(atoms)
    integrator = create_mts(system, atoms.numbers, OUTER, INNER, **settings)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.positions / ANGSTROM_PER_NM)
    context.setVelocities(velocities / ANGSTROM_PER_NM * 1000 / FS_PER_TIME_UNIT)
    return context, integrator


@pytest.fixture
def ethanol():
    return structures.ethanol()


@pytest.fixture
def velocities(ethanol):
    drawn = np.random.default_rng(3).normal(size=(len(ethanol), 3)) * np.sqrt(0.02 / ethanol.get_masses()[:, None])
    masses = ethanol.get_masses()[:, None]
    return drawn - (masses * drawn).sum(axis=0) / masses.sum()


def test_the_energy_and_the_forces_are_those_of_the_outer_model(ethanol, velocities):
    context, _ = started(ethanol, velocities, inner_steps=4, timestep_fs=1.0)
    expected = OUTER.predict(batch_from_atoms([ethanol], dtype=torch.float64))
    state = context.getState(energy=True, forces=True)
    assert state.getPotentialEnergy()._value / KJ_MOL_PER_EV == pytest.approx(float(expected.energy), abs=1e-9)
    forces = state.getForces(asNumpy=True)._value / KJ_MOL_PER_EV / ANGSTROM_PER_NM
    np.testing.assert_allclose(forces, expected.forces.numpy(), atol=1e-8)
    fast = context.getState(energy=True, groups={0}).getPotentialEnergy()._value / KJ_MOL_PER_EV
    assert fast == pytest.approx(0.9 * float(expected.energy), abs=1e-9)


def test_a_run_is_the_run_of_this_packages_own_integrator(ethanol, velocities):
    from mlff_core.dynamics.integrators import VelocityVerlet
    from mlff_core.dynamics.multiple_time_steps import MultipleTimeSteps
    from mlff_core.dynamics.state import first_state
    from mlff_core.dynamics.surface import HostSurface

    context, integrator = started(ethanol, velocities, inner_steps=4, timestep_fs=1.0)
    integrator.step(50)
    batch, masses = batch_from_atoms([ethanol], dtype=torch.float64), ethanol.get_masses()[:, None]
    outer, inner = HostSurface(OUTER, batch), HostSurface(INNER, batch)
    stepper = MultipleTimeSteps(outer, VelocityVerlet(inner, masses, 0.25 / FS_PER_TIME_UNIT), 4)
    state = outer.refresh(first_state(ethanol.positions, velocities, np.zeros((1, 3, 3))), want_stress=False)
    for _ in range(50):
        state = stepper.advance(state, want_stress=False)
    reached = context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    assert np.abs(reached - ethanol.positions).max() > 0.1
    np.testing.assert_allclose(reached, state.positions, atol=2e-6)


def test_energy_is_conserved_without_a_thermostat_and_temperature_held_with_one(ethanol, velocities):
    context, integrator = started(ethanol, velocities, inner_steps=4, timestep_fs=1.0)
    energies = []
    for _ in range(200):
        integrator.step(1)
        state = context.getState(energy=True)
        energies.append((state.getPotentialEnergy() + state.getKineticEnergy())._value / KJ_MOL_PER_EV)
    assert np.ptp(energies) < 0.02 * abs(np.mean(energies))
    assert isinstance(integrator, openmm.MTSIntegrator)
    context, integrator = started(
        ethanol, velocities, inner_steps=4, timestep_fs=1.0, temperature_kelvin=300.0, friction_per_ps=20.0
    )
    assert isinstance(integrator, openmm.MTSLangevinIntegrator)
    kinetic = []
    for _ in range(1200):
        integrator.step(2)
        kinetic.append(context.getState(energy=True).getKineticEnergy()._value)
    # The start is far from the minimum of this potential, at 600 K; it has cooled down after half a picosecond.
    temperature = np.mean(kinetic[400:]) / (1.5 * len(ethanol) * 8.314462618e-3)
    assert 240 < temperature < 360


def test_forces_of_other_groups_and_wrong_numbers_are_refused(ethanol):
    for settings, message in (
        ({"inner_steps": 0, "timestep_fs": 1.0}, "inner_steps"),
        ({"inner_steps": 2, "timestep_fs": 0.0}, "timestep_fs"),
        ({"inner_steps": 2, "timestep_fs": 1.0, "friction_per_ps": -1.0}, "friction_per_ps"),
    ):
        with pytest.raises(InputError, match=message):
            create_mts(system_of(ethanol), ethanol.numbers, OUTER, INNER, **settings)
    system = system_of(ethanol)
    bonds = openmm.HarmonicBondForce()
    bonds.setForceGroup(3)
    system.addForce(bonds)
    with pytest.raises(InputError, match="HarmonicBondForce in force group 3"):
        create_mts(system, ethanol.numbers, OUTER, INNER, inner_steps=2, timestep_fs=1.0)


def test_the_difference_is_pickled_with_its_potentials(ethanol):
    batch = batch_from_atoms([ethanol], dtype=torch.float64)
    difference = Difference(OUTER, INNER)
    copy = pickle.loads(pickle.dumps(difference))
    torch.testing.assert_close(copy.predict(batch).forces, difference.predict(batch).forces)
    torch.testing.assert_close(difference.predict(batch).forces, 0.1 * OUTER.predict(batch).forces)
    INNER.supports, before = frozenset({"energy"}), INNER.supports
    try:
        with pytest.raises(UnsupportedError, match="gives no forces"):
            Difference(OUTER, INNER)
    finally:
        INNER.supports = before
