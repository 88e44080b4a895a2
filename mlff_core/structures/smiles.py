"""Three-dimensional structures from SMILES, by RDKit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.structures.apart import set_apart
from mlff_core.structures.budget import lines

if TYPE_CHECKING:
    from ase import Atoms

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


def embed(molecule: Any, n: int, seed: int, *, typed: bool = False) -> Any:
    """Give an RDKit molecule with its hydrogens up to ``n`` conformers and return it: ETKDG, then MMFF94.

    A molecule that MMFF94 has no parameters for keeps the geometries of ETKDG. Several molecules of one SMILES are set
    beside one another, and MMFF94 draws them together.

    Parameters
    ----------
    molecule
        RDKit's molecule with explicit hydrogens; its conformers are replaced.
    n
        Number to embed; conformers in the same minimum are not merged.
    seed
        The same seed gives the same conformers.
    typed
        Refuse a molecule that MMFF94 has no parameters for.

    Raises
    ------
    InputError
        The molecule is too large, cannot be embedded, or must be typed by MMFF94 and cannot be.
    """
    chem = rdkit()
    from rdkit import rdBase

    if (n_atoms := molecule.GetNumAtoms()) > MAX_EMBEDDED:
        raise InputError(
            f"a molecule of {n_atoms:,} atoms is too large to be embedded, at most {MAX_EMBEDDED:,} are; give its "
            "structure, as .sdf or .xyz"
        )
    with rdBase.BlockLogs():
        has_parameters = chem.AllChem.MMFFHasAllMoleculeParams(molecule)
        if typed and not has_parameters:
            raise InputError(f"MMFF94 cannot type {smiles_of(molecule)}")
        settings = chem.AllChem.ETKDGv3()
        settings.randomSeed = seed % (2**31 - 1)
        if n > 1 and settings.randomSeed == 0:
            settings.randomSeed = 1  # RDKit multiplies it by the number of the conformer: all would be the same
        settings.maxIterations = 100
        if len(chem.AllChem.EmbedMultipleConfs(molecule, n, settings)) == 0:
            settings.useRandomCoords = True  # RDKit's advice for large molecules
            chem.AllChem.EmbedMultipleConfs(molecule, n, settings)
        if molecule.GetNumConformers() == 0:
            raise InputError(f"ETKDG finds no conformer of {smiles_of(molecule)}")
        is_one = len(chem.GetMolFrags(molecule)) == 1
        if not is_one:
            set_apart(molecule, seed)
        if has_parameters:
            chem.AllChem.MMFFOptimizeMoleculeConfs(molecule, maxIters=500, ignoreInterfragInteractions=is_one)
    return molecule


def smiles_of(molecule: Any) -> str:
    """Return the canonical SMILES of an RDKit molecule, hydrogens implicit."""
    chem = rdkit()
    return str(chem.MolToSmiles(chem.RemoveHs(molecule)))


def state_of(molecule: Any) -> tuple[int, int]:
    """Return the total charge, e, and the spin multiplicity, 2S + 1, that an RDKit molecule states."""
    atoms = list(molecule.GetAtoms())
    return (
        sum(atom.GetFormalCharge() for atom in atoms),
        1 + sum(atom.GetNumRadicalElectrons() for atom in atoms),
    )


def atoms_of(molecule: Any) -> list[Atoms]:
    """Return the conformers of an RDKit molecule as ASE structures.

    ``info`` has ``smiles``, and ``charge`` and ``spin_multiplicity`` where the molecule is charged or has radicals.
    """
    from ase import Atoms

    charge, multiplicity = state_of(molecule)
    info: dict[str, Any] = {"smiles": smiles_of(molecule)}
    if charge:
        info["charge"] = charge
    if multiplicity != 1:
        info["spin_multiplicity"] = multiplicity
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return [Atoms(numbers, conformer.GetPositions(), info=dict(info)) for conformer in molecule.GetConformers()]


def structure_of(smiles: str) -> Atoms:
    """Return one structure of a SMILES, with its formal charge; always the same one.

    Raises
    ------
    InputError
        It is not a valid SMILES, or it cannot be embedded.
    MissingDependencyError
        RDKit is not installed.

    Examples
    --------
    >>> acetate = structure_of("CC(=O)[O-]")
    >>> acetate.get_chemical_formula(), acetate.info["charge"]
    ('C2H3O2', -1)
    """
    (atoms,) = atoms_of(embed(rdkit().AddHs(parse(smiles)), 1, seed=0))
    return atoms


def is_smiles_file(path: Path) -> bool:
    """Return whether a file is a list of SMILES, compressed or not, by its ending."""
    name = path.name.lower()
    for compressed in (".gz", ".bz2", ".xz"):
        name = name.removesuffix(compressed)
    return name.endswith((".smi", ".smiles", ".ism"))


def read_smiles(path: Path) -> list[Atoms]:
    """Return one structure of each SMILES of a list: one in a line, and perhaps a name after it.

    Raises
    ------
    InputError
        A SMILES is not valid or cannot be embedded; the message gives its line.
    MissingDependencyError
        RDKit is not installed.
    """
    frames = []
    for number, line in enumerate(lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        smiles, *name = line.split(maxsplit=1)
        try:
            atoms = structure_of(smiles)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        if name:
            atoms.info["name"] = name[0].strip()
        frames.append(atoms)
    return frames
