"""Structures written to files: SDF by RDKit, all else by ASE."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_core.atomic_write import check_place, unwritable, write_atomically
from mlff_core.errors import InputError, MissingDependencyError, MlffError, first_line
from mlff_core.structures.conversion import advice_on_writing
from mlff_core.structures.electrons import electronic_state
from mlff_core.structures.formal_charges import is_pdb
from mlff_core.structures.sdf import is_mol, is_sdf
from mlff_core.structures.sdf_writing import sdf_of

if TYPE_CHECKING:
    from ase import Atoms


def write_structures(path: str | Path, frames: Sequence[Atoms]) -> Path:
    """Write structures to a file, by rename, in the format that its ending says; return the path.

    SDF and mol files get bonds and formal charges by RDKit, a PDB file one model for each structure; all other formats
    are ASE's.

    Raises
    ------
    InputError
        The ending is unknown, the format cannot hold these structures, or the folder cannot be written to.
    MissingDependencyError
        An SDF is wanted and RDKit is not installed.
    """
    path = Path(path)
    content = _content(path, frames)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def check_writable(path: str | Path, frames: Sequence[Atoms]) -> None:
    """Refuse a file that such structures could not be written to, before work is done for it; makes its folder.

    Parameters
    ----------
    path
        The file to be written.
    frames
        Structures of the same atoms and cells as those to be written.

    Raises
    ------
    InputError
        As :func:`write_structures`.
    MissingDependencyError
        As :func:`write_structures`.
    """
    path = Path(path)
    check_place(path)
    _content(path, frames)


def _content(path: Path, frames: Sequence[Atoms]) -> bytes:
    """Return the content of the file."""
    import tempfile

    import ase.io

    if is_sdf(path) or is_mol(path):
        return _as_sdf(path, frames)
    # Into a temporary folder first, under the same name: some formats write other files beside it, and the format
    # follows from the ending.
    with tempfile.TemporaryDirectory(prefix="mlff-") as folder:
        temporary = Path(folder) / path.name
        try:
            if is_pdb(path) and len({len(atoms) for atoms in frames}) > 1:
                return _as_models(frames)
            ase.io.write(temporary, list(frames))
            return temporary.read_bytes()
        except OSError as error:
            raise unwritable(path, error) from error
        except Exception as error:
            # ASE's writers raise many types of error.
            raise InputError(
                f"{path} cannot be written: {type(error).__name__}: {first_line(error)}; {advice_on_writing(path)}"
            ) from error


def _as_sdf(path: Path, frames: Sequence[Atoms]) -> bytes:
    if is_mol(path) and len(frames) > 1:
        raise InputError(f"{path}: a mol file holds one molecule, not {len(frames)}; choose the ending .sdf")
    if path.suffix.lower() not in (".sdf", ".mol"):
        raise InputError(f"{path}: compressed SDF files are read, but not written; choose the ending .sdf")
    try:
        text = sdf_of(frames)
    except MissingDependencyError as error:
        if any(electronic_state(atoms).charge for atoms in frames):
            raise MissingDependencyError(
                f"{path}: an SDF of a charged molecule needs its bonds, which {error}"
            ) from error
        text = "".join(f"{_by_ase(atoms, 'sdf')}$$$$\n" for atoms in frames)  # without bonds
    except MlffError as error:
        raise type(error)(f"{path} cannot be written: {error}") from error
    return (text.removesuffix("$$$$\n") if is_mol(path) else text).encode()


def _as_models(frames: Sequence[Atoms]) -> bytes:
    """Return a PDB file of structures with different numbers of atoms, which ASE does not write."""
    models = [_by_ase(atoms, "proteindatabank") for atoms in frames]
    return "".join(
        text.replace("MODEL     1", f"MODEL     {number}") for number, text in enumerate(models, start=1)
    ).encode()


def _by_ase(atoms: Atoms, file_format: str) -> str:
    """Return one structure as text in a format of ASE."""
    import ase.io

    stream = io.StringIO()
    ase.io.write(stream, atoms, format=file_format)
    return stream.getvalue().removesuffix("$$$$\n")
