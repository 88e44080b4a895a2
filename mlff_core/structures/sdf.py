"""SDF and mol files with any number of molecules and their charges; ASE's reader reads only the first molecule."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError
from mlff_core.structures.budget import lines
from mlff_core.structures.formal_charges import molfile_state
from mlff_core.structures.smiles import atoms_of, embed, parse, rdkit

if TYPE_CHECKING:
    from ase import Atoms


def is_sdf(path: Path) -> bool:
    """Return whether a file is an SDF, compressed or not, by its ending."""
    return path.name.lower().endswith((".sdf", ".sdf.gz", ".sdf.bz2", ".sdf.xz"))


def is_mol(path: Path) -> bool:
    """Return whether a file is a mol file, which is one record of an SDF, by its ending."""
    return path.name.lower().endswith((".mol", ".mol.gz", ".mol.bz2", ".mol.xz"))


def sdf_records(path: Path) -> Iterator[str]:
    """Yield the text of each record of an SDF file, without the line ``$$$$`` that ends it.

    Raises
    ------
    InputError
        The file cannot be read as text.
    """
    record: list[str] = []
    for line in lines(path, errors="replace"):
        if not line.startswith("$$$$"):
            record.append(line)
            continue
        yield "\n".join(record) + "\n"
        record = []
    if any(line.strip() for line in record):
        yield "\n".join(record) + "\n"


def read_sdf(path: Path) -> list[Atoms]:
    """Return the molecules of an SDF or mol file, all of them; those in the format V3000 by RDKit.

    A molecule that says it is a drawing (``2D``) gets hydrogens and a geometry by RDKit. ``info`` has ``charge`` and
    ``spin_multiplicity`` if the file has formal charges or radicals.

    Raises
    ------
    InputError
        A record cannot be read, or a drawing not be embedded; the message gives its number.
    MissingDependencyError
        A molecule is a drawing or in the format V3000, and RDKit is not installed.
    """
    import ase.io

    frames = []
    for number, record in enumerate(sdf_records(path), start=1):
        if "V3000" in "".join(record.split("\n")[3:4]):
            frames.append(_from_v3000(record, f"{path}: molecule {number}"))
            continue
        try:
            counts = record.split("\n")[3]
            frame = ase.io.read(io.StringIO(record), format="sdf")
            n_atoms = int(counts[:3])
        except Exception as error:  # ASE's reader raises many types of error
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{path} cannot be read as a structure file: molecule {number}: {type(error).__name__}: {reason}; "
                "check the format and the ending"
            ) from error
        if len(frame) != n_atoms:
            raise InputError(f"{path}: molecule {number} says that it has {n_atoms} atoms and holds {len(frame)}")
        if _is_drawing(record) and not frame.positions[:, 2].any():
            frames.append(_from_drawing(record, f"{path}: molecule {number}"))
            continue
        frame.info.update(molfile_state(record, n_atoms, f"{path}: molecule {number}"))
        frames.append(frame)
    return frames


def _is_drawing(record: str) -> bool:
    """Return whether the second line of a record has the dimension code 2D, in columns 21 and 22."""
    return record.split("\n")[1][20:22] == "2D"


def _from_drawing(record: str, where: str) -> Atoms:
    chem = rdkit()
    molecule = _molecule(record, where)
    # By way of the SMILES: without it, RDKit would keep the flat coordinates' own idea of stereo bonds.
    (atoms,) = atoms_of(embed(chem.AddHs(parse(chem.MolToSmiles(molecule))), 1, seed=0))
    return atoms


def _from_v3000(record: str, where: str) -> Atoms:
    molecule = _molecule(record, where)
    if not molecule.GetNumConformers() or not molecule.GetConformer().Is3D():
        return _from_drawing(record, where)
    (atoms,) = atoms_of(molecule)
    return atoms


def _molecule(record: str, where: str) -> Any:
    """Return RDKit's molecule of a record, its hydrogens as they are."""
    chem = rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        molecule = chem.MolFromMolBlock(record, removeHs=False)
    if molecule is None:
        raise InputError(f"{where}: RDKit finds no molecule in it; correct it, or give its structure as .xyz")
    return molecule
