"""The one molecule that a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlff_core.errors import InputError
from mlff_core.structures.reading import read_structures

if TYPE_CHECKING:
    from ase import Atoms


def one_molecule(file: str | Path) -> Atoms:
    """Return the molecule of a SMILES or of a file.

    Raises
    ------
    InputError
        The file holds several structures, or one with a periodic cell.
    """
    frames = read_structures(file)
    if len(frames) > 1:
        raise InputError(f"{file} holds {len(frames)} structures, and one molecule is wanted; give a file with one")
    (atoms,) = frames
    if atoms.pbc.any():
        raise InputError(f"{file} has a periodic cell, and a molecule is wanted; switch pbc off")
    return atoms
