"""The volume of a cell, and the stress from a virial."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def volume(cell: Sequence[Sequence[float]]) -> float:
    """Return the volume of a cell given as three rows of numbers, Å³ for Å; the transposed cell has the same volume."""
    a, b, c = cell
    return abs(
        a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


def stress_from_virial(virial: Tensor, cell: Tensor) -> Tensor:
    """Return −virial / volume, shape (n_systems, 3, 3), eV/Å³.

    Parameters
    ----------
    virial
        −dE/d(strain), shape (n_systems, 3, 3), eV.
    cell
        Shape (n_systems, 3, 3), Å, rows are lattice vectors.
    """
    # Not torch.linalg.det: it wakes all threads for one 3×3 matrix, and then hangs in a forked process.
    volumes: Tensor = (torch.linalg.cross(cell[:, 0], cell[:, 1]) * cell[:, 2]).sum(dim=1).abs()
    stress: Tensor = -virial / volumes[:, None, None]
    return stress
