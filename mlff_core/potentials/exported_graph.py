"""An exported graph as a potential, shared by every runtime."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import CHARGES, Potential
from mlff_core.potentials.read_charges import ReadCharges
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial

Graph = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Sequence[Tensor]]
"""(atomic_numbers, edge_vectors, centers, neighbors, system_idx) → (energy, atom_energies, forces, virial), and the
charges of atoms as a fifth output if the file has them."""


class GraphPotential(Potential):
    """A potential that evaluates an exported graph.

    Parameters
    ----------
    graph
        The opened file as a function of tensors, with the shapes and units of
        :meth:`mlff_core.model.edge_graph.EdgeGraph.forward`.
    card
        The card stored in the file.
    device, dtype
        Where and in which precision the graph computes.
    has_charges
        Whether its outputs include charges.
    """

    uses_edges = True

    def __init__(
        self,
        graph: Graph,
        card: ModelCard,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        has_charges: bool = False,
    ) -> None:
        self.graph = graph
        self.supports = frozenset({"energy", "forces", "stress", "atom_energies"})
        if has_charges:
            self.supports |= CHARGES
        self._read_charges = ReadCharges(card)
        self.card = card
        self.device = torch.device(device)
        self.dtype = dtype

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        if edges is None:
            edges = find_neighbors(batch, self.card.cutoff)
        with torch.no_grad():
            vectors = edge_vectors(batch, edges)
            check_distances(batch, edges, vectors)
        energy, atom_energies, forces, virial, *charges = self.graph(
            batch.atomic_numbers, vectors, edges.centers, edges.neighbors, batch.system_idx
        )
        if self.guard is not None and not self.guard.is_done:
            self.guard.look(batch, edges, atom_energies, forces)
        found = Prediction(
            energy=energy,
            forces=forces if "forces" in want else None,
            stress=stress_from_virial(virial, batch.cell) if "stress" in want else None,
            atom_energies=atom_energies if "atom_energies" in want else None,
            charges=charges[0] if charges and CHARGES.intersection(want) else None,
        )
        return self._read_charges.complete(found, batch, want)
