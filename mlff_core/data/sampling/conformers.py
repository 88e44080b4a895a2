"""Three-dimensional structures from SMILES, by RDKit."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlff_core.data.structure import LabelledStructure
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.structures.far import near_origin

MAX_SMILES = 5000
"""Largest length of a SMILES, characters; RDKit's time grows faster than the length."""

MAX_EMBEDDED = 1000
"""Largest molecule to embed, atoms including hydrogens; ETKDG's memory grows as their square, its time faster."""


def rdkit() -> Any:
    """Return RDKit's ``Chem``, with ``AllChem`` loaded.

    Raises
    ------
    MissingDependencyError
        RDKit is not installed.
    """
    try:
        from rdkit import Chem
        from rdkit.Chem import AllChem  # noqa: F401  loads Chem.AllChem
    except ImportError as error:
        raise MissingDependencyError(
            "SMILES and SDF need RDKit: pip install 'mlff-hub[data]', or give structures as xyz"
        ) from error
    return Chem


def parse(smiles: str) -> Any:
    """Return RDKit's molecule of a SMILES, hydrogens implicit.

    Raises
    ------
    InputError
        It is not a valid SMILES, it is longer than ``MAX_SMILES``, or its valences are impossible.
    """
    if len(smiles) > MAX_SMILES:
        raise InputError(
            f"the SMILES {smiles[:20]}… has {len(smiles):,} characters, more than {MAX_SMILES:,}; give its structure, "
            "as .sdf or .xyz"
        )
    chem = rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():  # RDKit writes its errors to stderr
        molecule = chem.MolFromSmiles(smiles, sanitize=False)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise InputError(f"{smiles!r} is not a valid SMILES")
        try:
            chem.SanitizeMol(molecule)
        except ValueError as error:
            raise InputError(f"{smiles!r} is not a possible molecule: {error}") from error
    return molecule


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
    chem = rdkit()
    from rdkit import rdBase

    if (n_atoms := molecule.GetNumAtoms()) > MAX_EMBEDDED:
        raise InputError(
            f"a molecule of {n_atoms:,} atoms is too large to be embedded, at most {MAX_EMBEDDED:,} are; give its "
            "structure, as .sdf or .xyz"
        )
    smiles = chem.MolToSmiles(chem.RemoveHs(molecule))
    with rdBase.BlockLogs():
        if not chem.AllChem.MMFFHasAllMoleculeParams(molecule):
            raise InputError(f"MMFF94 cannot type {smiles}")
        settings = chem.AllChem.ETKDGv3()
        settings.randomSeed = seed % (2**31 - 1)
        settings.maxIterations = 100
        if len(chem.AllChem.EmbedMultipleConfs(molecule, n, settings)) == 0:
            raise InputError(f"ETKDG finds no conformer of {smiles}")
        chem.AllChem.MMFFOptimizeMoleculeConfs(molecule, maxIters=500)
    return [
        from_conformer(molecule, conformer.GetPositions(), smiles, "minimum") for conformer in molecule.GetConformers()
    ]


def from_conformer(molecule: Any, positions: np.ndarray, smiles: str, kind: str) -> LabelledStructure:
    """Return an RDKit molecule at ``positions``, shape (n_atoms, 3), Å, as a structure with its charge and radicals."""
    atoms = list(molecule.GetAtoms())
    return LabelledStructure(
        atomic_numbers=np.array([atom.GetAtomicNum() for atom in atoms], dtype=np.uint8),
        positions=near_origin(np.asarray(positions, dtype=np.float64), None, None).astype(np.float32),
        charge=sum(atom.GetFormalCharge() for atom in atoms),
        spin_multiplicity=1 + sum(atom.GetNumRadicalElectrons() for atom in atoms),
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
