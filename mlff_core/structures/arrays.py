"""Numbers as they come from files and callers, before they are trusted: real, none masked, near the origin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_core.errors import InputError

FAR = 128.0
"""Å from the origin, beyond which float32 rounds a position by more than 4e-6 Å."""

FARTHEST = 1e8
"""Largest coordinate that a structure may have, Å: float64 resolves 1e-8 Å there, and the search for neighbours counts
lattice vectors in 32-bit integers."""


def refuse_masked_or_complex(name: str, value: Any) -> None:
    """Refuse an array whose mask or imaginary part would be dropped without a word.

    Raises
    ------
    InputError
        Entries are masked, or the numbers are complex.
    """
    if type(value) is np.ndarray and value.dtype.kind != "c":  # nearly always, and nearly free
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
    """Return the same structure where float32 holds it well: unchanged unless an atom is further out than ``FAR``.

    Atoms are moved by whole lattice vectors into the cell, then, where that is not enough, all together to the origin.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å, float64.
    cell
        Shape (3, 3), Å, rows are lattice vectors; None for no cell.
    pbc
        Periodic along each lattice vector, shape (3,), no unit; None for not periodic.
    """
    if not np.isfinite(positions).all() or not (np.abs(positions) > FAR).any():
        return positions
    if cell is not None and pbc is not None and np.any(pbc):
        periodic = np.flatnonzero(pbc)
        # Where fewer than three directions repeat, the coordinates along these are what least squares gives.
        along = positions @ np.linalg.pinv(np.asarray(cell, dtype=np.float64)[periodic])
        positions = positions - np.floor(along) @ np.asarray(cell, dtype=np.float64)[periodic]
    if (np.abs(positions) > FAR).any():
        positions = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2
    return positions


def moved_near_origin(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positions of a structure in a run, (n_atoms, 3), Å, all moved together where the first atom is far out.

    By whole multiples of ``FAR``, so that a structure that moves little is moved by the same from step to step. For a
    structure near the origin this costs a microsecond, where :func:`near_origin` costs ten.
    """
    flat = positions.reshape(-1)
    if not flat.dot(flat) > FAR**2:
        return positions
    first = positions[0]
    if not FAR < np.abs(first).max() < FARTHEST:
        return positions
    moved: npt.NDArray[np.float64] = positions - FAR * np.round(first / FAR)
    return moved
