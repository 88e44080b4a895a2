"""The module that a ``TorchForce`` runs; it includes species, units and neighbour search.

No postponed annotations and no unions with | here, since TorchScript reads the annotations.
"""

from typing import Optional

import torch
from torch import Tensor, nn

from mlff_core.model.scripted import ScriptedStudent
from mlff_core.model.student import Student
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.openmm.convert import ENERGY


class ForceModule(nn.Module):
    """Energy, kJ/mol, of a student at positions in nm; ``TorchForce`` differentiates it.

    Parameters
    ----------
    model
        The network.
    atomic_numbers
        Atomic numbers of the particles that the module acts on, shape (n_atoms,), int64.
    particles
        Their indices in the System, shape (n_atoms,), int64; empty if they are all its particles.
    periodic
        Whether OpenMM passes box vectors.
    skin
        Å, of the neighbour list.
    """

    atomic_numbers: Tensor
    particles: Tensor

    def __init__(self, model: Student, atomic_numbers: Tensor, particles: Tensor, periodic: bool, skin: float) -> None:
        super().__init__()
        self.student = ScriptedStudent(model, skin)
        self.register_buffer("atomic_numbers", atomic_numbers)
        self.register_buffer("particles", particles)
        self.periodic = periodic
        self.length = ANGSTROM_PER_NM
        self.energy = ENERGY

    def forward(self, positions: Tensor, box: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 - TorchScript
        """Return the energy, one number, kJ/mol, float64, differentiable in the positions.

        Parameters
        ----------
        positions
            Of all particles of the System, shape (n, 3), nm.
        box
            Periodic box vectors, shape (3, 3), nm, rows; None where not periodic.
        """
        if not torch.is_grad_enabled():
            # The caller's thread may be in no_grad, but TorchForce needs the gradient.
            torch.set_grad_enabled(True)
            energy = self.compute(positions, box)
            torch.set_grad_enabled(False)
            return energy
        return self.compute(positions, box)

    def compute(self, positions: Tensor, box: Optional[Tensor]) -> Tensor:  # noqa: UP045 - TorchScript
        """Return the result of :meth:`forward`; positions (n, 3) and box (3, 3) in nm."""
        if self.particles.shape[0] > 0:
            positions = positions.index_select(0, self.particles)
        n_atoms, n_given = self.atomic_numbers.shape[0], positions.shape[0]
        if n_given != n_atoms:
            raise RuntimeError(
                f"this file is for {n_atoms} atoms, but the System has {n_given} particles; export it again"
            )
        positions = positions.to(torch.float64) * self.length
        cell = torch.zeros(3, 3, dtype=torch.float64, device=positions.device)
        if box is not None:
            if not self.periodic:
                raise RuntimeError(
                    "this module is not periodic, but box vectors were given; make it with periodic=True"
                )
            cell = box.to(torch.float64) * self.length
        # The numbers are tested, not None: if one branch always raises, TorchScript drops the test and reads None.
        if self.periodic and float(cell[0, 0]) == 0.0:
            raise RuntimeError("this module is periodic: call setUsesPeriodicBoundaryConditions(True) on its force")
        energy: Tensor = self.student(self.atomic_numbers, positions, cell, self.periodic)
        return energy * self.energy
