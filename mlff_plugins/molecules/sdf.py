"""Conformers as an SDF file, with the bonds of the molecule and properties of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlff_core.structures.smiles import rdkit

if TYPE_CHECKING:
    from ase import Atoms


def sdf_text(molecule: Any, frames: Iterable[tuple[Atoms, Mapping[str, str]]]) -> str:
    """Return the text of an SDF file.

    Parameters
    ----------
    molecule
        RDKit's molecule with its hydrogens.
    frames
        Geometries of it and their properties by name.
    """
    chem = rdkit()
    from rdkit.Geometry import Point3D

    records = []
    for atoms, properties in frames:
        one = chem.Mol(molecule)
        one.RemoveAllConformers()
        conformer = chem.Conformer(len(atoms))
        for k, position in enumerate(atoms.positions):
            conformer.SetAtomPosition(k, Point3D(*map(float, position)))
        one.AddConformer(conformer)
        fields = "".join(f">  <{name}>\n{value}\n\n" for name, value in properties.items())
        records.append(f"{chem.MolToMolBlock(one)}{fields}$$$$\n")
    return "".join(records)
