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
    """Settings of the molecular dynamics of the students, which starts from structures of their training set."""

    trajectories: int = 20
    """Number of runs in each round, each from another structure."""
    time_ps: float = 0.5
    timestep_fs: float = 0.5
    """Length of each run, ps, and of a step, fs."""
    temperature_kelvin: float = 600.0
    friction_per_ps: float = 10.0
    """Of the Langevin thermostat, kelvin and 1/ps."""
    frame_every: int = 20
    """Steps between frames."""
    ceiling: float = 5.0
    """A run ends above this multiple of the threshold, since frames of a broken molecule are of little use."""

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
    """Rounds of active learning."""

    train: Path
    """Settings of the training of one student, as for ``mlff train``; its data set is that of the first round. Folder,
    data and seed of each student are set here."""
    teacher: str
    """Teacher of the new structures; it must be the one that labelled the data set."""
    test: Path
    """Labelled structures on which every round is tested."""
    test_split: str | None = None
    """Split of them; None for all."""
    out: Path = Path("active")
    """Folder for everything."""
    teacher_options: dict[str, Any] = field(default_factory=dict)
    """Options of the teacher."""
    seed: int = 0
    """Seed of the choice of structures, velocities and frames, and of the first student."""
    members: int = 3
    """Number of students in the committee."""
    rounds: int = 2
    """Number of rounds after the first training."""
    frames: int = 100
    """Largest number of labels in each round."""
    threshold: float | None = None
    """Frames with a standard deviation of a force component above this are labelled, eV/Å. None takes, in each round,
    the 95 % quantile of the validation structures."""
    control: bool = True
    """Also run the rounds with random frames, for comparison."""
    sampling: SamplingSection = field(default_factory=SamplingSection)
    """See :class:`SamplingSection`."""

    def __post_init__(self) -> None:
        for name, least in (("members", 2), ("rounds", 1), ("frames", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        _positive(self, "threshold")
