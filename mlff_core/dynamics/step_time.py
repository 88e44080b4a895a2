"""Time of an MD step with moving atoms, including the neighbour search, never the same structure twice."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from mlff_core.dynamics.integrators import VelocityVerlet
from mlff_core.dynamics.state import Array, MDState, first_state, thermal_velocities, without_drift
from mlff_core.dynamics.surface import HostSurface
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import FS_PER_TIME_UNIT

TIMESTEP_FS = 0.5
TEMPERATURE_KELVIN = 300.0
SHORTEST_REPEAT_S = 0.1


@dataclass(frozen=True)
class StepTime:
    """Measured time of MD steps."""

    repeats_ms: tuple[float, ...]
    """Mean time of a step in each repeat, ms."""
    steps_per_repeat: int
    """Number of steps in each repeat."""
    neighbour_searches_per_step: float
    """Neighbour searches per step; the other steps use the list with its skin."""

    @property
    def median_ms(self) -> float:
        """Median over the repeats, ms."""
        return statistics.median(self.repeats_ms)


def time_steps(
    potential: Potential,
    frames: Sequence[Atoms],
    *,
    n_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> StepTime:
    """Return the time of velocity Verlet steps at 300 K, including energy, forces and neighbours.

    One trajectory runs through warm-up and repeats, so that every step has new positions and neighbour searches
    are as frequent as in a simulation.

    Parameters
    ----------
    potential
        The potential to time.
    frames
        The structures, run together as one batch.
    n_repeats
        Number of repeats, each of at least 0.1 s and 10 steps.
    clock
        Returns the time, s.

    Raises
    ------
    InputError
        ``n_repeats`` is not positive, or the run became unphysical.
    UnsupportedError
        The potential does not support the structures.
    """
    if n_repeats < 1:
        raise InputError(f"n_repeats must be at least 1, got {n_repeats}")
    masses = np.concatenate([frame.get_masses() for frame in frames])[:, None]
    batch = batch_from_atoms(frames, device=potential.device, dtype=potential.dtype)
    surface = HostSurface(potential, batch)
    stepper = VelocityVerlet(surface, masses, TIMESTEP_FS / FS_PER_TIME_UNIT)
    state = surface.refresh(_start(batch, masses), want_stress=False)
    state, seconds = _steps(stepper, state, 10, potential.device, clock)
    n_steps = max(10, int(np.ceil(SHORTEST_REPEAT_S / max(seconds / 10, 1e-9))))
    # The first calls of a compiled or tuned kernel take longer, so the number of steps is chosen again after them.
    state, seconds = _steps(stepper, state, n_steps, potential.device, clock)
    n_steps = max(10, int(np.ceil(SHORTEST_REPEAT_S / max(seconds / n_steps, 1e-9))))
    builds = surface.n_builds
    times = []
    for _ in range(n_repeats):
        state, seconds = _steps(stepper, state, n_steps, potential.device, clock)
        times.append(1e3 * seconds / n_steps)
    return StepTime(tuple(times), n_steps, (surface.n_builds - builds) / (n_repeats * n_steps))


def _start(batch: AtomicBatch, masses: Array) -> MDState[Array]:
    positions = batch.positions.double().cpu().numpy()
    velocities = thermal_velocities(masses, TEMPERATURE_KELVIN, np.random.default_rng(0))
    return first_state(positions, without_drift(velocities, masses), batch.cell.double().cpu().numpy())


def _steps(
    stepper: VelocityVerlet[Array],
    state: MDState[Array],
    n_steps: int,
    device: torch.device,
    clock: Callable[[], float],
) -> tuple[MDState[Array], float]:
    """Return the state after the steps and the seconds they took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    for _ in range(n_steps):
        state = stepper.advance(state, want_stress=False)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return state, clock() - began
