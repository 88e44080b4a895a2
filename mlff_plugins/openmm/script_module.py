"""The module that a ``TorchForce`` runs: species, units and neighbours inside.

No postponed annotations here, and no unions with |: TorchScript reads them.
"""

from typing import Optional

import torch
from torch import Tensor, nn

from mlff_core.model.painn import PaiNN
from mlff_core.potential import OVERLAP
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.openmm.convert import ENERGY
from mlff_plugins.openmm.script_neighbors import ScriptedNeighbors


class ForceModule(nn.Module):
    """Energy, kJ/mol, of a student at positions in nm; ``TorchForce`` differentiates it.

    Parameters
    ----------
    model
        The network.
    atomic_numbers
        Of the particles that the module acts on, shape (n_atoms,), int64, no unit.
    particles
        Their indices in the System, shape (n_atoms,), int64, no unit; empty if they are all its particles.
    periodic
        Whether OpenMM passes box vectors.
    skin
        Å, of the neighbour list.
    """

    atomic_numbers: Tensor
    particles: Tensor

    def __init__(self, model: PaiNN, atomic_numbers: Tensor, particles: Tensor, periodic: bool, skin: float) -> None:
        super().__init__()
        self.model = model
        self.search = ScriptedNeighbors(model.cutoff, skin)
        self.register_buffer("atomic_numbers", atomic_numbers)
        self.register_buffer("particles", particles)
        self.periodic = periodic
        self.length = ANGSTROM_PER_NM
        self.energy = ENERGY
        self.overlap = OVERLAP
        self.dtype = model.embedding.weight.dtype

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
            # The caller's thread may be inside no_grad; TorchForce asks for the gradient all the same.
            torch.set_grad_enabled(True)
            energy = self.compute(positions, box)
            torch.set_grad_enabled(False)
            return energy
        return self.compute(positions, box)

    def compute(self, positions: Tensor, box: Optional[Tensor]) -> Tensor:  # noqa: UP045 - TorchScript
        """Return what :meth:`forward` returns; positions (n, 3) and box (3, 3) in nm."""
        if self.particles.shape[0] > 0:
            positions = positions.index_select(0, self.particles)
        n_atoms, n_given = self.atomic_numbers.shape[0], positions.shape[0]
        if n_given != n_atoms:
            raise RuntimeError(f"this file is for {n_atoms} atoms, the System has {n_given} particles; export it anew")
        positions = positions.to(torch.float64) * self.length
        cell = torch.zeros(3, 3, dtype=torch.float64, device=positions.device)
        if box is not None:
            if not self.periodic:
                raise RuntimeError("this module is not periodic, but box vectors came; make it with periodic=True")
            cell = box.to(torch.float64) * self.length
        # A look at the numbers, not at None: where one branch always raises, TorchScript drops the test and reads None.
        if self.periodic and float(cell[0, 0]) == 0.0:
            raise RuntimeError("this module is periodic: call setUsesPeriodicBoundaryConditions(True) on its force")
        if not bool(torch.isfinite(positions).all()):
            first = int((~torch.isfinite(positions).all(dim=1)).nonzero()[0])
            x, y, z = float(positions[first, 0]), float(positions[first, 1]), float(positions[first, 2])
            raise RuntimeError(
                f"positions must be finite, but atom {first} is at [{x}, {y}, {z}] Å; check the MD step before this one"
            )
        # Not detach(): TorchForce takes that out of the graph, and kept neighbours would hold the graph of a past step.
        # And nothing raises in here: TorchScript does not leave no_grad when it raises.
        with torch.no_grad():
            centers, neighbors, shifts = self.search(positions, cell, self.periodic)
        vectors = positions.index_select(0, neighbors) - positions.index_select(0, centers) + shifts @ cell
        squared = vectors.square().sum(dim=1)
        if squared.shape[0] > 0 and bool(squared.min() < self.overlap**2):
            k = int(squared.argmin())
            i, j, distance, least = int(centers[k]), int(neighbors[k]), float(squared[k]) ** 0.5, self.overlap
            raise RuntimeError(
                f"atoms {i} and {j} overlap: they are {distance} Å apart, at least {least} Å is needed; "
                "check the structure or shorten the time step"
            )
        energies: Tensor = self.model(self.atomic_numbers, vectors.to(self.dtype), centers, neighbors)
        # The zero term keeps the positions in the graph where there are no edges, as for one atom.
        energy: Tensor = energies.sum() * self.energy + 0.0 * positions.sum()
        return energy
