"""Structures written to files by ASE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_core.atomic_write import unwritable, write_atomically
from mlff_core.errors import InputError, first_line

if TYPE_CHECKING:
    from ase import Atoms


def write_structures(path: str | Path, frames: Sequence[Atoms]) -> Path:
    """Write structures to a file, by rename, in the format that ASE chooses by its ending; return the path.

    Raises
    ------
    InputError
        The ending is unknown, the format cannot hold these structures, or the folder cannot be written to.
    """
    import tempfile

    import ase.io

    path = Path(path)
    # Into a temporary folder first, under the same name: some formats write other files beside it, and the format
    # follows from the ending.
    with tempfile.TemporaryDirectory(prefix="mlff-") as folder:
        temporary = Path(folder) / path.name
        try:
            ase.io.write(temporary, list(frames))
            content = temporary.read_bytes()
        except OSError as error:
            raise unwritable(path, error) from error
        except Exception as error:
            # ASE's writers raise many types of error.
            raise InputError(
                f"{path} cannot be written: {type(error).__name__}: {first_line(error)}; "
                "choose an ending such as .extxyz"
            ) from error
    try:
        write_atomically(path, content)
    except OSError as error:
        raise unwritable(path, error) from error
    return path
