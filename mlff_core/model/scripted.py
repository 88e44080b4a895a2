"""The student with its neighbour search and input checks in TorchScript, for engines that run without this package.

This module has no postponed annotations, because TorchScript reads the annotations.
"""

from typing import Optional

import torch
from torch import Tensor, nn

from mlff_core.model.scripted_neighbors import ScriptedNeighbors
from mlff_core.model.scripted_trial import ScriptedTrial
from mlff_core.model.serving import Serves
from mlff_core.model.student import Student
from mlff_core.structures.neighbors import OVERLAP

SERVES = Serves("a TorchScript module with its own neighbour search", "use an engine that calls mlff-hub, such as ASE")
"""Such a module has one neighbour search, within one cutoff."""


class ScriptedStudent(nn.Module):
    """A module that computes the energy of one structure, differentiable in its positions.

    Parameters
    ----------
    model
        The network.
    skin
        Skin of the neighbour list, Å.

    Raises
    ------
    UnsupportedError
        Its energy has a term that such a module does not compute.
    """

    def __init__(self, model: Student, skin: float) -> None:
        super().__init__()
        SERVES.check(model)
        self.model = model
        self.search = ScriptedNeighbors(model.cutoff, skin)
        self.trial = ScriptedTrial()
        self.overlap = OVERLAP
        self.dtype = model.scale.dtype

    def forward(self, atomic_numbers: Tensor, positions: Tensor, cell: Tensor, periodic: bool) -> Tensor:
        """Return the energy, one number, eV, float64.

        Parameters
        ----------
        atomic_numbers
            Shape (n_atoms,), int64; elements of the model.
        positions
            Shape (n_atoms, 3), Å, float64.
        cell
            Shape (3, 3), Å, float64, rows are lattice vectors; not read where not periodic.
        periodic
            Along all three lattice vectors, or along none.
        """
        return self.in_field(atomic_numbers, positions, cell, periodic, None)

    def in_field(
        self,
        atomic_numbers: Tensor,
        positions: Tensor,
        cell: Tensor,
        periodic: bool,
        potentials: Optional[Tensor],  # noqa: UP045
    ) -> Tensor:
        """Return the energy of :meth:`forward`, plus that of the student's charges in outer potentials.

        It is differentiable in the potentials too.

        Parameters
        ----------
        atomic_numbers, positions, cell, periodic
            As there: (n_atoms,), (n_atoms, 3) in Å, and (3, 3) in Å.
        potentials
            Potential at each atom, shape (n_atoms,), eV/e; None for no field. A student without charges has no energy
            in it.
        """
        if not bool(torch.isfinite(positions).all()):
            first = int((~torch.isfinite(positions).all(dim=1)).nonzero()[0])
            x, y, z = float(positions[first, 0]), float(positions[first, 1]), float(positions[first, 2])
            raise RuntimeError(
                f"positions must be finite, but atom {first} is at [{x}, {y}, {z}] Å; check the MD step before this one"
            )
        # Not detach(): TorchForce removes it from the graph, and kept neighbours would hold the graph of an old step.
        # Nothing may raise in this block: TorchScript does not leave no_grad when it raises.
        with torch.no_grad():
            centers, neighbors, shifts = self.search(positions, cell, periodic)
        vectors = positions.index_select(0, neighbors) - positions.index_select(0, centers) + shifts @ cell
        squared = vectors.square().sum(dim=1)
        overlaps = squared.shape[0] > 0 and bool(squared.min() < self.overlap**2)
        with torch.no_grad():
            is_trial = overlaps and self.trial.begins_or_goes_on(positions)
            went_through = not overlaps and self.trial.went_through(positions)
        least = self.overlap
        if overlaps and not is_trial:
            k = int(squared.argmin())
            i, j, distance = int(centers[k]), int(neighbors[k]), float(squared[k]) ** 0.5
            raise RuntimeError(
                f"atoms {i} and {j} overlap: they are {distance} Å apart, at least {least} Å is needed; "
                "check the structure or shorten the time step"
            )
        if went_through:
            raise RuntimeError(
                f"the run went on through atoms that overlap, closer than {least} Å; check the structure or shorten "
                "the time step"
            )
        if is_trial:
            energy: Tensor = self.trial(squared, atomic_numbers, centers, neighbors)
        else:
            if potentials is None:
                energies: Tensor = self.model(atomic_numbers, vectors.to(self.dtype), centers, neighbors)
                total = energies.sum()
            else:
                inner, charges = self.model.energies_and_charges(
                    atomic_numbers, vectors.to(self.dtype), centers, neighbors
                )
                total = inner.sum() + (potentials * charges.to(torch.float64)).sum()
            # The zero term keeps the positions in the graph where there are no edges, as for one atom.
            energy = total + 0.0 * positions.sum()
            with torch.no_grad():
                self.trial.passed(positions, energy)
        return energy
