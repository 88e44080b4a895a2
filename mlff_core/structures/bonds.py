"""Covalent bonds of a molecule, found by distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ase.data import covalent_radii

BOND = 1.25
"""Atoms closer than this times the sum of their covalent radii are bonded."""


def bonded(positions: npt.NDArray[np.float64], atomic_numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return which atoms of a structure without a cell are bonded, shape (n_atoms, n_atoms); none to itself.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å.
    atomic_numbers
        Shape (n_atoms,).
    """
    radii = covalent_radii[atomic_numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    found: npt.NDArray[np.bool_] = distances < BOND * (radii[:, None] + radii[None])
    np.fill_diagonal(found, False)
    return found
