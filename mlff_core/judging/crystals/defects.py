"""Energies of vacancies and surfaces."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from ase.build import surface

from mlff_core.dynamics.batched_relaxation import relax_many
from mlff_core.errors import InputError
from mlff_core.units import J_M2_PER_EV_PER_ANGSTROM2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_core.potentials.interface import Potential

FMAX = 0.01
"""Largest force at the end of a relaxation, eV/Å."""

THICKNESS = 14.0
"""Least thickness of a slab, Å."""

VACUUM = 12.0
"""Between a slab and its image, Å."""


def vacancy_energy(potential: Potential, crystal: Atoms, energy_per_atom: float, repeats: int = 3) -> float:
    """Return the energy of formation of a vacancy in a crystal of one element, eV, at the volume of the crystal.

    E(N − 1 atoms, relaxed) − (N − 1) · E(crystal) / N.

    Parameters
    ----------
    potential
        Gives energies and forces.
    crystal
        Cubic cell at its lattice constant.
    energy_per_atom
        Of the crystal, eV.
    repeats
        Cells in each direction of the supercell.

    Raises
    ------
    InputError
        The relaxation does not end.
    """
    defect = crystal.repeat(repeats)
    del defect[0]
    (energy,) = _relaxed_energies(potential, [defect], f"the vacancy in {crystal.get_chemical_formula()}")
    return energy - len(defect) * energy_per_atom


def surface_energies(
    potential: Potential, crystal: Atoms, energy_per_atom: float, planes: Sequence[tuple[int, int, int]]
) -> list[float]:
    """Return the energies of unreconstructed surfaces, J/m²: (E(slab, relaxed) − N · E(crystal)) / (2 · area).

    Parameters
    ----------
    potential
        Gives energies and forces.
    crystal
        Cubic cell at its lattice constant.
    energy_per_atom
        Of the crystal, eV.
    planes
        Miller indices of the cubic cell.

    Raises
    ------
    InputError
        A relaxation does not end.
    """
    slabs = [slab(crystal, plane) for plane in planes]
    energies = _relaxed_energies(potential, slabs, f"a surface of {crystal.get_chemical_formula()}")
    return [
        (energy - len(one) * energy_per_atom) / (2.0 * area(one)) * J_M2_PER_EV_PER_ANGSTROM2
        for one, energy in zip(slabs, energies, strict=True)
    ]


def slab(crystal: Atoms, plane: tuple[int, int, int]) -> Atoms:
    """Return a slab of at least :data:`THICKNESS` with :data:`VACUUM`, periodic in three directions."""
    layer = surface(crystal, plane, 1, periodic=True)
    spacing = layer.get_volume() / area(layer)
    made = surface(crystal, plane, ceil(THICKNESS / spacing), periodic=True)
    made.center(vacuum=0.5 * VACUUM, axis=2)
    return made


def area(layer: Atoms) -> float:
    """Return the area of the first two lattice vectors, Å²."""
    return float(np.linalg.norm(np.cross(layer.cell.array[0], layer.cell.array[1])))


def _relaxed_energies(potential: Potential, frames: Sequence[Atoms], what: str) -> list[float]:
    found = relax_many(potential, frames, fmax=FMAX, max_steps=200)
    if not all(one.converged for one in found):
        worst = max(one.max_force for one in found)
        raise InputError(
            f"{potential.card.name}: {what} is not relaxed after 200 steps, largest force {worst:.3f} eV/Å"
        )
    return [one.energy for one in found]
