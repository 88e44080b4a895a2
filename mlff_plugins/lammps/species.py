"""The elements of LAMMPS' atom types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from mlff_core.errors import InputError

MASS_TOLERANCE = 0.1
"""Largest deviation of a mass from that of its element, u; elements up to nickel differ by 0.2 u at least."""


def atomic_numbers_of_types(lmp: Any, species: Sequence[str] | None) -> npt.NDArray[np.int64]:
    """Return the atomic number of each type, shape (n_types + 1,); index 0 is not used.

    Parameters
    ----------
    lmp
        LAMMPS instance with a box.
    species
        Element of each type; None finds them from the masses.

    Raises
    ------
    InputError
        The number of elements is wrong, a name is not an element, or a mass is not that of an element.
    """
    n_types = lmp.extract_setting("ntypes")
    if species is None:
        return np.array([0, *(_of_mass(kind, mass) for kind, mass in enumerate(_masses(lmp, n_types), start=1))])
    species = [species] if isinstance(species, str) else list(species)
    if len(species) != n_types:
        raise InputError(
            f"LAMMPS has {n_types} atom types, got {len(species)} elements ({' '.join(species)}); "
            "give one for each type"
        )
    for symbol in species:
        if atomic_numbers.get(symbol, 0) < 1:
            raise InputError(f"{symbol!r} is not an element; give symbols such as C H O, one for each atom type")
    return np.array([0, *(atomic_numbers[symbol] for symbol in species)])


def _masses(lmp: Any, n_types: int) -> list[float]:
    masses = lmp.extract_atom("mass")
    if not masses:
        raise InputError(
            "LAMMPS has no masses of the atom types to find the elements by; give the element of each type"
        )
    return [float(masses[kind]) for kind in range(1, n_types + 1)]


def _of_mass(kind: int, mass: float) -> int:
    nearest = int(np.argmin(np.abs(atomic_masses[1:] - mass))) + 1
    if abs(atomic_masses[nearest] - mass) > MASS_TOLERANCE:
        raise InputError(
            f"atom type {kind} has a mass of {mass:g} u, which is not that of an element (nearest is "
            f"{chemical_symbols[nearest]}, {atomic_masses[nearest]:g} u); give the element of each type"
        )
    return nearest
