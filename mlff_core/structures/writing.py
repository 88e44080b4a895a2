"""Structures to files, by ASE's writers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_core.atomic_write import unwritable, write_atomically
from mlff_core.errors import InputError, first_line

if TYPE_CHECKING:
    from ase import Atoms


def write_structures(path: str | Path, frames: Sequence[Atoms]) -> Path:
    """Write structures by rename to a file of a format that ASE knows by its ending; return the path.

    Raises
    ------
    InputError
        The ending is unknown, the format cannot hold these structures, or the folder cannot be written to.
    """
    import tempfile

    import ase.io

    path = Path(path)
    # Into a folder of its own first: some formats write beside their file, and only the ending says which it is.
    with tempfile.TemporaryDirectory(prefix="mlff-") as folder:
        temporary = Path(folder) / path.name
        try:
            ase.io.write(temporary, list(frames))
            content = temporary.read_bytes()
        except OSError as error:
            raise unwritable(path, error) from error
        except Exception as error:
            # ASE's writers raise whatever their format meets.
            raise InputError(
                f"{path} cannot be written: {type(error).__name__}: {first_line(error)}; "
                "choose an ending such as .extxyz"
            ) from error
    try:
        write_atomically(path, content)
    except OSError as error:
        raise unwritable(path, error) from error
    return path
