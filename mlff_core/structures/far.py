"""Structures far from the origin, where float32 rounds distances: they are moved to it, or refused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlff_core.errors import InputError

FAR = 128.0
"""Distance from the origin, Å, beyond which float32 rounds a position by more than 4e-6 Å."""

FARTHEST = 1e8
"""Largest coordinate that a structure may have, Å: float64 resolves 1e-8 Å there, and the search for neighbours counts
lattice vectors in 32-bit integers."""

FARTHEST_SINGLE = 8192.0
"""The same for positions that a caller gives in float32, which resolves 0.001 Å there."""


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


def systems_near_origin(positions: Tensor, system_idx: Tensor, n_systems: int) -> Tensor:
    """Return positions of a batch, (n_atoms, 3), Å, float64, each structure far from the origin moved there as a whole.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å, float64.
    system_idx
        Structure of each atom, shape (n_atoms,).
    n_systems
        Number of structures.
    """
    if not FAR < float(positions.detach().abs().amax()) < FARTHEST:
        return positions
    sums = positions.new_zeros(n_systems, 3).index_add(0, system_idx, positions.detach())
    counts = torch.bincount(system_idx, minlength=n_systems).clamp(min=1)
    return positions - (FAR * torch.round(sums / counts[:, None] / FAR))[system_idx]


def is_near(positions: Tensor, total: float) -> bool:
    """Return whether no atom can be as far from the origin as :func:`refuse_far` refuses.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å.
    total
        Sum of their squares, Å²; NaN or infinite if one of them is.
    """
    return total < _farthest(positions) ** 2


def refuse_far(positions: Tensor) -> None:
    """Refuse positions, (n_atoms, 3), Å, so far from the origin that their precision does not resolve distances.

    Raises
    ------
    InputError
        An atom is further away than :data:`FARTHEST`, or than :data:`FARTHEST_SINGLE` in float32.
    """
    farthest = float(positions.abs().max())
    if farthest <= _farthest(positions):
        return
    first = int(positions.abs().max(dim=1).values.argmax())
    if farthest > FARTHEST:
        raise InputError(
            f"atom {first} is more than {FARTHEST:g} Å from the origin; check the input file, or the MD step before "
            "this one"
        )
    raise InputError(
        f"atom {first} is more than {FARTHEST_SINGLE:g} Å from the origin, where float32 rounds distances; give "
        "positions in float64, or move the atoms to the origin"
    )


def _farthest(positions: Tensor) -> float:
    return FARTHEST if positions.dtype == torch.float64 else FARTHEST_SINGLE
