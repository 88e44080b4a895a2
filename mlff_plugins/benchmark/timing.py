"""Rows of ``mlff benchmark``: the times of MD steps of one system."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlff_core.dynamics.step_time import TIMESTEP_FS, time_steps
from mlff_core.errors import InputError, MlffError
from mlff_core.potentials.interface import Potential
from mlff_plugins.benchmark.systems import build


@dataclass(frozen=True)
class Timing:
    """Times of MD steps of one system."""

    system: str
    """Its name."""
    n_atoms: int
    n_systems: int
    """Of all structures together."""
    ms_per_step: float | None = None
    """Median over the repeats of the mean over the steps of a repeat, ms."""
    ms_per_step_min: float | None = None
    ms_per_step_max: float | None = None
    """Fastest and slowest repeat, ms."""
    atoms_per_s: float | None = None
    """Atoms times steps in a second, by the median."""
    ns_per_day: float | None = None
    """Simulated time per day with steps of 0.5 fs."""
    n_repeats: int = 0
    steps_per_repeat: int = 0
    """Number of repeats, and steps in each."""
    neighbour_searches_per_step: float | None = None
    """Neighbour searches per step; the other steps used the list with a skin."""
    message: str = ""
    """Reason if there is no timing; else empty."""


def time_system(
    potential: Potential,
    system: str,
    *,
    n_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Return the times of MD steps of a named system, see :func:`mlff_core.dynamics.step_time.time_steps`.

    A system with unknown elements, or one that becomes unstable, gives a row with a message.

    Parameters
    ----------
    potential
        The potential to time.
    system
        A name such as those in :data:`mlff_plugins.benchmark.systems.SYSTEMS`; ``water-N`` takes any multiple of three,
        ``xK`` any batch.
    n_repeats
        Number of repeats, each of at least 0.1 s and 10 steps.
    clock
        Seconds.

    Raises
    ------
    InputError
        No system has this name, or ``n_repeats`` is not positive.
    """
    if n_repeats < 1:
        raise InputError(f"n_repeats must be at least 1, got {n_repeats}")
    frames = build(system)
    n_atoms = sum(len(frame) for frame in frames)
    try:
        timed = time_steps(potential, frames, n_repeats=n_repeats, clock=clock)
    except MlffError as error:
        return Timing(system, n_atoms, len(frames), message=str(error))
    return Timing(
        system=system,
        n_atoms=n_atoms,
        n_systems=len(frames),
        ms_per_step=timed.median_ms,
        ms_per_step_min=min(timed.repeats_ms),
        ms_per_step_max=max(timed.repeats_ms),
        atoms_per_s=1e3 * n_atoms / timed.median_ms,
        ns_per_day=86400e3 / timed.median_ms * TIMESTEP_FS * 1e-6,
        n_repeats=n_repeats,
        steps_per_repeat=timed.steps_per_repeat,
        neighbour_searches_per_step=timed.neighbour_searches_per_step,
    )
