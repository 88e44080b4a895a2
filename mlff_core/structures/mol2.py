"""Mol2 files (Tripos) with any number of molecules; ASE has no reader for them.

A mol2 file has no formal charges. Its partial charges, where it has some, add up to the total charge.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ase.data import atomic_numbers

from mlff_core.errors import InputError
from mlff_core.structures.budget import lines

if TYPE_CHECKING:
    from ase import Atoms

NO_CHARGES = "NO_CHARGES"


def is_mol2(path: Path) -> bool:
    """Return whether a file is a mol2 file, compressed or not, by its ending."""
    return path.name.lower().endswith((".mol2", ".mol2.gz", ".mol2.bz2", ".mol2.xz"))


def read_mol2(path: Path) -> list[Atoms]:
    """Return the molecules of a mol2 file; partial charges are the initial charges of the atoms.

    Elements are the part of the atom type before the point: ``C.ar`` is carbon.

    Raises
    ------
    InputError
        A molecule cannot be read; the message gives its number and the line.
    """
    return [_molecule(section, f"{path}: molecule {k}") for k, section in enumerate(_sections(path), start=1)]


def _sections(path: Path) -> Iterator[list[str]]:
    """Yield the lines of each molecule."""
    section: list[str] = []
    for line in lines(path, errors="replace"):
        if line.startswith("@<TRIPOS>MOLECULE") and section:
            yield section
            section = []
        if section or line.startswith("@<TRIPOS>MOLECULE"):
            section.append(line.rstrip())
    if section:
        yield section


def _molecule(section: list[str], where: str) -> Atoms:
    from ase import Atoms

    header = [line for line in section[1:6] if not line.startswith("#")]
    try:
        n_atoms = int(header[1].split()[0])
    except (IndexError, ValueError):
        raise InputError(f"{where} has no line with its number of atoms; check the format") from None
    try:
        first = section.index("@<TRIPOS>ATOM") + 1
    except ValueError:
        raise InputError(f"{where} has no section @<TRIPOS>ATOM; check the format") from None
    rows = section[first : first + n_atoms]
    if len(rows) < n_atoms or any(row.startswith("@") for row in rows):
        raise InputError(f"{where} declares {n_atoms} atoms and has fewer; the file is cut off, or its header is wrong")
    numbers, positions, charges = [], [], []
    for row in rows:
        fields = row.split()
        try:
            positions.append([float(value) for value in fields[2:5]])
            numbers.append(atomic_numbers[fields[5].split(".")[0].capitalize()])
            charges.append(float(fields[8]) if len(fields) > 8 else 0.0)
        except (IndexError, ValueError, KeyError):
            raise InputError(
                f"{where}: the line {row.strip()!r} must have number, name, x, y, z and a type such as C.ar; correct it"
            ) from None
    atoms = Atoms(numbers=numbers, positions=positions)
    if any(charges) and NO_CHARGES not in header:
        atoms.set_initial_charges(charges)
    return atoms
