"""One structure of a run: its constant properties, its start, and the rows and frames of its states."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_core.dynamics.barostat import volume_of
from mlff_core.dynamics.masses import with_heavy_hydrogens
from mlff_core.dynamics.settings import MDSettings
from mlff_core.dynamics.state import (
    Array,
    MDState,
    first_state,
    mobile_atoms,
    thermal_velocities,
    without_drift,
    without_rotation,
)
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.checks import check_has_volume
from mlff_core.potentials.interface import Potential
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, GPA_PER_EV_PER_ANGSTROM3

if TYPE_CHECKING:
    from ase import Atoms


class System:
    """A structure of a run, checked against the run's settings.

    Parameters
    ----------
    potential
        Gives the forces.
    atoms
        Starting structure.
    settings
        Settings of the run; the seed is this structure's own.

    Raises
    ------
    InputError
        The structure does not fit the settings, or a mass is not positive.
    UnsupportedError
        A constraint is not supported, or the ensemble needs a stress that the potential does not give.
    """

    def __init__(self, potential: Potential, atoms: Atoms, settings: MDSettings) -> None:
        self.settings = settings
        self.atoms = atoms.copy()
        self.mobile = mobile_atoms(atoms, settings.ensemble)
        self.batch = batch_from_atoms(atoms, device=potential.device, dtype=potential.dtype)
        self.batch.validate_values()
        self.has_pressure = bool(atoms.pbc.all()) and "stress" in potential.supports
        if settings.ensemble == "npt":
            if "stress" not in potential.supports:
                raise UnsupportedError(f"{potential.card.name} gives no stress, so it cannot run npt; use nvt")
            if not atoms.pbc.all():
                raise InputError(
                    f"npt needs a cell that is periodic in all directions, got pbc {atoms.pbc.tolist()}; "
                    "set the cell in the structure file, or use nvt"
                )
            check_has_volume(self.batch)
        if settings.hydrogen_mass is not None:
            self.atoms.set_masses(with_heavy_hydrogens(self.atoms, settings.hydrogen_mass))
        self.masses: Array = np.asarray(self.atoms.get_masses(), dtype=np.float64)[:, None]
        if not (self.masses > 0).all():
            raise InputError("every atom needs a positive mass; check the masses in the structure file")
        self.random = np.random.default_rng(settings.seed)
        self.n_degrees = 3 * len(atoms) if self.mobile is None else 3 * int(self.mobile.sum())
        if settings.ensemble == "nve":
            _, still, rotations = self._still(self.atoms.get_velocities(), self.atoms.get_positions())
            self.n_degrees -= still + rotations

    def start(self) -> MDState[Array]:
        """Return the first state, its energy and forces not yet computed."""
        positions = self.atoms.get_positions()
        if self.settings.temperature_kelvin is None:
            if not self.atoms.has("momenta"):
                raise InputError(
                    "the structure has no velocities, so the run needs a temperature to draw them from; give "
                    "temperature_kelvin (--temperature-kelvin), or a structure with velocities"
                )
            velocities = self.atoms.get_velocities()
            if not np.isfinite(velocities).all():
                raise InputError("the structure's velocities must be finite; give a temperature to draw new ones")
        else:
            velocities = thermal_velocities(self.masses, self.settings.temperature_kelvin, self.random)
        if self.mobile is not None:
            velocities = velocities * self.mobile
        velocities, _, _ = self._still(velocities, positions)
        cell = np.asarray(self.atoms.cell, dtype=np.float64)[None]
        return first_state(positions, velocities, cell)

    def _still(self, velocities: Array, positions: Array) -> tuple[Array, int, int]:
        """Return velocities without overall motion, and the number of removed translations and rotations."""
        if self.mobile is not None:
            return velocities, 0, 0
        velocities = without_drift(velocities, self.masses)
        if self.atoms.pbc.any():
            return velocities, 3, 0
        velocities, rotations = without_rotation(velocities, positions, self.masses)
        return velocities, 3, rotations

    def row(self, state: MDState[Array]) -> dict[str, float | int | None]:
        """Return a row of the log.

        The conserved energy is constant for an exact integrator: the total energy minus the energy added by the baths.
        """
        kinetic = state.kinetic_energy(self.masses)
        energy = state.energy
        total = energy + kinetic
        pressure = None
        if self.has_pressure and state.stresses is not None:
            ideal = 2.0 * kinetic / (3.0 * volume_of(state))
            pressure = (ideal - float(np.trace(state.stresses[0])) / 3.0) * GPA_PER_EV_PER_ANGSTROM3
        return {
            "step": state.step,
            "time_fs": state.step * self.settings.timestep_fs,
            "potential_energy": energy,
            "kinetic_energy": kinetic,
            "total_energy": total,
            "conserved_energy": total - state.bath_energy,
            "temperature_kelvin": 2.0 * kinetic / (self.n_degrees * EV_PER_KELVIN) if self.n_degrees > 0 else 0.0,
            "pressure_gpa": pressure,
            "volume": volume_of(state) if self.atoms.pbc.all() else None,
        }

    def frame(self, state: MDState[Array]) -> Atoms:
        """Return the state as ASE's structure, with its energy, forces and velocities."""
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.stress import full_3x3_to_voigt_6_stress

        atoms = self.atoms.copy()
        atoms.set_constraint(self.atoms.constraints)
        atoms.set_cell(state.cell[0])
        atoms.set_positions(state.positions, apply_constraint=False)
        atoms.set_momenta(self.masses * state.velocities, apply_constraint=False)
        results: dict[str, Any] = {"energy": state.energy, "forces": state.forces}
        if state.stresses is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(state.stresses[0])
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["step"] = state.step
        atoms.info["time_fs"] = state.step * self.settings.timestep_fs
        return atoms


def identity(atoms: Atoms) -> str:
    """Return a description of the constant properties: the atoms in their order and the periodic directions."""
    order = hashlib.sha256(np.asarray(atoms.numbers, dtype="<i8").tobytes()).hexdigest()[:12]
    axes = "".join(axis for axis, periodic in zip("xyz", atoms.pbc, strict=True) if periodic)
    return f"{atoms.get_chemical_formula()} (order {order}), periodic in {axes or 'no direction'}"
