"""Forces and virial as derivatives of the energy.

The energy depends on positions and cell only through the edge vectors d_e = x_j + n·cell − x_i, so the gradient
g_e = ∂E/∂d_e is enough: the force on atom i is the sum of g over the edges that start at i minus the sum over the edges
that end at i, and the virial −dE/d(strain) is −Σ_e d_e ⊗ g_e.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mlff_core.model.student import Student


def sum_over_systems(values: Tensor, system_idx: Tensor, n_systems: int) -> Tensor:
    """Return the sum of ``values``, shape (n, …), any unit, over the members of each system; shape (n_systems, …)."""
    total = torch.zeros((n_systems, *values.shape[1:]), dtype=values.dtype, device=values.device)
    return total.index_add(0, system_idx, values)


def forces_from_edge_gradients(gradients: Tensor, centers: Tensor, neighbors: Tensor, n_atoms: int) -> Tensor:
    """Return forces, shape (n_atoms, 3), eV/Å.

    Parameters
    ----------
    gradients
        ∂E/∂d of each edge, shape (n_edges, 3), eV/Å.
    centers, neighbors
        Shape (n_edges,).
    n_atoms
        Number of atoms.
    """
    forces = torch.zeros((n_atoms, 3), dtype=gradients.dtype, device=gradients.device)
    return forces.index_add(0, centers, gradients).index_add(0, neighbors, -gradients)


def virial_from_edge_gradients(
    edge_vectors: Tensor, gradients: Tensor, centers: Tensor, system_idx: Tensor, n_systems: int
) -> Tensor:
    """Return −dE/d(strain), shape (n_systems, 3, 3), eV; stress is −virial / volume.

    Parameters
    ----------
    edge_vectors
        Shape (n_edges, 3), Å.
    gradients
        ∂E/∂d of each edge, shape (n_edges, 3), eV/Å.
    centers
        Shape (n_edges,).
    system_idx
        Shape (n_atoms,).
    n_systems
        Number of systems.
    """
    outer = edge_vectors.unsqueeze(2) * gradients.unsqueeze(1)
    return -sum_over_systems(outer, system_idx[centers], n_systems)


def energies_and_edge_gradients(
    model: Callable[..., Tensor],
    atomic_numbers: Tensor,
    edge_vectors: Tensor,
    centers: Tensor,
    neighbors: Tensor,
    *,
    create_graph: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return (atom energies (n_atoms,) eV float64, gradients (n_edges, 3) eV/Å).

    Parameters
    ----------
    model
        Called as ``model(atomic_numbers, edge_vectors, centers, neighbors)``; returns atom energies in eV.
    atomic_numbers
        Shape (n_atoms,).
    edge_vectors
        Shape (n_edges, 3), Å; part of the caller's graph if ``create_graph`` is set.
    centers, neighbors
        Shape (n_edges,).
    create_graph
        Keep the graph, for training on forces or for a second derivative.
    """
    with torch.enable_grad():
        if not create_graph:
            edge_vectors = edge_vectors.detach().requires_grad_()
        atom_energies = model(atomic_numbers, edge_vectors, centers, neighbors)
        # materialize_grads: the energy of an isolated atom does not depend on edges, so it has no gradient.
        (gradients,) = torch.autograd.grad(
            [atom_energies.sum()], [edge_vectors], create_graph=create_graph, materialize_grads=True
        )
    if not create_graph:
        atom_energies = atom_energies.detach()
    return atom_energies, gradients


def energies_gradients_charges(
    model: Student,
    atomic_numbers: Tensor,
    edge_vectors: Tensor,
    centers: Tensor,
    neighbors: Tensor,
    *,
    create_graph: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the results of :func:`energies_and_edge_gradients`, and the charges (n_atoms,), e, or None.

    There are charges if the student gives them. The arguments are those of :func:`energies_and_edge_gradients`:
    ``atomic_numbers`` (n_atoms,), ``edge_vectors`` (n_edges, 3) in Å, ``centers`` and ``neighbors`` (n_edges,).
    """
    if model.charges is None:
        found = energies_and_edge_gradients(
            model, atomic_numbers, edge_vectors, centers, neighbors, create_graph=create_graph
        )
        return *found, None
    given: list[Tensor] = []

    def energies(*inputs: Tensor) -> Tensor:
        atom_energies, charges = model.energies_and_charges(*inputs)
        given.append(charges)
        return atom_energies

    found = energies_and_edge_gradients(
        energies, atomic_numbers, edge_vectors, centers, neighbors, create_graph=create_graph
    )
    return *found, given[0] if create_graph else given[0].detach()
