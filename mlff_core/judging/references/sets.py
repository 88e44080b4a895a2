"""Files of reference energies, and the complexes and conformers in them.

A set is an extended xyz file (``.extxyz``, also ``.gz``) of one of two kinds:

- complexes: ``reference_interaction_kcal_mol`` in each frame and a column ``fragment`` with two values; optional
  ``name``, ``group``, ``scaling`` (distance / that at equilibrium), ``charge_a`` and ``charge_b`` (e).
- conformers: ``molecule`` and ``reference_energy_kcal_mol`` in each frame, lower for more stable geometries; energies
  are compared within a molecule.

A database of Psi4 (``.py``) is a set of complexes too, see :mod:`mlff_core.judging.references.psi4_database`.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlff_core.errors import InputError, first_line
from mlff_core.judging.references.psi4_database import Pair, is_database, read_pairs
from mlff_core.structures.reading import read_structures

if TYPE_CHECKING:
    from ase import Atoms

CONFORMERS = "conformers"
"""Name of the set that is part of the package."""


@dataclass(frozen=True, eq=False)
class Complex:
    """Two molecules, together and apart in the same geometry.

    Parameters
    ----------
    name, group
        Names in the set.
    scaling
        Distance divided by that at equilibrium.
    whole, parts
        The complex and its two molecules, each with ``info["charge"]``, e. The complex has the columns ``fragment`` and
        ``fragment_charge``, e, so that a teacher of molecules does not have to find them from bonds.
    reference_kcal_mol
        Interaction energy of the reference, kcal/mol.
    """

    name: str
    group: str
    scaling: float
    whole: Atoms
    parts: tuple[Atoms, Atoms]
    reference_kcal_mol: float

    @property
    def charges(self) -> str:
        """``"neutral"``, ``"cation"``, ``"anion"`` or ``"ion pair"``."""
        found = {float(part.info["charge"]) for part in self.parts} - {0.0}
        if not found:
            return "neutral"
        if len(found) > 1:
            return "ion pair"
        return "cation" if found.pop() > 0 else "anion"


@dataclass(frozen=True, eq=False)
class Conformers:
    """Geometries of one molecule.

    Parameters
    ----------
    molecule
        Its name in the set.
    frames
        The geometries.
    reference_kcal_mol
        Energies of the reference, shape (n_frames,), kcal/mol, relative to any zero.
    """

    molecule: str
    frames: tuple[Atoms, ...]
    reference_kcal_mol: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """A file of reference energies.

    Parameters
    ----------
    name
        Name of the set.
    complexes, conformers
        Content of the set; one of the two is empty.
    """

    name: str
    complexes: tuple[Complex, ...] = ()
    conformers: tuple[Conformers, ...] = ()


def read_set(path: str | Path) -> ReferenceSet:
    """Return the reference set in a file, or the one of the package by its name.

    Raises
    ------
    InputError
        The file cannot be read, or its frames are neither complexes nor conformers.
    """
    name = Path(path).name.split(".")[0]
    if is_database(path):
        return ReferenceSet(name, complexes=tuple(map(_of_database, read_pairs(path))))
    frames = _shipped() if str(path) == CONFORMERS else read_structures(path)
    first = frames[0]
    if "reference_interaction_kcal_mol" in first.info and "fragment" in first.arrays:
        return ReferenceSet(name, complexes=tuple(_complex(path, k, frame) for k, frame in enumerate(frames)))
    if "reference_energy_kcal_mol" in first.info and "molecule" in first.info:
        return ReferenceSet(name, conformers=_conformers(path, frames))
    raise InputError(
        f"{path} has no reference energies: each frame needs reference_interaction_kcal_mol and a column fragment, "
        "or molecule and reference_energy_kcal_mol"
    )


def _shipped() -> list[Atoms]:
    import ase.io

    content = files("mlff_core.judging.references").joinpath(f"{CONFORMERS}.extxyz.gz").read_bytes()
    frames: list[Atoms] = ase.io.read(io.StringIO(gzip.decompress(content).decode()), index=":", format="extxyz")
    return frames


def _of_database(pair: Pair) -> Complex:
    which = np.repeat([0, 1], [len(part) for part in pair.parts])
    whole = _together(pair.parts[0] + pair.parts[1], which, pair.parts)
    return Complex(pair.title, "", pair.scaling, whole, pair.parts, pair.reference_kcal_mol)


def _complex(path: str | Path, k: int, frame: Atoms) -> Complex:
    try:
        fragment = np.asarray(frame.arrays["fragment"])
        values = sorted(set(fragment.tolist()))
        if len(values) != 2:
            raise ValueError(f"the column fragment has {len(values)} values, two are needed")
        parts = []
        for value, key in zip(values, ("charge_a", "charge_b"), strict=True):
            part = frame[fragment == value]
            part.info = {"charge": float(frame.info.get(key, 0.0))}
            parts.append(part)
        whole = _together(frame, np.searchsorted(values, fragment), parts)
        return Complex(
            name=str(frame.info.get("name", k)),
            group=str(frame.info.get("group", "")),
            scaling=float(frame.info.get("scaling", 1.0)),
            whole=whole,
            parts=(parts[0], parts[1]),
            reference_kcal_mol=float(frame.info["reference_interaction_kcal_mol"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: frame {k}: {type(error).__name__}: {first_line(error)}") from error


def _together(atoms: Atoms, which: npt.NDArray[np.int64], parts: Sequence[Atoms]) -> Atoms:
    """Return a complex with its total charge and its molecules, ``which`` (n_atoms,) being the part of each atom."""
    charges = [part.info["charge"] for part in parts]
    whole = atoms.copy()
    whole.info = {"charge": sum(charges)}
    whole.arrays.pop("fragment", None)
    whole.set_array("fragment", which.astype(np.int64))
    whole.set_array("fragment_charge", np.round(charges).astype(np.int64)[which])
    return whole


def _conformers(path: str | Path, frames: list[Atoms]) -> tuple[Conformers, ...]:
    found: dict[str, tuple[list[Atoms], list[float]]] = {}
    for k, frame in enumerate(frames):
        try:
            molecule, energy = str(frame.info["molecule"]), float(frame.info["reference_energy_kcal_mol"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: frame {k}: {type(error).__name__}: {first_line(error)}") from error
        own = found.setdefault(molecule, ([], []))
        plain = frame.copy()
        plain.info = {"charge": float(frame.info.get("charge", 0.0))}
        own[0].append(plain)
        own[1].append(energy)
    return tuple(Conformers(name, tuple(own[0]), tuple(own[1])) for name, own in found.items())
