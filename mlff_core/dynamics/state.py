"""The state of a run, the atoms that may move, and the starting velocities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.units import EV_PER_KELVIN

if TYPE_CHECKING:
    from ase import Atoms

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Numbers = TypeVar("Numbers", Array, Tensor)
"""NumPy arrays, which are fastest for one small structure, or tensors, which may be on a GPU."""


@dataclass(frozen=True, slots=True, eq=False)
class MDState(Generic[Numbers]):
    """State of a batch of structures at one step, their atoms concatenated; one structure is a batch of one.

    Integrators return a new state, so a step that fails leaves the last good one intact. The arrays of a state are
    never changed.
    """

    step: int
    """Steps done."""
    positions: Numbers
    """Shape (n_atoms, 3), Å."""
    velocities: Numbers
    """Shape (n_atoms, 3), Å per Å·√(amu/eV)."""
    cell: Numbers
    """Shape (n_systems, 3, 3), Å, rows are lattice vectors."""
    energies: Numbers
    """Potential energy of each structure, shape (n_systems,), eV."""
    forces: Numbers
    """Shape (n_atoms, 3), eV/Å; zero on atoms that are held."""
    stresses: Numbers | None
    """Shape (n_systems, 3, 3), eV/Å³, positive under tension; None if they were not computed."""
    bath_energies: Numbers
    """Energy that thermostat and barostat have added to each structure since the start, shape (n_systems,), eV."""

    @property
    def energy(self) -> float:
        """Potential energy of all structures together, eV."""
        return float(self.energies.sum())

    @property
    def bath_energy(self) -> float:
        """Energy that thermostats and barostats have added since the start, all structures together, eV."""
        return float(self.bath_energies.sum())

    def kinetic_energy(self, masses: Numbers) -> float:
        """Return the kinetic energy of all structures together, eV, for masses of shape (n_atoms, 1), amu."""
        return float(0.5 * (masses * self.velocities**2).sum())

    def one(self, k: int, atoms: slice) -> MDState[Numbers]:
        """Return the state of structure ``k`` alone; ``atoms`` is the slice of its atoms."""
        own = slice(k, k + 1)
        return MDState(
            self.step,
            self.positions[atoms],
            self.velocities[atoms],
            self.cell[own],
            self.energies[own],
            self.forces[atoms],
            None if self.stresses is None else self.stresses[own],
            self.bath_energies[own],
        )


def first_state(positions: Array, velocities: Array, cell: Array) -> MDState[Array]:
    """Return the state at step 0, its energies and forces not yet computed.

    Parameters
    ----------
    positions, velocities, cell
        Shapes (n_atoms, 3), Å, (n_atoms, 3), Å per Å·√(amu/eV), and (n_systems, 3, 3), Å, see :class:`MDState`.
    """
    n_systems = len(cell)
    unknown = np.full(n_systems, np.nan)
    return MDState(0, positions, velocities, cell, unknown, np.zeros_like(positions), None, np.zeros(n_systems))


def mobile_atoms(atoms: Atoms, ensemble: str) -> Mask | None:
    """Return which atoms move, shape (n_atoms, 1), or None if all do.

    Raises
    ------
    UnsupportedError
        There is a constraint other than ``FixAtoms``, or ``FixAtoms`` with ``"npt"``.
    InputError
        Every atom is held.
    """
    from ase.constraints import FixAtoms

    if not atoms.constraints:
        return None
    other = [type(constraint).__name__ for constraint in atoms.constraints if not isinstance(constraint, FixAtoms)]
    if other or ensemble == "npt":
        names = ", ".join(other) or "FixAtoms"
        raise UnsupportedError(
            f"the structure has the constraint {names}; molecular dynamics supports FixAtoms only, and no constraint "
            "with npt; remove it from the structure"
        )
    mobile = np.ones((len(atoms), 1), dtype=bool)
    for constraint in atoms.constraints:
        mobile[constraint.get_indices()] = False
    if not mobile.any():
        raise InputError("every atom of the structure is held by FixAtoms, so nothing can move; release some atoms")
    return mobile


def thermal_velocities(masses: Array, temperature_kelvin: float | Array, random: np.random.Generator) -> Array:
    """Return velocities from the Maxwell–Boltzmann distribution, shape (n_atoms, 3), Å per Å·√(amu/eV).

    Parameters
    ----------
    masses
        Shape (n_atoms, 1), amu.
    temperature_kelvin
        Kelvin; one number, or one for each atom, shape (n_atoms, 1).
    random
        Source of random numbers.
    """
    drawn: Array = random.standard_normal((len(masses), 3)) * np.sqrt(EV_PER_KELVIN * temperature_kelvin / masses)
    return drawn


def without_drift(velocities: Array, masses: Array) -> Array:
    """Return velocities (n_atoms, 3) with no total momentum; ``masses`` has shape (n_atoms, 1), amu; any unit."""
    still: Array = velocities - (masses * velocities).sum(axis=0) / masses.sum()
    return still


def without_rotation(velocities: Array, positions: Array, masses: Array) -> tuple[Array, int]:
    """Return velocities with no angular momentum, and the number of rotations removed (3, 2 or 0).

    Parameters
    ----------
    velocities
        Shape (n_atoms, 3), any unit.
    positions
        Shape (n_atoms, 3), Å.
    masses
        Shape (n_atoms, 1), amu.
    """
    centred = positions - (masses * positions).sum(axis=0) / masses.sum()
    angular_momentum = (masses * np.cross(centred, velocities)).sum(axis=0)
    inertia = (masses * centred**2).sum() * np.eye(3) - (masses * centred).T @ centred
    moments, axes = np.linalg.eigh(inertia)
    # The axis of a linear molecule, and every axis of one atom, has no moment of inertia.
    turning = moments > 1e-6 * max(float(moments.max()), 1e-6)
    inverse = np.where(turning, 1.0 / np.where(turning, moments, 1.0), 0.0)
    rate = axes @ (inverse * (axes.T @ angular_momentum))
    return velocities - np.cross(rate, centred), int(turning.sum())
