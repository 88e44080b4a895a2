"""A student in TorchScript that runs the CPU kernel by ``torch.ops.mlff``, with its weights as bytes in a buffer.

No postponed annotations here, because TorchScript reads the annotations.
"""

import zlib
from typing import Final

import torch
from torch import Tensor, nn

from mlff_core.kernels.cpu_kernel import packed
from mlff_core.kernels.operator_library import load_operators
from mlff_core.model.student import Student

MAGIC = b"MLFFOPER"
NEEDS = "load what `mlff operators` prints"
"""An argument of every call, because torch prints the line of a call that it does not know; short, because torch moves
longer words to another line."""


def model_bytes(student: Student) -> Tensor:
    """Return a student as the operators read it, shape (n_bytes,), no unit, uint8.

    The layout is that of ``operators/packed_model.h``.

    Raises
    ------
    UnsupportedError
        The CPU kernel does not support the model.
    """
    content = MAGIC + packed(student)
    content += zlib.crc32(content).to_bytes(4, "little")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


class FusedStudent(nn.Module):
    """The module :class:`~mlff_core.model.scripted.ScriptedStudent` with one operator instead of a graph.

    Parameters
    ----------
    model
        The network, which the CPU kernel supports.
    skin
        Skin of the neighbour list, Å.

    Raises
    ------
    UnsupportedError
        The CPU kernel does not support the model.
    BuildError
        The library of operators cannot be built here.
    """

    weights: Tensor
    needs: Final[str]
    skin: Final[float]  # a constant, so that `needs` stands within the lines that torch prints

    def __init__(self, model: Student, skin: float) -> None:
        super().__init__()
        load_operators()
        self.register_buffer("weights", model_bytes(model))
        self.needs = NEEDS
        self.skin = skin

    def forward(self, atomic_numbers: Tensor, positions: Tensor, cell: Tensor, periodic: bool) -> Tensor:
        """Return the energy, one number, eV, float64, differentiable once in the positions.

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
        energy: Tensor = torch.ops.mlff.structure_energy(
            self.weights, atomic_numbers, positions, cell, periodic, self.skin, 1.0, 1.0, self.needs
        )
        return energy


class FusedGraph(nn.Module):
    """The module :class:`~mlff_core.model.edge_graph.EdgeGraph` with one operator instead of a graph.

    Parameters
    ----------
    model
        The network, which the CPU kernel supports.

    Raises
    ------
    UnsupportedError
        The CPU kernel does not support the model.
    BuildError
        The library of operators cannot be built here.
    """

    weights: Tensor
    needs: Final[str]

    def __init__(self, model: Student) -> None:
        super().__init__()
        load_operators()
        self.register_buffer("weights", model_bytes(model))
        self.needs = NEEDS

    def outputs(
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the outputs of :meth:`forward` and the charges (n_atoms,), e, empty if the student gives none.

        The arguments are those of :meth:`forward`: ``atomic_numbers`` (n_atoms,), ``edge_vectors`` (n_edges, 3) in Å,
        ``centers`` and ``neighbors`` (n_edges,), ``system_idx`` (n_atoms,).
        """
        found: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = torch.ops.mlff.edge_outputs(
            self.weights, atomic_numbers, edge_vectors, centers, neighbors, system_idx, self.needs
        )
        return found

    def forward(
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (energy, atom_energies, forces, virial).

        The units are those of :meth:`mlff_core.model.edge_graph.EdgeGraph.forward`; every edge must be there in both
        directions.

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
        """
        energy, atom_energies, forces, virial, _ = self.outputs(
            atomic_numbers, edge_vectors, centers, neighbors, system_idx
        )
        return energy, atom_energies, forces, virial


class ChargedFusedGraph(FusedGraph):
    """A :class:`FusedGraph` whose fifth output is the charge of each atom."""

    def forward(  # type: ignore[override]
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return (energy, atom_energies, forces, virial, charges); charges (n_atoms,), e.

        The arguments are those of :meth:`.FusedGraph.forward`: ``atomic_numbers`` (n_atoms,), ``edge_vectors``
        (n_edges, 3) in Å, ``centers`` and ``neighbors`` (n_edges,), ``system_idx`` (n_atoms,).
        """
        return self.outputs(atomic_numbers, edge_vectors, centers, neighbors, system_idx)


def fused_graph_of(model: Student) -> FusedGraph:
    """Return a student as the graph of a fused file; it has charges if the student gives them.

    Raises
    ------
    UnsupportedError
        The CPU kernel does not support the model.
    """
    return FusedGraph(model) if model.charges is None else ChargedFusedGraph(model)
