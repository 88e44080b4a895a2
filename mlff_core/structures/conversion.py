"""What to do with a structure file that cannot be read: the program that converts it."""

from __future__ import annotations

from pathlib import Path

_TRAJECTORY = "write its frames as .extxyz or .pdb with its own program, or with MDAnalysis or mdtraj"
_TOPOLOGY = "it describes a force field; write the coordinates as .pdb or .gro with the program that made it"
_MAESTRO = "convert it with Schrödinger's structconvert, or read it by RDKit and write .sdf"

BY_ENDING = {
    ".nc": _TRAJECTORY,
    ".h5md": _TRAJECTORY,
    ".prmtop": _TOPOLOGY,
    ".parm7": _TOPOLOGY,
    ".psf": _TOPOLOGY,
    ".top": _TOPOLOGY,
    ".tpr": "write it as .gro or .pdb with `gmx editconf -f FILE -o out.pdb`",
    ".mae": _MAESTRO,
    ".maegz": _MAESTRO,
    ".cdx": "save it as SMILES or .sdf in ChemDraw",
    ".cdxml": "save it as SMILES or .sdf in ChemDraw",
    ".inchi": "convert it to SMILES with Open Babel: obabel FILE -O out.smi",
}
"""What to do by the ending of a file that neither ASE nor RDKit reads; for others see :func:`advice`."""


def advice(path: Path) -> str:
    """Return what to do with a file that could not be read.

    Examples
    --------
    >>> advice(Path("ligand.cdx"))
    'save it as SMILES or .sdf in ChemDraw'
    >>> advice(Path("ligand.pdbqt"))
    'check the format and the ending, or convert it with Open Babel: obabel ligand.pdbqt -O ligand.sdf'
    """
    known = BY_ENDING.get(path.suffix.lower())
    if known is not None:
        return known
    ending = ".xyz" if path.suffix.lower() == ".sdf" else ".sdf"
    return f"check the format and the ending, or convert it with Open Babel: obabel {path.name} -O {path.stem}{ending}"


def advice_on_writing(path: Path) -> str:
    """Return what to do about a format that could not be written.

    Examples
    --------
    >>> advice_on_writing(Path("ligand.mol2"))
    'choose an ending such as .extxyz, or .sdf and convert it with Open Babel: obabel ligand.sdf -O ligand.mol2'
    """
    convert = f"or .sdf and convert it with Open Babel: obabel {path.stem}.sdf -O {path.name}"
    return f"choose an ending such as .extxyz, {convert}"
