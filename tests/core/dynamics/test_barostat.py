"""The barostat on a batch: structures move independently. Its ensemble is tested with the integrators."""

import numpy as np
import pytest

from mlff_core.dynamics.barostat import LangevinBarostat
from mlff_core.dynamics.integrators import Langevin
from mlff_core.dynamics.noise import Noise
from mlff_core.dynamics.state import first_state, thermal_velocities
from mlff_core.dynamics.surface import HostSurface
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, GPA_PER_EV_PER_ANGSTROM3

RELAXATION_TIME = 0.5
"""So short, in Å·√(amu/eV), that moves are large and some are rejected."""


def run(potential, frames, seeds, *, full_cell):
    """Return 60 states of all structures with a move of the cells in every third step, and the surface."""
    batch = batch_from_atoms(frames, dtype=potential.dtype)
    surface = HostSurface(potential, batch)
    generators = [np.random.default_rng(seed) for seed in seeds]
    masses = [atoms.get_masses()[:, None] for atoms in frames]
    velocities = [thermal_velocities(m, 30.0, g) for m, g in zip(masses, generators, strict=True)]
    noise = Noise(generators, batch.atoms_per_system(), surface.array, ahead=1)
    thermal_energy = EV_PER_KELVIN * 30.0
    langevin = Langevin(surface, np.concatenate(masses), 0.5, thermal_energy, 0.1, noise.draw)
    pressure = 0.1 / GPA_PER_EV_PER_ANGSTROM3
    barostat = LangevinBarostat(
        langevin, pressure, thermal_energy, RELAXATION_TIME, generators, full_cell=full_cell, every=3
    )
    state = first_state(batch.positions.numpy(), np.concatenate(velocities), batch.cell.numpy())
    states = [surface.refresh(state, want_stress=True)]
    for _ in range(60):
        states.append(barostat.advance(states[-1], want_stress=True))
    return states, surface


@pytest.mark.parametrize("full_cell", [False, True])
def test_each_structure_of_a_batch_is_moved_and_accepted_as_it_would_be_alone(argon, crystal, full_cell):
    larger = crystal.copy()
    larger.set_cell(crystal.cell * 1.01, scale_atoms=True)
    frames = [crystal, larger]
    together, surface = run(argon, frames, [1, 2], full_cell=full_cell)
    moved = [np.abs(np.diff([state.cell for state in together], axis=0)).max(axis=(2, 3)) > 0][0]
    assert 0 < moved[:, 0].sum() < 20  # some moves of a structure are accepted, and some are not
    assert (moved[:, 0] != moved[:, 1]).any()
    for k, atoms in enumerate(frames):
        alone, _ = run(argon, [atoms], [1 + k], full_cell=full_cell)
        own = together[-1].one(k, surface.atoms[k])
        for name in ("positions", "velocities", "cell", "energies", "stresses", "bath_energies"):
            np.testing.assert_allclose(getattr(own, name), getattr(alone[-1], name), rtol=0, atol=1e-9, err_msg=name)
