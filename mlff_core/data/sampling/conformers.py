"""Conformers of molecules as structures to label."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlff_core.data.structure import LabelledStructure
from mlff_core.structures.far import near_origin
from mlff_core.structures.smiles import embed, parse, rdkit, smiles_of, state_of


def conformers(smiles: str, n: int, seed: int) -> list[LabelledStructure]:
    """Return up to ``n`` conformers: ETKDG, then MMFF94 to its minimum.

    Parameters
    ----------
    smiles
        A molecule, or several joined by a dot.
    n
        Number to embed; conformers in the same minimum are not merged.
    seed
        The same seed gives the same conformers.

    Raises
    ------
    InputError
        The SMILES does not parse, has no parameters in MMFF94, or cannot be embedded.
    MissingDependencyError
        RDKit is not installed.
    """
    molecule = rdkit().AddHs(parse(smiles))
    return relaxed(molecule, n, seed)


def relaxed(molecule: Any, n: int, seed: int) -> list[LabelledStructure]:
    """Return up to ``n`` conformers of an RDKit molecule with its hydrogens, see :func:`conformers`."""
    smiles = smiles_of(molecule)
    embed(molecule, n, seed, typed=True)
    return [
        from_conformer(molecule, conformer.GetPositions(), smiles, "minimum") for conformer in molecule.GetConformers()
    ]


def from_conformer(molecule: Any, positions: np.ndarray, smiles: str, kind: str) -> LabelledStructure:
    """Return an RDKit molecule at ``positions``, shape (n_atoms, 3), Å, as a structure with its charge and radicals."""
    charge, multiplicity = state_of(molecule)
    return LabelledStructure(
        atomic_numbers=np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.uint8),
        positions=near_origin(np.asarray(positions, dtype=np.float64), None, None).astype(np.float32),
        charge=charge,
        spin_multiplicity=multiplicity,
        kind=kind,
        smiles=smiles,
        **_molecules(molecule),
    )


def _molecules(molecule: Any) -> dict[str, Any]:
    """Return number and charge of the molecule of each atom, shape (n_atoms,); nothing for a single molecule."""
    molecules = rdkit().GetMolFrags(molecule)
    if len(molecules) < 2:
        return {}
    formal = np.array([atom.GetFormalCharge() for atom in molecule.GetAtoms()])
    fragment, charges = np.zeros(len(formal), dtype=np.int32), np.zeros(len(formal), dtype=np.int8)
    for k, atoms in enumerate(map(list, molecules)):
        fragment[atoms], charges[atoms] = k, formal[atoms].sum()
    return {"fragment": fragment, "fragment_charge": charges}
