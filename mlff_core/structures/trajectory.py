"""Trajectories that hold coordinates only (DCD, XTC, TRR), by MDAnalysis; the atoms come from a structure file."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlff_core.errors import InputError, MissingDependencyError, first_line
from mlff_core.units import ANGSTROM_PER_NM

if TYPE_CHECKING:
    from ase import Atoms

Array = npt.NDArray[np.float64]


def is_trajectory(path: Path) -> bool:
    """Return whether a file holds coordinates only, by its ending."""
    return path.suffix.lower() in (".dcd", ".xtc", ".trr")


def read_trajectory(path: Path, atoms: Atoms, index: slice | int) -> list[Atoms]:
    """Return frames of a trajectory with the atoms and the charge of a structure.

    Parameters
    ----------
    path
        A DCD, XTC or TRR file.
    atoms
        A structure of the same atoms in the same order.
    index
        Which frames.

    Raises
    ------
    InputError
        The file cannot be read, or has another number of atoms.
    MissingDependencyError
        MDAnalysis is not installed.
    """
    try:
        import MDAnalysis  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{path.suffix} files need MDAnalysis: pip install 'mlff-hub[trajectories]', or write the frames as .extxyz"
        ) from error
    read = _dcd if path.suffix.lower() == ".dcd" else _gromacs
    # The last frame of a long trajectory needs the memory of one.
    frames: deque[Atoms] = deque(maxlen=1 if index == -1 else None)
    try:
        for positions, cell in read(path):
            if len(positions) != len(atoms):
                raise InputError(
                    f"{path} has {len(positions)} atoms and its topology {len(atoms)}; give a structure file of the "
                    "atoms that were written"
                )
            frame = atoms.copy()
            frame.set_positions(positions, apply_constraint=False)
            frame.set_cell(cell)
            frame.pbc = bool(np.abs(cell).max() > 0)
            frames.append(frame)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read as a trajectory: {type(error).__name__}: {first_line(error)}; check the file"
        ) from error
    chosen = list(frames)[index]
    return chosen if isinstance(chosen, list) else [chosen]


def _dcd(path: Path) -> Iterator[tuple[Array, Array]]:
    """Yield positions (n_atoms, 3) and cell (3, 3), Å, of each frame."""
    from MDAnalysis.coordinates.DCD import DCDReader
    from MDAnalysis.lib.mdamath import triclinic_vectors

    with warnings.catch_warnings():
        # Of MDAnalysis 3, whose frames will be one object; each is copied here.
        warnings.simplefilter("ignore", DeprecationWarning)
        reader = DCDReader(str(path), convert_units=True)
    with reader:
        for frame in reader:
            box = frame.dimensions
            cell = np.zeros((3, 3)) if box is None else np.asarray(triclinic_vectors(box), dtype=np.float64)
            yield np.asarray(frame.positions, dtype=np.float64), cell


def _gromacs(path: Path) -> Iterator[tuple[Array, Array]]:
    """Yield positions (n_atoms, 3) and cell (3, 3), Å, of each frame.

    By the library under MDAnalysis' readers, which would write a file of offsets beside the trajectory.
    """
    from MDAnalysis.lib.formats import libmdaxdr

    kind: Any = libmdaxdr.XTCFile if path.suffix.lower() == ".xtc" else libmdaxdr.TRRFile
    with kind(str(path)) as file:
        for frame in file:
            yield (
                np.asarray(frame.x, dtype=np.float64) * ANGSTROM_PER_NM,
                np.asarray(frame.box, dtype=np.float64) * ANGSTROM_PER_NM,
            )
