"""Structures as SDF files, with bonds, formal charges and properties."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError
from mlff_core.structures.graph import with_bonds
from mlff_core.structures.smiles import rdkit

if TYPE_CHECKING:
    from ase import Atoms


def sdf_text(molecule: Any, frames: Iterable[tuple[Atoms, Mapping[str, str]]]) -> str:
    """Return the text of an SDF file of geometries of one molecule.

    Parameters
    ----------
    molecule
        RDKit's molecule with its hydrogens.
    frames
        Geometries of it and their properties by name; ``name`` becomes the title.
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
        one.SetProp("_Name", properties.get("name", ""))
        fields = "".join(f">  <{name}>\n{value}\n\n" for name, value in properties.items() if name != "name")
        records.append(f"{chem.MolToMolBlock(one)}{fields}$$$$\n")
    return "".join(records)


def sdf_of(frames: Sequence[Atoms]) -> str:
    """Return the text of an SDF file of any molecules, their bonds found by distance.

    Energies (eV), and the numbers and words in ``info``, become properties.

    Raises
    ------
    InputError
        A structure is periodic, or its bonds cannot be found.
    MissingDependencyError
        RDKit is not installed.
    """
    records = []
    for k, atoms in enumerate(frames):
        if atoms.pbc.any():
            raise InputError(f"frame {k} is periodic, which an SDF cannot hold; choose an ending such as .extxyz")
        info = {name: str(value) for name, value in atoms.info.items() if isinstance(value, (str, int, float))}
        info = {name: value for name, value in info.items() if value.isprintable() and not set("<>") & set(name)}
        if atoms.calc is not None and "energy" in atoms.calc.results:
            info["energy_ev"] = f"{atoms.calc.results['energy']:.8f}"
        records.append(sdf_text(with_bonds(atoms), [(atoms, info)]))
    return "".join(records)
