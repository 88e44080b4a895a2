"""The settings of active learning, as :class:`ActiveConfig`; each section is a table of the TOML file."""

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
    """Settings of the molecular dynamics of the students, which starts from structures of their training set.

    Parameters
    ----------
    trajectories
        Number of runs in each round, each from another structure.
    time_ps, timestep_fs
        Length of each run, ps, and of a step, fs.
    temperature_kelvin, friction_per_ps
        Of the Langevin thermostat, kelvin and 1/ps.
    frame_every
        Steps between frames.
    ceiling
        A run ends above this multiple of the threshold, since frames of a broken molecule are of little use.
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
        Settings of the training of one student, as for ``mlff train``; its data set is that of the first round. Folder,
        data and seed of each student are set here.
    teacher
        Teacher of the new structures; it must be the one that labelled the data set.
    test
        Labelled structures on which every round is tested.
    test_split
        Split of them; None for all.
    out
        Folder for everything.
    teacher_options
        Options of the teacher.
    seed
        Seed of the choice of structures, velocities and frames, and of the first student.
    members
        Number of students in the committee.
    rounds
        Number of rounds after the first training.
    frames
        Largest number of labels in each round.
    threshold
        Frames with a standard deviation of a force component above this are labelled, eV/Å. None takes, in each round,
        the 95 % quantile of the validation structures.
    control
        Also run the rounds with random frames, for comparison.
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
