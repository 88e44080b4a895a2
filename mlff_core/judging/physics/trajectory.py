"""Trajectories for the checks: many structures at once; only energies and the end are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from ase.data import atomic_masses
from torch import Tensor

from mlff_core.dynamics.integrators import Integrator, Langevin, VelocityVerlet
from mlff_core.dynamics.state import MDState
from mlff_core.dynamics.surface import DeviceSurface
from mlff_core.errors import InputError
from mlff_core.model.derivatives import sum_over_systems
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, split
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT

Array = npt.NDArray[np.float64]


def masses(atomic_numbers: Tensor) -> Tensor:
    """Return the standard masses of atoms, shape (n_atoms,), amu, float64, from atomic numbers of the same shape."""
    return torch.from_numpy(atomic_masses)[atomic_numbers.cpu()].to(atomic_numbers.device, torch.float64)


def thermal_velocities(batch: AtomicBatch, temperature: float, generator: torch.Generator) -> Tensor:
    """Return Maxwell-Boltzmann velocities with no net momentum, shape (n_atoms, 3), Å/Å√(amu/eV).

    Parameters
    ----------
    batch
        The structures.
    temperature
        K.
    generator
        Random number generator.
    """
    mass = masses(batch.atomic_numbers).cpu()[:, None]
    noise = torch.randn((batch.n_atoms, 3), dtype=torch.float64, generator=generator)
    owner = batch.system_idx.cpu()
    momenta = noise * torch.sqrt(mass * EV_PER_KELVIN * temperature)
    totals = sum_over_systems(torch.cat([momenta, mass], dim=1), owner, batch.n_systems)[owner]
    return momenta / mass - totals[:, :3] / totals[:, 3:]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The end of a run, and its energies."""

    batch: AtomicBatch
    """The structures at the end, float64 positions."""
    velocities: Tensor
    """Velocities at the end, shape (n_atoms, 3), Å/Å√(amu/eV)."""
    times_ps: Array
    """Time of each record, shape (n_records,), ps."""
    potential_energy: Array
    kinetic_energy: Array
    """Shape (n_records, n_systems), eV."""

    def split(self) -> list[Trajectory]:
        """Return one trajectory for each structure."""
        velocities = self.velocities.split(self.batch.atoms_per_system())
        return [
            Trajectory(batch, velocities[k], self.times_ps, self.potential_energy[:, [k]], self.kinetic_energy[:, [k]])
            for k, batch in enumerate(split(self.batch))
        ]


def run(
    potential: Potential,
    batch: AtomicBatch,
    velocities: Tensor,
    *,
    n_steps: int,
    timestep_fs: float = 0.5,
    temperature: float = 0.0,
    friction_per_ps: float = 0.0,
    generator: torch.Generator | None = None,
    record_every: int = 10,
    progress: Callable[[int], None] | None = None,
) -> Trajectory:
    """Return a Langevin trajectory of every structure; without friction it is velocity Verlet.

    The steps are those of :mod:`mlff_core.dynamics.integrators`. Positions and velocities are float64 for any
    precision of the potential, so that a drift is caused by the potential.

    Parameters
    ----------
    potential
        Gives the forces.
    batch
        Starting structures.
    velocities
        Starting velocities, shape (n_atoms, 3), Å/Å√(amu/eV).
    n_steps
        Number of steps.
    timestep_fs
        fs.
    temperature
        Temperature of the bath, K.
    friction_per_ps
        Coupling to the bath, 1/ps.
    generator
        Random number generator of the bath; needed if temperature and friction are set.
    record_every
        Steps between records of the energies; the start and the end are always recorded.
    progress
        Called with the number of steps done.

    Raises
    ------
    InputError
        The time step or the number of steps is not positive, or the run became unphysical: atoms overlap or jump, or an
        energy or a force is not finite.
    """
    if not timestep_fs > 0 or n_steps < 1:
        raise InputError(f"a trajectory needs a positive time step and at least one step, got {timestep_fs}, {n_steps}")
    batch = batch.to(potential.device, torch.float64)
    surface = DeviceSurface(potential, batch)
    mass = masses(batch.atomic_numbers)[:, None]
    timestep = timestep_fs / FS_PER_TIME_UNIT
    integrator: Integrator[Tensor] = VelocityVerlet(surface, mass, timestep)
    if friction_per_ps:

        def draw() -> Tensor:
            if not temperature:
                return torch.zeros_like(batch.positions)
            return torch.randn(batch.positions.shape, dtype=torch.float64, generator=generator).to(batch.device)

        friction = friction_per_ps * FS_PER_TIME_UNIT / 1000.0
        integrator = Langevin(surface, mass, timestep, EV_PER_KELVIN * temperature, friction, draw)
    nothing = torch.zeros(batch.n_systems, dtype=torch.float64, device=batch.device)
    start = MDState(
        0,
        batch.positions,
        velocities.to(batch.device, torch.float64),
        batch.cell,
        nothing,
        torch.zeros_like(batch.positions),
        None,
        nothing,
    )
    state = surface.refresh(start, want_stress=False)
    times, potentials, kinetics = [], [], []
    for step in range(n_steps + 1):
        if step > 0:
            state = integrator.advance(state, want_stress=False)
        if step % record_every == 0 or step == n_steps:
            times.append(step * timestep_fs * 1e-3)
            potentials.append(state.energies.cpu().numpy())
            kinetics.append((0.5 * surface.sums(mass * state.velocities**2)).cpu().numpy())
            if progress is not None:
                progress(step)
    ended = batch.with_positions(state.positions)
    return Trajectory(ended, state.velocities, np.array(times), np.array(potentials), np.array(kinetics))
