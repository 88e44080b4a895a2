"""A committee of models in a file: its members, and the factors that scale their spread.

The file is TOML, lies beside the models, and can be used wherever a model is opened::

    [[members]]
    model = "first.pt"      # relative to this file, or a name
    sha256 = "…"            # optional: a file with another hash is refused

    [[members]]
    model = "second.pt"

    [calibration]           # optional
    energy = 1.4
    forces = 1.7
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlff_core.config import load_config, save_config
from mlff_core.errors import CheckpointError, InputError
from mlff_core.models.checkpoint import file_sha256
from mlff_core.models.registry import resolve
from mlff_core.potentials.ensemble import Calibration

SUFFIX = ".toml"


@dataclass(frozen=True)
class Member:
    """One model of a committee."""

    model: str
    """Path of its file, relative to the committee's file, or its name."""
    sha256: str = ""
    """SHA-256 of its file, 64 hexadecimal digits; if empty, the file is not compared."""


@dataclass(frozen=True)
class CalibrationSection(Calibration):
    """Factors from spread to standard deviation, and the data they were fitted to."""

    data: str = ""
    split: str = ""
    """Name of the data set, and the part of it, to which the factors were fitted."""

    def __post_init__(self) -> None:
        for name in ("energy", "forces"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be a factor of 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Committee:
    """The content of a committee's file."""

    members: tuple[Member, ...]
    """Two or more models."""
    calibration: CalibrationSection = field(default_factory=CalibrationSection)
    """Factors on their spread; 1 where they have not been fitted."""

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise InputError(f"members must name two models at least, got {len(self.members)}")
        for member in self.members:
            if Path(member.model).suffix.lower() == SUFFIX:
                raise InputError(f"members must be models, got the committee {member.model}; list its members instead")


def is_committee(name_or_path: str | Path) -> bool:
    """Return whether this is the file of a committee, which exists and has the ending ``.toml``."""
    path = Path(name_or_path)
    return path.suffix.lower() == SUFFIX and path.is_file()


def read_committee(path: Path) -> tuple[list[Path], Calibration]:
    """Return the files of the members and the calibration.

    Raises
    ------
    InputError
        The file cannot be read, is not a committee, or has a member twice.
    CheckpointError
        The file of a member is missing, or its SHA-256 differs from the listed one.
    """
    committee = load_config(Committee, path)
    files = []
    for member in committee.members:
        beside = path.parent / member.model
        file = beside if beside.is_file() else resolve(member.model)
        if member.sha256 and file_sha256(file) != member.sha256:
            raise CheckpointError(
                f"{file} is not the file that {path} lists: its SHA-256 differs; "
                "put the right file there, or make the committee again with `mlff committee`"
            )
        files.append(file)
    check_members(files)
    return files, Calibration(committee.calibration.energy, committee.calibration.forces)


def check_members(files: Sequence[Path]) -> None:
    """Refuse a model that is a member twice, under any name: copies agree, so their spread would mean nothing.

    Raises
    ------
    InputError
        The message names the two files.
    """
    seen: dict[str, Path] = {}
    for file in files:
        first = seen.setdefault(file_sha256(file), file)
        if first is not file:
            raise InputError(
                f"members of a committee must differ, got one model twice: {first} and {file}; "
                "give models that were trained separately"
            )


def write_committee(
    path: Path, models: list[str], calibration: Calibration | None = None, *, data: str = "", split: str = ""
) -> None:
    """Write a committee's file by rename.

    Parameters
    ----------
    path
        The file, ending in ``.toml``.
    models
        Names or files of the members.
    calibration
        Factors on their spread; None leaves it unscaled.
    data, split
        Data set, and the part of it, to which the factors were fitted.

    Raises
    ------
    InputError
        Fewer than two members, a member twice, or another ending.
    """
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"the file of a committee must end in {SUFFIX}, got {path}")
    members = []
    files = [resolve(model) for model in models]
    check_members(files)
    for model, file in zip(models, files, strict=True):
        named = model if not Path(model).exists() else os.path.relpath(file.resolve(), path.parent.resolve())
        members.append(Member(Path(named).as_posix(), file_sha256(file)))
    factors = calibration or Calibration()
    save_config(path, Committee(tuple(members), CalibrationSection(factors.energy, factors.forces, data, split)))
