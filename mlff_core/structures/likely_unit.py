"""A warning for coordinates that are likely to be in bohr instead of Å."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii

from mlff_core.card import NONMETALS
from mlff_core.units import ANGSTROM_PER_BOHR

if TYPE_CHECKING:
    from ase import Atoms

_NOBLE = frozenset({2, 10, 18, 36, 54, 86})
_BONDING = np.array(sorted(NONMETALS - _NOBLE))
_AT_MOST = 200
"""Largest number of atoms that are checked."""

_BONDED = (0.75, 1.3)
"""Range of the distance of bonded atoms divided by the sum of their covalent radii."""


class UnitWarning(UserWarning):
    """Coordinates that are likely to be in another unit than Å."""


def warn_of_bohr(atoms: Atoms, what: str) -> None:
    """Warn if no atom of a molecule has a neighbour at a bond's distance in Å, but every atom has one in bohr.

    Parameters
    ----------
    atoms
        A structure of nonmetals; others, and structures of one or two atoms, are not checked.
    what
        Its name in the warning.
    """
    n_atoms = len(atoms)
    if n_atoms < 3 or not np.isin(atoms.numbers, _BONDING).all():
        return
    radii = covalent_radii[atoms.numbers]
    chosen = np.arange(min(n_atoms, _AT_MOST))
    with np.errstate(all="ignore"):
        distances = np.linalg.norm(atoms.positions[chosen, None] - atoms.positions[None], axis=2)
    distances[chosen, chosen] = np.inf
    nearest = (distances / (radii[chosen, None] + radii[None])).min(axis=1) * ANGSTROM_PER_BOHR
    if not bool(((nearest > _BONDED[0]) & (nearest < _BONDED[1]) & (nearest / ANGSTROM_PER_BOHR > _BONDED[1])).all()):
        return
    warnings.warn(
        f"{what}: no two atoms are at the distance of a bond (the nearest are {distances.min():.2f} Å apart); the "
        f"coordinates are likely to be in bohr. Å is wanted: multiply them by {ANGSTROM_PER_BOHR:.6f}",
        UnitWarning,
        stacklevel=3,
    )
