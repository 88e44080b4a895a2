"""Settings of molecular dynamics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath

from mlff_core.errors import InputError

MOST_STEPS = 10**12
"""Longest run, steps: years of computing."""

MOST_INNER_STEPS = 1000
"""Most inner steps in one step; already tens of them are beyond the limit of resonance."""

ENSEMBLES = ("nve", "nvt", "npt")
TRAJECTORY_SUFFIXES = (".extxyz", ".xyz", ".traj")


@dataclass(frozen=True)
class MDSettings:
    """Settings of a run.

    Raises
    ------
    InputError
        A value is out of range.
    """

    ensemble: str
    """``"nve"``, ``"nvt"`` or ``"npt"``."""
    n_steps: int
    """Length of the whole run, steps."""
    timestep_fs: float = 0.5
    """fs; with inner steps that of the outer potential."""
    temperature_kelvin: float | None = None
    """Temperature of the bath and of the starting velocities, kelvin; None (only with ``"nve"``) starts with the
    velocities of the structure."""
    friction_per_ps: float = 1.0
    """Coupling to the Langevin thermostat, 1/ps."""
    pressure_gpa: float = 1.0e-4
    """Pressure of the barostat, GPa; 0.0001 GPa is 1 bar."""
    full_cell: bool = False
    """Whether the barostat changes the shape of the cell too, not only the volume."""
    barostat_time_fs: float = 1000.0
    """Relaxation time of the volume of a liquid like water; stiffer materials relax faster."""
    seed: int = 0
    """Seed of starting velocities, thermostat and barostat."""
    log_every: int = 10
    frame_every: int = 100
    checkpoint_every: int = 1000
    """Steps between rows of the log, frames of the trajectory and restart files."""
    trajectory: str = "trajectory.extxyz"
    """Name of the trajectory in the run's folder; its ending chooses the format."""
    inner_steps: int | None = None
    """Number of steps of the inner potential in one time step; None without an inner potential."""
    hydrogen_mass: float | None = None
    """Mass of all hydrogen atoms, amu, taken from the atoms they are bonded to; None leaves the masses as they are."""

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise InputError(f"ensemble must be one of {', '.join(ENSEMBLES)}, got {self.ensemble!r}")
        if self.ensemble != "nve" and self.temperature_kelvin is None:
            raise InputError(
                f"an {self.ensemble} run needs a temperature, got none; give temperature_kelvin (--temperature-kelvin)"
            )
        if self.full_cell and self.ensemble != "npt":
            raise InputError(f"full_cell needs npt, the only ensemble that changes the cell, got {self.ensemble}")
        for name in ("timestep_fs", "friction_per_ps", "barostat_time_fs"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be positive, got {value}")
        if self.hydrogen_mass is not None and not (math.isfinite(self.hydrogen_mass) and self.hydrogen_mass > 0):
            raise InputError(f"hydrogen_mass must be positive, in amu, got {self.hydrogen_mass}")
        temperature = self.temperature_kelvin
        least = 0.0 if self.ensemble == "nve" else 1e-6
        if temperature is not None and not (math.isfinite(temperature) and temperature >= least):
            raise InputError(f"temperature_kelvin must be positive, got {temperature}")
        if not math.isfinite(self.pressure_gpa):
            raise InputError(f"pressure_gpa must be finite, got {self.pressure_gpa}")
        if self.inner_steps is not None and not 1 <= self.inner_steps <= MOST_INNER_STEPS:
            raise InputError(f"inner_steps must lie in 1–{MOST_INNER_STEPS}, got {self.inner_steps}")
        for name in ("n_steps", "log_every", "frame_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
            if getattr(self, name) > MOST_STEPS:
                raise InputError(f"{name} must be at most {MOST_STEPS:,}, got {getattr(self, name):,}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must not be negative or longer than 63 bits, got {self.seed}")
        path = PurePath(self.trajectory)
        if path.suffix not in TRAJECTORY_SUFFIXES or len(path.parts) != 1:
            raise InputError(
                f"trajectory must be a file name ending in {', '.join(TRAJECTORY_SUFFIXES)}, got {self.trajectory!r}"
            )
