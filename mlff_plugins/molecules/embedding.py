"""Molecules with their bonds, and the geometries to start from: embedded, or those of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.errors import InputError
from mlff_core.plugins.requirements import require
from mlff_core.structures.graph import with_bonds
from mlff_core.structures.reading import read_structures, there_is
from mlff_core.structures.smiles import atoms_of, embed, parse, rdkit, smiles_of

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)
class Starts:
    """A molecule and geometries of it."""

    molecule: Any
    """RDKit's molecule with all hydrogens, its atoms in the order of the geometries."""
    frames: list[Atoms]
    """The geometries."""
    embedded: bool
    """Whether RDKit made the geometries."""
    chosen: str | None = None
    """SMILES of the stereoisomer that was taken, where the molecule leaves stereocentres open."""


def starts(file: str | Path, n: int | None, seed: int) -> Starts:
    """Return the molecule of a SMILES or a file, and geometries to start from.

    A SMILES or a file of one structure is embedded; several structures of one molecule are taken as they are.

    Parameters
    ----------
    file
        A structure file or a SMILES.
    n
        Number of geometries to embed; None for a number by the flexibility of the molecule.
    seed
        The same seed gives the same geometries.

    Raises
    ------
    InputError
        The structures are not of one molecule without a cell, or its bonds cannot be found.
    MissingDependencyError
        RDKit is not installed.
    """
    require("conformers", ("rdkit>=2024.3",), "pip install 'mlff-hub[data]'")
    file = Path(file)
    frames = read_structures(file)
    first = frames[0]
    for k, frame in enumerate(frames):
        if frame.pbc.any():
            raise InputError(f"{file}: frame {k} has a periodic cell; conformers are of a molecule without one")
        if not np.array_equal(frame.numbers, first.numbers):
            formulas = f"frame {k} is {frame.get_chemical_formula()} and frame 0 is {first.get_chemical_formula()}"
            raise InputError(
                f"{file}: {formulas}, or their atoms are in another order; give structures of one molecule, or one at "
                "a time"
            )
    chem = rdkit()
    molecule = with_bonds(first) if there_is(file) else chem.AddHs(parse(str(file)))
    if len(frames) > 1:
        return Starts(molecule, frames, embedded=False)
    molecule, chosen = _one_stereoisomer(molecule, seed)
    embed(molecule, n or number_to_embed(molecule), seed)
    return Starts(molecule, atoms_of(molecule), embedded=True, chosen=chosen)


def number_to_embed(molecule: Any) -> int:
    """Return how many geometries find the low minima of a molecule, by its rotatable bonds.

    50, 200 or 300 for up to 7, 12 or more: J.-P. Ebejer et al., J. Chem. Inf. Model. 52, 1146 (2012),
    doi:10.1021/ci2004658.
    """
    from rdkit.Chem import rdMolDescriptors

    n_rotatable = rdMolDescriptors.CalcNumRotatableBonds(molecule)
    return 50 if n_rotatable <= 7 else 200 if n_rotatable <= 12 else 300


def _one_stereoisomer(molecule: Any, seed: int) -> tuple[Any, str | None]:
    """Return a molecule with all its stereocentres set, and its SMILES if some of them were open.

    Conformers of two stereoisomers are not conformers of one molecule.
    """
    chem = rdkit()
    chem.AssignStereochemistry(molecule, cleanIt=True, force=True)  # a parsed SMILES has the marks only
    found = chem.FindPotentialStereo(molecule)
    if all(one.specified != chem.StereoSpecified.Unspecified for one in found):
        return molecule, None
    embed(molecule, 1, seed)
    chem.AssignStereochemistryFrom3D(molecule)
    return molecule, smiles_of(molecule)
