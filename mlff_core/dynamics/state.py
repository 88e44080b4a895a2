"""What moves: the state of a run, the energy surface it moves on, and the velocities it starts with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.units import EV_PER_KELVIN

if TYPE_CHECKING:
    from ase import Atoms

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class MDState:
    """One moment of a run. Integrators return another one, so a step that fails leaves the last good one whole.

    Parameters
    ----------
    step
        Steps done.
    positions
        Shape (n_atoms, 3), Å.
    velocities
        Shape (n_atoms, 3), Å per Å·√(amu/eV).
    cell
        Shape (n_systems, 3, 3), Å, rows are lattice vectors.
    energy
        Potential energy, eV.
    forces
        Shape (n_atoms, 3), eV/Å; zero on atoms that are held.
    stress
        Shape (3, 3), eV/Å³, positive under tension; None where it was not asked for.
    bath_energy
        Energy that thermostat and barostat have put in since the start, eV.
    """

    step: int
    positions: Array
    velocities: Array
    cell: Array
    energy: float
    forces: Array
    stress: Array | None = None
    bath_energy: float = 0.0

    def kinetic_energy(self, masses: Array) -> float:
        """Return the kinetic energy, eV, for masses of shape (n_atoms, 1), amu."""
        return float(0.5 * (masses * self.velocities**2).sum())


class Surface:
    """The potential energy surface of one batch of structures, with neighbours kept under a skin.

    Parameters
    ----------
    potential
        What computes.
    batch
        The structures, whose atoms stay the same while positions and cell change.
    mobile
        Which atoms move, shape (n_atoms, 1), bool, no unit; None for all. The others feel no force.
    """

    def __init__(self, potential: Potential, batch: AtomicBatch, mobile: npt.NDArray[np.bool_] | None = None) -> None:
        self.potential = potential
        self.batch = batch.to(potential.device, potential.dtype)
        self.mobile = mobile
        self.forget()

    def forget(self) -> None:
        """Drop the neighbours, so that the next evaluation is made as in a process that has just begun."""
        self._verlet = VerletPotential(self.potential)

    @property
    def n_builds(self) -> int:
        """Neighbour searches since the last :meth:`forget`."""
        return self._verlet.n_searches

    def evaluate(self, positions: Array, cell: Array, *, want_stress: bool) -> tuple[float, Array, Array | None]:
        """Return energy (eV, of all structures together), forces (n_atoms, 3) eV/Å and stress (3, 3) eV/Å³ or None.

        Parameters
        ----------
        positions
            Shape (n_atoms, 3), Å.
        cell
            Shape (n_systems, 3, 3), Å.
        want_stress
            Compute the stress of the first structure.

        Raises
        ------
        InputError
            Positions or results that are not finite, or overlapping atoms.
        """
        batch = replace(
            self.batch,
            positions=torch.as_tensor(positions, dtype=self.batch.dtype, device=self.batch.device),
            cell=torch.as_tensor(cell, dtype=self.batch.dtype, device=self.batch.device),
        )
        want = ("energy", "forces", "stress") if want_stress else ("energy", "forces")
        prediction = self._verlet.predict(batch, want=want)
        if prediction.forces is None:
            raise UnsupportedError(f"{self.potential.card.name} gives no forces, so nothing can move under it")
        forces = prediction.forces.double().cpu().numpy()
        energy = float(prediction.energy.sum())
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise InputError(f"{self.potential.card.name} gave an energy or a force that is not a finite number")
        if self.mobile is not None:
            forces = forces * self.mobile
        stress = None if prediction.stress is None else prediction.stress[0].double().cpu().numpy()
        return energy, forces, stress

    def refresh(self, state: MDState, *, want_stress: bool) -> MDState:
        """Return the state with energy, forces and stress computed anew."""
        energy, forces, stress = self.evaluate(state.positions, state.cell, want_stress=want_stress)
        return replace(state, energy=energy, forces=forces, stress=stress)


def mobile_atoms(atoms: Atoms, ensemble: str) -> npt.NDArray[np.bool_] | None:
    """Return which atoms move, shape (n_atoms, 1), or None where all do.

    Raises
    ------
    UnsupportedError
        A constraint other than ``FixAtoms``, or that one with ``"npt"``.
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
            f"the structure has the constraint {names}; molecular dynamics knows FixAtoms, and none of them with npt. "
            "Remove it from the structure"
        )
    mobile = np.ones((len(atoms), 1), dtype=bool)
    for constraint in atoms.constraints:
        mobile[constraint.get_indices()] = False
    if not mobile.any():
        raise InputError("every atom of the structure is held by FixAtoms, so nothing can move")
    return mobile


def thermal_velocities(masses: Array, temperature_kelvin: float, random: np.random.Generator) -> Array:
    """Return velocities from the Maxwell–Boltzmann distribution, shape (n_atoms, 3), Å per Å·√(amu/eV).

    Parameters
    ----------
    masses
        Shape (n_atoms, 1), amu.
    temperature_kelvin
        Kelvin.
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
    """Return velocities with no angular momentum, and how many rotations there were to remove (3, 2 or 0).

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
