"""The student as one function of tensors, which exporters write into files of other formats.

This module has no postponed annotations, because TorchScript reads the annotations.
"""

from typing import Final

import torch
from torch import Tensor, nn

from mlff_core.model.known_elements import KnownElements
from mlff_core.model.serving import Serves
from mlff_core.model.student import Student

SERVES = Serves("an exported graph", "use an engine that calls mlff-hub, such as ASE, OpenMM's PythonForce or i-PI")
"""Applies to TorchScript, ONNX and AOTInductor files: their hosts search one list of edges, within one cutoff."""


class EdgeGraph(nn.Module):
    """A module that computes energy, atom energies, forces and virial from edge vectors, gradient included.

    It can be scripted by ``torch.jit.script``. The host searches neighbours, subtracts positions, and calls it with
    gradients enabled (TorchScript has no ``enable_grad``).

    Parameters
    ----------
    model
        The network.

    Raises
    ------
    UnsupportedError
        Its energy has a term that exported files do not compute.
    """

    has_charges: Final[bool]  # a constant for TorchScript, which then leaves the other branch out of the graph

    def __init__(self, model: Student) -> None:
        super().__init__()
        SERVES.check(model)
        self.model = model
        self.elements = KnownElements(model.config.elements)
        self.has_charges = model.charges is not None

    def forward(
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (energy, atom_energies, forces, virial).

        Parameters
        ----------
        atomic_numbers
            Shape (n_atoms,), int64; an element that the model does not know is an error.
        edge_vectors
            From centre to neighbour, shape (n_edges, 3), Å.
        centers, neighbors
            Shape (n_edges,), int64.
        system_idx
            Shape (n_atoms,), int64, non-decreasing from 0.

        Returns
        -------
        tuple
            energy (n_systems,) eV float64; atom_energies (n_atoms,) eV float64; forces (n_atoms, 3) eV/Å;
            virial −dE/d(strain) (n_systems, 3, 3) eV.
        """
        energy, atom_energies, forces, virial, _ = self.outputs(
            atomic_numbers, edge_vectors, centers, neighbors, system_idx
        )
        return energy, atom_energies, forces, virial

    def outputs(
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the outputs of :meth:`forward` and the charges (n_atoms,), e, empty if the student gives none.

        The arguments are those of :meth:`forward`: ``atomic_numbers`` (n_atoms,), ``edge_vectors`` (n_edges, 3) in Å,
        ``centers`` and ``neighbors`` (n_edges,), ``system_idx`` (n_atoms,).
        """
        self.elements.refuse(atomic_numbers)
        n_atoms = atomic_numbers.shape[0]
        n_systems = int(system_idx.max()) + 1
        vectors = edge_vectors.detach().requires_grad_(True)
        charges = vectors.detach().new_zeros(0)
        if self.has_charges:
            atom_energies, charges = self.model.energies_and_charges(atomic_numbers, vectors, centers, neighbors)
        else:
            atom_energies = self.model(atomic_numbers, vectors, centers, neighbors)
        total = atom_energies.sum()
        gradients = torch.zeros_like(vectors)
        if total.requires_grad and vectors.shape[0] > 0:
            found = torch.autograd.grad([total], [vectors])[0]
            if found is not None:
                gradients = found
        atom_energies = atom_energies.detach()
        energy = torch.zeros(n_systems, dtype=atom_energies.dtype, device=atom_energies.device)
        energy = energy.index_add(0, system_idx, atom_energies)
        forces = torch.zeros(n_atoms, 3, dtype=vectors.dtype, device=vectors.device)
        forces = forces.index_add(0, centers, gradients).index_add(0, neighbors, -gradients)
        outer = edge_vectors.unsqueeze(2) * gradients.unsqueeze(1)
        virial = torch.zeros(n_systems, 3, 3, dtype=vectors.dtype, device=vectors.device)
        virial = -virial.index_add(0, system_idx[centers], outer)
        return energy, atom_energies, forces, virial, charges.detach()


class ChargedEdgeGraph(EdgeGraph):
    """An :class:`EdgeGraph` whose fifth output is the charge of each atom."""

    def forward(  # type: ignore[override]
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return (energy, atom_energies, forces, virial, charges); charges (n_atoms,), e.

        The arguments are those of :meth:`.EdgeGraph.forward`: ``atomic_numbers`` (n_atoms,), ``edge_vectors``
        (n_edges, 3) in Å, ``centers`` and ``neighbors`` (n_edges,), ``system_idx`` (n_atoms,).
        """
        return self.outputs(atomic_numbers, edge_vectors, centers, neighbors, system_idx)


def graph_of(model: Student) -> EdgeGraph:
    """Return a student as the graph that exporters write; it has charges if the student gives them.

    Raises
    ------
    UnsupportedError
        Its energy has a term that exported files do not compute.
    """
    return EdgeGraph(model) if model.charges is None else ChargedEdgeGraph(model)
