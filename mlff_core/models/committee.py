"""A committee of models in a file: which members, and how their spread is scaled.

A TOML file beside the models, opened like a model by everything that opens one::

    [[members]]
    model = "first.pt"      # relative to this file, or a name
    sha256 = "…"            # optional: another file is then refused

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
    """One model of a committee.

    Parameters
    ----------
    model
        Its file, relative to the committee's own, or its name.
    sha256
        Of its file, 64 hexadecimal digits; empty is not compared.
    """

    model: str
    sha256: str = ""


@dataclass(frozen=True)
class CalibrationSection(Calibration):
    """Factors from spread to standard deviation, and where they come from.

    Parameters
    ----------
    data, split
        Name of the data set, and the part of it, that they were fitted to.
    """

    data: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        for name in ("energy", "forces"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be a factor of 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Committee:
    """What a committee's file holds.

    Parameters
    ----------
    members
        Two or more.
    calibration
        Of their spread; 1 where it has not been fitted.
    """

    members: tuple[Member, ...]
    calibration: CalibrationSection = field(default_factory=CalibrationSection)

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise InputError(f"members must name two models at least, got {len(self.members)}")
        for member in self.members:
            if Path(member.model).suffix.lower() == SUFFIX:
                raise InputError(f"members must be models, got the committee {member.model}; list its members instead")


def is_committee(name_or_path: str | Path) -> bool:
    """Return whether this is the file of a committee: there, and with its ending."""
    path = Path(name_or_path)
    return path.suffix.lower() == SUFFIX and path.is_file()


def read_committee(path: Path) -> tuple[list[Path], Calibration]:
    """Return the files of the members and the calibration.

    Raises
    ------
    InputError
        The file cannot be read, is no committee, or has a member twice.
    CheckpointError
        A member is missing, or is not the file that was listed.
    """
    committee = load_config(Committee, path)
    files = []
    for member in committee.members:
        beside = path.parent / member.model
        file = beside if beside.is_file() else resolve(member.model)
        if member.sha256 and file_sha256(file) != member.sha256:
            raise CheckpointError(
                f"{file} is not the file that {path} lists: its SHA-256 differs; "
                "put the right one there, or make the committee anew with `mlff committee`"
            )
        files.append(file)
    check_members(files)
    return files, Calibration(committee.calibration.energy, committee.calibration.forces)


def check_members(files: Sequence[Path]) -> None:
    """Refuse a model that is a member twice, under whatever name: its copies agree, and the spread would say nothing.

    Raises
    ------
    InputError
        Names the two files.
    """
    seen: dict[str, Path] = {}
    for file in files:
        first = seen.setdefault(file_sha256(file), file)
        if first is not file:
            raise InputError(
                f"members of a committee must differ, got one model twice: {first} and {file}; "
                "give models that were trained apart"
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
        Of their spread; None leaves it as it is.
    data, split
        What it was fitted to.

    Raises
    ------
    InputError
        Fewer than two members, a member twice, or another ending.
    """
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"a committee is a file ending in {SUFFIX}, got {path}")
    members = []
    files = [resolve(model) for model in models]
    check_members(files)
    for model, file in zip(models, files, strict=True):
        named = model if not Path(model).exists() else os.path.relpath(file.resolve(), path.parent.resolve())
        members.append(Member(Path(named).as_posix(), file_sha256(file)))
    factors = calibration or Calibration()
    save_config(path, Committee(tuple(members), CalibrationSection(factors.energy, factors.forces, data, split)))
