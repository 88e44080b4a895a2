"""Frames of Langevin dynamics with any force or potential; the integrator is that of :mod:`mlff_core.dynamics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from ase.data import atomic_masses

from mlff_core.data.sampling.strategy import at, check_limits
from mlff_core.data.structure import LabelledStructure, batch_from_structures
from mlff_core.dynamics.integrators import Langevin
from mlff_core.dynamics.state import Array, first_state, thermal_velocities
from mlff_core.dynamics.surface import HostSurface, Surface, sums_on_host
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT


class ForceSurface(Surface[Array]):
    """Structures moved by a function that gives forces and no energies.

    Parameters
    ----------
    force
        Returns forces, shape (n_atoms, 3), eV/Å, of positions, shape (n_atoms, 3), Å.
    n_atoms
        Number of atoms of all structures together.
    """

    def __init__(self, force: Callable[[Array], Array], n_atoms: int) -> None:
        self.force = force
        self.atoms = [slice(0, n_atoms)]
        self._unknown = np.full(1, np.nan)

    def _evaluate(self, positions: Array, cell: Array, want_stress: bool) -> tuple[Array, Array, Array | None]:
        """Return the forces; energies are NaN and stresses None."""
        return self._unknown, self.force(positions), None

    def sums(self, values: Array) -> Array:
        """Return the sum of ``values``, (n_atoms, 3), any unit, over all atoms, shape (1,)."""
        return sums_on_host(values, self.atoms)


def langevin(
    force: Callable[[Array], Array],
    positions: Array,
    masses: Array,
    rng: np.random.Generator,
    *,
    temperature_k: Array | float,
    timestep_fs: float,
    friction_per_ps: float,
    n_frames: int,
    steps_between: int,
) -> Iterator[Array]:
    """Yield ``n_frames`` frames of positions, shape (n_atoms, 3), Å, ``steps_between`` steps apart.

    Parameters
    ----------
    force
        Returns forces, shape (n_atoms, 3), eV/Å, of positions, shape (n_atoms, 3), Å.
    positions
        Starting positions, shape (n_atoms, 3), Å.
    masses
        Shape (n_atoms,), atomic mass units.
    rng
        Source of velocities and thermostat noise.
    temperature_k
        K; one number, or one for each atom.
    timestep_fs
        fs.
    friction_per_ps
        1/ps.
    n_frames, steps_between
        Number of frames, and of steps before each.

    Raises
    ------
    InputError
        An atom jumps, or its position is not finite.
    """
    mass = np.asarray(masses, dtype=np.float64)[:, None]
    temperatures = np.broadcast_to(temperature_k, (len(mass),))[:, None]
    positions = np.array(positions, dtype=np.float64)
    velocities = thermal_velocities(mass, temperatures, rng)
    surface = ForceSurface(force, len(positions))
    integrator = Langevin(
        surface,
        mass,
        timestep_fs / FS_PER_TIME_UNIT,
        EV_PER_KELVIN * temperatures,
        friction_per_ps * FS_PER_TIME_UNIT / 1000.0,
        lambda: rng.standard_normal(positions.shape),
    )
    state = surface.refresh(first_state(positions, velocities, np.zeros((1, 3, 3))), want_stress=False)
    for _ in range(n_frames):
        for _ in range(steps_between):
            state = integrator.advance(state, want_stress=False)
        yield state.positions


def langevin_md(
    potential: Potential,
    starts: Sequence[LabelledStructure],
    rng: np.random.Generator,
    *,
    temperature_k: float | tuple[float, float] = (300.0, 1000.0),
    n_frames: int = 4,
    steps_between: int = 40,
    timestep_fs: float = 0.5,
    friction_per_ps: float = 10.0,
    on_frame: Callable[[int], None] | None = None,
) -> list[list[LabelledStructure]]:
    """Return frames of MD of every start, run together as one batch; kind ``"md"``, not labelled.

    Parameters
    ----------
    potential
        Gives the forces.
    starts
        Molecules or crystals.
    rng
        Source of velocities and thermostat noise.
    temperature_k
        K; a pair is the range of the temperatures of the starts.
    n_frames
        Number of frames for each start.
    steps_between, timestep_fs
        Steps before each frame, and their length in fs.
    friction_per_ps
        1/ps; strong, so that a run from a minimum is equilibrated after a tenth of a picosecond.
    on_frame
        Called after each frame with the number of frames so far.

    Raises
    ------
    InputError
        There are no starts, a temperature or count is invalid, or the run became unphysical.
    """
    low, high = (temperature_k, temperature_k) if isinstance(temperature_k, (int, float)) else temperature_k
    if not 0 < low <= high:
        raise InputError(f"temperature_k must be positive, or an ascending pair, got {temperature_k}")
    check_limits("n_frames", n_frames, 1)
    check_limits("steps_between", steps_between, 1)
    batch = batch_from_structures(starts, dtype=torch.float64)
    counts = [start.n_atoms for start in starts]
    temperatures = np.repeat(rng.uniform(low, high, len(starts)), counts)
    surface, cell = HostSurface(potential, batch), batch.cell.numpy()

    def force(positions: Array) -> Array:
        return surface.evaluate(positions, cell, want_stress=False)[1]

    frames: list[list[LabelledStructure]] = [[] for _ in starts]
    for positions in langevin(
        force,
        batch.positions.numpy(),
        atomic_masses[batch.atomic_numbers.numpy()],
        rng,
        temperature_k=temperatures,
        timestep_fs=timestep_fs,
        friction_per_ps=friction_per_ps,
        n_frames=n_frames,
        steps_between=steps_between,
    ):
        pieces = np.split(positions, np.cumsum(counts)[:-1])
        for collected, start, piece in zip(frames, starts, pieces, strict=True):
            collected.append(at(start, piece, "md"))
        if on_frame is not None:
            on_frame(len(frames[0]))
    return frames
