"""An OpenMM Context for one structure at a time, through which the engines evaluate."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
import torch
from openmm import unit

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, split
from mlff_core.structures.prediction import Prediction
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.openmm.charges import atom_charges
from mlff_plugins.openmm.convert import ENERGY, FORCE, reduced_box
from mlff_plugins.openmm.force import create_force


class Session:
    """Keeps a Context while species, periodicity and charge stay the same, and makes a new one when they change.

    Parameters
    ----------
    potential
        The potential that drives it.
    backend
        ``"torchforce"`` or ``"pythonforce"``.
    platform
        Name of an OpenMM platform.

    Raises
    ------
    InputError
        OpenMM has no platform of this name.
    """

    def __init__(self, potential: Potential, backend: str, platform: str) -> None:
        names = [openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())]
        if platform not in names:
            raise InputError(f"OpenMM has no platform {platform!r} here; it has {', '.join(names)}")
        self.potential = potential
        self.backend = backend
        self.platform = openmm.Platform.getPlatformByName(platform)
        self._key: tuple[Any, ...] | None = None
        self._context: openmm.Context | None = None

    def evaluate(self, batch: AtomicBatch) -> Prediction:
        """Return energy and forces of each structure, and the charges of its atoms if the model gives them.

        Raises
        ------
        UnsupportedError
            A structure is periodic along one or two lattice vectors only, or the model does not support it.
        """
        results = [self._evaluate_one(structure) for structure in split(batch)]
        charges = [charges for _, _, charges in results if charges is not None]
        return Prediction(
            energy=torch.tensor([energy for energy, _, _ in results], dtype=torch.float64),
            forces=torch.cat([forces for _, forces, _ in results]),
            charges=torch.cat(charges) if charges else None,
        )

    def _evaluate_one(self, batch: AtomicBatch) -> tuple[float, torch.Tensor, torch.Tensor | None]:
        pbc = batch.pbc[0].tolist()
        if any(pbc) != all(pbc):
            raise UnsupportedError(
                f"OpenMM supports structures that are periodic along all lattice vectors or none, got pbc {pbc}"
            )
        positions = batch.positions.detach().cpu().double().numpy()
        box, rotation = None, np.eye(3)
        if all(pbc):
            box, rotation = reduced_box(batch.cell[0].detach().cpu().double().numpy())
        context = self._context_for(batch, box)
        if box is not None:
            context.setPeriodicBoxVectors(*(box / ANGSTROM_PER_NM))
        context.setPositions(positions @ rotation / ANGSTROM_PER_NM)
        state = context.getState(energy=True, forces=True)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / ENERGY
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer) / FORCE
        charges = None
        if "charges" in self.potential.supports:
            charges = torch.from_numpy(
                atom_charges(
                    context,
                    self.potential,
                    batch.atomic_numbers.tolist(),
                    periodic=box is not None,
                    charge=None if batch.charge is None else float(batch.charge[0]),
                    spin_multiplicity=None if batch.spin_multiplicity is None else int(batch.spin_multiplicity[0]),
                )
            )
        return energy, torch.from_numpy(np.asarray(forces, dtype=np.float64) @ rotation.T), charges

    def _context_for(self, batch: AtomicBatch, box: np.ndarray[Any, Any] | None) -> openmm.Context:
        numbers = tuple(batch.atomic_numbers.tolist())
        charge = None if batch.charge is None else float(batch.charge[0])
        multiplicity = None if batch.spin_multiplicity is None else int(batch.spin_multiplicity[0])
        key = (numbers, box is None, charge, multiplicity)
        if self._context is None or key != self._key:
            force = create_force(
                self.potential,
                numbers,
                backend=self.backend,
                periodic=box is not None,
                charge=charge,
                spin_multiplicity=multiplicity,
            )
            system = openmm.System()
            for _ in numbers:
                system.addParticle(1.0)
            if box is not None:
                system.setDefaultPeriodicBoxVectors(*(box / ANGSTROM_PER_NM))
            system.addForce(force)
            integrator = openmm.VerletIntegrator(0.001 * unit.picosecond)
            self._context, self._key = openmm.Context(system, integrator, self.platform), key
        return self._context
