"""The reference kernel: the model in torch, differentiated by torch."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from mlff_core.kernels.field import add_field
from mlff_core.model.derivatives import (
    energies_and_edge_gradients,
    energies_gradients_charges,
    forces_from_edge_gradients,
    sum_over_systems,
    virial_from_edge_gradients,
)
from mlff_core.model.student import Student
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial


class ReferenceKernel:
    """A kernel that computes energy, forces and stress by automatic differentiation, for every architecture and term.

    Parameters
    ----------
    model
        The network, on its device and in its precision.
    """

    name = "reference"
    checks_distances = False
    selects_edges = False

    def __init__(self, model: Student) -> None:
        self.model = model

    def evaluate(self, batch: AtomicBatch, edges: EdgeList, want: Collection[str]) -> Prediction:
        """Return what is in ``want``: ``"energy"``, ``"forces"``, ``"stress"``, ``"atom_energies"``, ``"charges"``."""
        with torch.no_grad():
            vectors = edge_vectors(batch, edges)
        forces = stress = None
        charges: Tensor | None = None
        if "forces" in want or "stress" in want:
            atom_energies, gradients, charges = energies_gradients_charges(
                self.model, batch.atomic_numbers, vectors, edges.centers, edges.neighbors
            )
            if "forces" in want:
                forces = forces_from_edge_gradients(gradients, edges.centers, edges.neighbors, batch.n_atoms)
            if "stress" in want:
                virial = virial_from_edge_gradients(
                    vectors, gradients, edges.centers, batch.system_idx, batch.n_systems
                )
                stress = stress_from_virial(virial, batch.cell)
        else:
            with torch.no_grad():
                inputs = batch.atomic_numbers, vectors, edges.centers, edges.neighbors
                if "charges" in want:
                    atom_energies, charges = self.model.energies_and_charges(*inputs)
                else:
                    atom_energies = self.model(*inputs)
        return Prediction(
            energy=sum_over_systems(atom_energies, batch.system_idx, batch.n_systems),
            forces=forces,
            stress=stress,
            atom_energies=atom_energies if "atom_energies" in want else None,
            charges=charges if "charges" in want else None,
        )

    def evaluate_in_field(self, batch: AtomicBatch, edges: EdgeList, potentials: Tensor) -> Prediction:
        """Return energies, forces, atom energies and charges in outer potentials, shape (n_atoms,), eV/e."""
        given: list[Tensor] = []

        def energies(*inputs: Tensor) -> Tensor:
            atom_energies, charges = self.model.energies_and_charges(*inputs)
            given.extend((atom_energies.detach(), charges.detach()))
            return atom_energies + potentials.to(atom_energies) * charges

        with torch.no_grad():
            vectors = edge_vectors(batch, edges)
        _, gradients = energies_and_edge_gradients(
            energies, batch.atomic_numbers, vectors, edges.centers, edges.neighbors
        )
        found = Prediction(
            energy=sum_over_systems(given[0], batch.system_idx, batch.n_systems),
            forces=forces_from_edge_gradients(gradients, edges.centers, edges.neighbors, batch.n_atoms),
            atom_energies=given[0],
            charges=given[1],
        )
        return add_field(found, batch, potentials)
