"""A batch of structures on one surface: each moves as it would alone, with arrays and with tensors."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from mlff_core import load
from mlff_core.dynamics.integrators import Langevin
from mlff_core.dynamics.noise import Noise
from mlff_core.dynamics.state import first_state, thermal_velocities
from mlff_core.dynamics.surface import DeviceSurface, HostSurface
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN


def after_steps(kind, potential, frames, seeds, n_steps=20):
    """Return the state of all structures on the host after some steps of Langevin dynamics, and their masses."""
    batch = batch_from_atoms(frames, dtype=potential.dtype)
    surface = kind(potential, batch)
    generators = [np.random.default_rng(seed) for seed in seeds]
    masses = [atoms.get_masses()[:, None] for atoms in frames]
    velocities = [thermal_velocities(m, 40.0, g) for m, g in zip(masses, generators, strict=True)]
    noise = Noise(generators, batch.atoms_per_system(), surface.array)
    everyone = surface.array(np.concatenate(masses))
    langevin = Langevin(surface, everyone, 0.5, EV_PER_KELVIN * 40.0, 0.1, noise.draw)
    start = first_state(batch.positions.numpy(), np.concatenate(velocities), batch.cell.numpy())
    state = surface.refresh(surface.placed(start), want_stress=False)
    for _ in range(n_steps):
        state = langevin.advance(state, want_stress=False)
    return surface.on_host(state), surface


@pytest.mark.parametrize("kind", [HostSurface, DeviceSurface])
def test_each_structure_of_a_batch_moves_as_it_would_alone(argon, crystal, cluster, kind):
    frames = [cluster, crystal, cluster[:5]]
    together, surface = after_steps(kind, argon, frames, [1, 2, 3])
    for k, atoms in enumerate(frames):
        alone, _ = after_steps(kind, argon, [atoms], [1 + k])
        own = together.one(k, surface.atoms[k])
        for name in ("positions", "velocities", "energies", "forces", "bath_energies"):
            np.testing.assert_allclose(getattr(own, name), getattr(alone, name), rtol=0, atol=1e-10, err_msg=name)


def test_arrays_and_tensors_give_the_same_run(argon, crystal, cluster):
    arrays, _ = after_steps(HostSurface, argon, [cluster, crystal], [1, 2])
    tensors, _ = after_steps(DeviceSurface, argon, [cluster, crystal], [1, 2])
    np.testing.assert_array_equal(arrays.positions, tensors.positions)
    np.testing.assert_allclose(arrays.bath_energies, tensors.bath_energies, rtol=0, atol=1e-14)


def test_sums_are_those_of_each_structure(argon, crystal, cluster):
    values = np.random.default_rng(0).normal(size=(len(cluster) + len(crystal), 3))
    batch = batch_from_atoms([cluster, crystal], dtype=argon.dtype)
    expected = [values[: len(cluster)].sum(), values[len(cluster) :].sum()]
    np.testing.assert_allclose(HostSurface(argon, batch).sums(values), expected)
    np.testing.assert_allclose(DeviceSurface(argon, batch).sums(torch.from_numpy(values)).numpy(), expected)


def test_another_cell_is_noticed(argon, crystal):
    surface = HostSurface(argon, batch_from_atoms(crystal, dtype=argon.dtype))
    cell = np.asarray(crystal.cell)[None]
    before, _, _ = surface.evaluate(crystal.positions, cell, want_stress=False)
    other, _, _ = surface.evaluate(crystal.positions, 1.05 * cell, want_stress=False)
    again, _, _ = surface.evaluate(crystal.positions, cell, want_stress=False)
    assert abs(float(other[0] - before[0])) > 1e-3
    np.testing.assert_allclose(again, before)


FAR_AWAY = np.array([1e6, -3e5, 2e6])
"""Å. Single precision has steps of 0.125 Å there."""


@pytest.mark.parametrize("kind", [HostSurface, DeviceSurface])
def test_structures_far_from_the_origin_have_the_forces_of_those_near_it(kind):
    potential = load("organic-ultra-tiny")
    frames = [molecule("CH3CH2OH"), molecule("H2O")]
    near = np.concatenate([atoms.positions for atoms in frames])
    far = near + np.repeat([FAR_AWAY, [0.0, 0.0, 0.0]], [len(atoms) for atoms in frames], axis=0)
    batch = batch_from_atoms(frames, dtype=potential.dtype)
    cell = np.zeros((2, 3, 3))
    found = []
    for positions in (near, far):
        surface = kind(potential, batch)
        energies, forces, _ = surface.evaluate(surface.array(positions), surface.array(cell), want_stress=False)
        found.append((np.asarray(energies), np.asarray(forces)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=0, atol=1e-3)  # float32 of some 60 Å
