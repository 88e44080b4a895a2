"""The module that a ``TorchForce`` runs with the CPU kernel as one operator.

No postponed annotations and no unions with | here, since TorchScript reads the annotations.
"""

from typing import Final, Optional

import torch
from torch import Tensor, nn

from mlff_core.kernels.fused_modules import NEEDS, model_bytes
from mlff_core.kernels.operator_library import load_operators
from mlff_core.model.student import Student
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.openmm.convert import ENERGY


class FusedForceModule(nn.Module):
    """The module :class:`~mlff_plugins.openmm.script_module.ForceModule` with one operator instead of a graph.

    Everything is in ``forward`` itself: ``TorchForce`` freezes the module, and an error in a function that torch
    inlined ended a run by a segmentation fault (``docs/decisions/exports.md``).

    Parameters
    ----------
    model
        The network, which the CPU kernel supports.
    atomic_numbers
        Atomic numbers of the particles that the module acts on, shape (n_atoms,), int64.
    particles
        Their indices in the System, shape (n_atoms,), int64; empty if they are all its particles.
    periodic
        Whether OpenMM passes box vectors.
    skin
        Å, of the neighbour list.
    """

    weights: Tensor
    atomic_numbers: Tensor
    particles: Tensor
    no_cell: Tensor
    skin: Final[float]
    length: Final[float]
    energy: Final[float]
    needs: Final[str]

    def __init__(self, model: Student, atomic_numbers: Tensor, particles: Tensor, periodic: bool, skin: float) -> None:
        super().__init__()
        load_operators()
        self.register_buffer("weights", model_bytes(model))
        self.register_buffer("atomic_numbers", atomic_numbers)
        self.register_buffer("particles", particles)
        self.register_buffer("no_cell", torch.zeros(3, 3, dtype=torch.float64))
        self.periodic = periodic
        self.skin = skin
        self.length = ANGSTROM_PER_NM
        self.energy = ENERGY
        self.needs = NEEDS

    def forward(self, positions: Tensor, box: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 - TorchScript
        """Return the energy, one number, kJ/mol, float64, differentiable once in the positions.

        Parameters
        ----------
        positions
            Of all particles of the System, shape (n, 3), nm.
        box
            Periodic box vectors, shape (3, 3), nm, rows; None where not periodic.
        """
        # The caller's thread may be in no_grad, but TorchForce needs the gradient.
        was_enabled = torch.is_grad_enabled()
        if not was_enabled:
            torch.set_grad_enabled(True)
        if self.particles.shape[0] > 0:
            positions = positions.index_select(0, self.particles)
        n_atoms, n_given = self.atomic_numbers.shape[0], positions.shape[0]
        if n_given != n_atoms:
            raise RuntimeError(
                f"this file is for {n_atoms} atoms, but the System has {n_given} particles; export it again"
            )
        cell = self.no_cell
        if box is not None:
            if not self.periodic:
                raise RuntimeError(
                    "this module is not periodic, but box vectors were given; make it with periodic=True"
                )
            cell = box
        # The numbers are tested, not None: if one branch always raises, TorchScript drops the test and reads None.
        if self.periodic and float(cell[0, 0]) == 0.0:
            raise RuntimeError("this module is periodic: call setUsesPeriodicBoundaryConditions(True) on its force")
        energy: Tensor = torch.ops.mlff.structure_energy(
            self.weights,
            self.atomic_numbers,
            positions,
            cell,
            self.periodic,
            self.skin,
            self.length,
            self.energy,
            self.needs,
        )
        if not was_enabled:
            torch.set_grad_enabled(False)
        return energy
