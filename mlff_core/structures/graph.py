"""The bonds of a structure, by RDKit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError
from mlff_core.structures.electrons import electronic_state
from mlff_core.structures.smiles import rdkit

if TYPE_CHECKING:
    from ase import Atoms


def with_bonds(atoms: Atoms) -> Any:
    """Return RDKit's molecule of a structure, bonds found by distance and charge.

    Raises
    ------
    InputError
        The distances and the charge fit no molecule.
    """
    chem = rdkit()
    from rdkit import rdBase
    from rdkit.Chem import rdDetermineBonds
    from rdkit.Geometry import Point3D

    editable = chem.RWMol()
    conformer = chem.Conformer(len(atoms))
    for k, (number, position) in enumerate(zip(atoms.numbers, atoms.positions, strict=True)):
        editable.AddAtom(chem.Atom(int(number)))
        conformer.SetAtomPosition(k, Point3D(*map(float, position)))
    editable.AddConformer(conformer)
    molecule = editable.GetMol()
    charge = electronic_state(atoms).charge or 0
    try:
        with rdBase.BlockLogs():
            rdDetermineBonds.DetermineBonds(molecule, charge=charge)
            chem.SanitizeMol(molecule)
            chem.AssignStereochemistryFrom3D(molecule)
    except Exception as error:  # RDKit raises ValueError, and RuntimeError for what it did not expect
        raise InputError(
            f"the bonds of {atoms.get_chemical_formula()} with the charge {charge} cannot be found from its geometry; "
            "give the molecule as a SMILES or an SDF, or its charge in the file"
        ) from error
    return molecule
