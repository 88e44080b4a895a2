"""Checks and shifts of arrays from files and callers: real numbers, none masked, positions near the origin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_core.errors import InputError

FAR = 128.0
"""Distance from the origin, Å, beyond which float32 rounds a position by more than 4e-6 Å."""

FARTHEST = 1e8
"""Largest coordinate that a structure may have, Å: float64 resolves 1e-8 Å there, and the search for neighbours counts
lattice vectors in 32-bit integers."""


def refuse_masked_or_complex(name: str, value: Any) -> None:
    """Refuse an array whose mask or imaginary part would be dropped silently.

    Raises
    ------
    InputError
        Entries are masked, or the numbers are complex.
    """
    if type(value) is np.ndarray and value.dtype.kind != "c":  # the usual case, checked at almost no cost
        return
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(
            f"{name} has {np.ma.count_masked(value)} masked entries, which have no value; fill them in or leave out "
            "what they belong to"
        )
    if "complex" in str(getattr(value, "dtype", "")):
        raise InputError(f"{name} must be real numbers, got complex ones; take their real part if that is meant")


def near_origin(
    positions: npt.NDArray[np.float64], cell: npt.NDArray[np.float64] | None, pbc: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.float64]:
    """Return positions of the same structure near the origin, so that float32 rounds them little.

    Positions are unchanged unless an atom is further from the origin than ``FAR``. Atoms are then moved by whole
    lattice vectors into the cell; if that is not enough, all atoms are moved together to the origin.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å, float64.
    cell
        Shape (3, 3), Å, rows are lattice vectors; None for no cell.
    pbc
        Periodic along each lattice vector, shape (3,); None for not periodic.
    """
    if not np.isfinite(positions).all() or not (np.abs(positions) > FAR).any():
        return positions
    if cell is not None and pbc is not None and np.any(pbc):
        periodic = np.flatnonzero(pbc)
        # With fewer than three periodic directions, least squares gives the coordinates along them.
        along = positions @ np.linalg.pinv(np.asarray(cell, dtype=np.float64)[periodic])
        positions = positions - np.floor(along) @ np.asarray(cell, dtype=np.float64)[periodic]
    if (np.abs(positions) > FAR).any():
        positions = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2
    return positions


def moved_near_origin(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positions of a structure in a run, (n_atoms, 3), Å, all moved together if the first atom is far away.

    The shift is a whole multiple of ``FAR``, so that it is the same from step to step for a structure that moves
    little. For a structure near the origin this costs a microsecond; :func:`near_origin` costs ten.
    """
    flat = positions.reshape(-1)
    if not flat.dot(flat) > FAR**2:
        return positions
    first = positions[0]
    if not FAR < np.abs(first).max() < FARTHEST:
        return positions
    moved: npt.NDArray[np.float64] = positions - FAR * np.round(first / FAR)
    return moved
