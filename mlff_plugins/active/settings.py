"""Every setting of active learning, as :class:`ActiveConfig`; each section is a table of the TOML file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlff_core.errors import InputError


def _positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be positive, got {value}")


@dataclass(frozen=True)
class SamplingSection:
    """How students look for what they do not know: molecular dynamics from structures they were trained on.

    Parameters
    ----------
    trajectories
        Runs in each round, each from another structure.
    time_ps, timestep_fs
        Length of each run, ps, and of a step, fs.
    temperature_kelvin, friction_per_ps
        Of the Langevin thermostat, kelvin and 1/ps.
    frame_every
        Steps between the frames that are looked at.
    ceiling
        A run ends above so many times the threshold: what a student makes of a broken molecule teaches little.
    """

    trajectories: int = 20
    time_ps: float = 0.5
    timestep_fs: float = 0.5
    temperature_kelvin: float = 600.0
    friction_per_ps: float = 10.0
    frame_every: int = 20
    ceiling: float = 5.0

    def __post_init__(self) -> None:
        _positive(self, "trajectories", "time_ps", "timestep_fs", "temperature_kelvin", "friction_per_ps")
        _positive(self, "frame_every")
        if not self.ceiling > 1:
            raise InputError(f"ceiling must be above 1, got {self.ceiling}")

    @property
    def n_steps(self) -> int:
        """Steps of a run."""
        return max(1, round(1000 * self.time_ps / self.timestep_fs))


@dataclass(frozen=True)
class ActiveConfig:
    """Rounds of active learning.

    Parameters
    ----------
    train
        Settings of the training of one student, as ``mlff train`` takes them; its data set is what the first round
        starts from. Folder, data and seed of each student are set here.
    teacher
        Labels what is found; the one that labelled the data set.
    test
        Labelled structures that every round is judged on.
    test_split
        Part of them, None for all.
    out
        Folder for everything.
    teacher_options
        What the teacher takes.
    seed
        Of the choice of structures, velocities and frames, and of the first student.
    members
        Students in a committee.
    rounds
        After the first training.
    frames
        Labels at most in each round.
    threshold
        Frames in which the standard deviation of a force component is above this are labelled, eV/Å. None takes, in
        each round, what 95 % of the validation structures stay below.
    control
        Go the same way with frames taken at random, for comparison.
    sampling
        See :class:`SamplingSection`.
    """

    train: Path
    teacher: str
    test: Path
    test_split: str | None = None
    out: Path = Path("active")
    teacher_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    members: int = 3
    rounds: int = 2
    frames: int = 100
    threshold: float | None = None
    control: bool = True
    sampling: SamplingSection = field(default_factory=SamplingSection)

    def __post_init__(self) -> None:
        for name, least in (("members", 2), ("rounds", 1), ("frames", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        _positive(self, "threshold")
