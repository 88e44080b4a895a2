"""Langevin dynamics with any force: the integrator, and frames from any potential.

The splitting is BAOAB of B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013, 34, doi:10.1093/amrx/abs010.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from ase import units as ase_units
from ase.data import atomic_masses

from mlff_core.data.sampling.strategy import at, check_count
from mlff_core.data.structure import Array, LabelledStructure, batch_from_structures
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.units import EV_PER_KELVIN


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
        Where to start, shape (n_atoms, 3), Å.
    masses
        Shape (n_atoms,), atomic mass units.
    rng
        Where velocities and kicks come from.
    temperature_k
        K; one number, or one for each atom.
    timestep_fs
        fs.
    friction_per_ps
        1/ps.
    n_frames, steps_between
        How many frames, how many steps before each.
    """
    step = timestep_fs * ase_units.fs
    mass = np.asarray(masses, dtype=np.float64)[:, None]
    thermal = np.sqrt(EV_PER_KELVIN * np.broadcast_to(temperature_k, (len(mass),))[:, None] / mass)
    keep = float(np.exp(-friction_per_ps * timestep_fs / 1000.0))
    kick = thermal * np.sqrt(1.0 - keep * keep)
    positions = np.array(positions, dtype=np.float64)
    velocities = thermal * rng.standard_normal(positions.shape)
    forces = force(positions)
    for _ in range(n_frames):
        for _ in range(steps_between):
            velocities += 0.5 * step * forces / mass
            positions = positions + 0.5 * step * velocities
            velocities = keep * velocities + kick * rng.standard_normal(positions.shape)
            positions = positions + 0.5 * step * velocities
            forces = force(positions)
            velocities += 0.5 * step * forces / mass
        yield positions


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
    """Return frames of MD of every start, all run together as one batch; kind ``"md"``, not labelled.

    Parameters
    ----------
    potential
        Moves the atoms.
    starts
        Molecules or crystals.
    rng
        Where velocities and kicks come from.
    temperature_k
        K; a pair is a range from which each start draws its own.
    n_frames
        For each start.
    steps_between, timestep_fs
        Steps before each frame, and their length in fs.
    friction_per_ps
        1/ps; strong, so that a run begun at a minimum is warm after a tenth of a picosecond.
    on_frame
        Called with how many frames of each start there are, after each.

    Raises
    ------
    InputError
        No starts, an impossible temperature or count, or a run that fell apart.
    """
    low, high = (temperature_k, temperature_k) if isinstance(temperature_k, (int, float)) else temperature_k
    if not 0 < low <= high:
        raise InputError(f"temperature_k must be positive, or a rising pair, got {temperature_k}")
    check_count(n_frames)
    check_count(steps_between)
    batch = batch_from_structures(starts, dtype=torch.float64)
    counts = [start.n_atoms for start in starts]
    temperatures = np.repeat(rng.uniform(low, high, len(starts)), counts)
    moving = VerletPotential(potential)

    def force(positions: Array) -> Array:
        forces = moving.predict(batch.with_positions(torch.from_numpy(positions)), want=("forces",)).forces
        if forces is None:
            raise InputError(f"{potential.card.name} gives no forces, so it cannot move atoms")
        return forces.detach().to("cpu", torch.float64).numpy()

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
