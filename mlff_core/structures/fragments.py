"""The molecules of a structure: atoms connected by covalent bonds, which are found by distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from ase.data import covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from mlff_core.errors import UnsupportedError
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.bonds import BOND
from mlff_core.structures.neighbors import edge_vectors, find_neighbors

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fragments:
    """The molecules of one structure, each in one piece.

    Parameters
    ----------
    atoms
        Indices of the atoms of each molecule, in ascending order.
    bonds
        Pairs of bonded atoms of each molecule, as indices within the molecule, shape (n_bonds, 2).
    positions
        Positions of all atoms, shape (n_atoms, 3), Å, moved by lattice vectors where a molecule crosses a face of the
        cell.
    """

    atoms: list[Indices]
    bonds: list[Indices]
    positions: npt.NDArray[np.float64]


def find_fragments(batch: AtomicBatch) -> Fragments:
    """Return the molecules of one structure.

    Parameters
    ----------
    batch
        One structure.

    Raises
    ------
    UnsupportedError
        Bonds lead from an atom to its own periodic image, as in a covalent crystal: there are no molecules.

    Examples
    --------
    >>> from mlff_core.structures.batch import single
    >>> pair = single([[0, 0, 0], [0.74, 0, 0], [5, 0, 0], [5.74, 0, 0]], [1, 1, 1, 1])
    >>> [atoms.tolist() for atoms in find_fragments(pair).atoms]
    [[0, 1], [2, 3]]
    """
    batch = batch.to("cpu", torch.float64)
    numbers, positions = batch.atomic_numbers.numpy(), batch.positions.detach().numpy()
    radii = covalent_radii[numbers]
    edges = find_neighbors(batch, 2.0 * BOND * float(radii.max()))
    lengths = torch.linalg.vector_norm(edge_vectors(batch, edges), dim=1).detach().numpy()
    centers, neighbors = edges.centers.numpy(), edges.neighbors.numpy()
    bonded = lengths < BOND * (radii[centers] + radii[neighbors])
    bonded &= ~_second_bonds_of_hydrogen(numbers, centers, neighbors, lengths)
    centers, neighbors = centers[bonded], neighbors[bonded]
    shifts = (edges.cell_shifts.to(torch.float64) @ batch.cell[0]).numpy()[bonded]
    graph = coo_array((np.ones(len(centers)), (centers, neighbors)), shape=(len(numbers),) * 2).tocsr()
    n_fragments, owner = connected_components(graph, directed=False)
    unwrapped = positions.copy()
    by_pair = {(int(i), int(j)): shift for i, j, shift in zip(centers, neighbors, shifts, strict=True)}
    atoms = [np.flatnonzero(owner == k) for k in range(n_fragments)]
    for members in atoms:
        order, before = breadth_first_order(graph, members[0], directed=False)
        for atom in order[1:]:
            i = int(before[atom])
            unwrapped[atom] = positions[atom] + by_pair[i, int(atom)] + (unwrapped[i] - positions[i])
    gaps = unwrapped[neighbors] + (positions - unwrapped)[centers] - positions[neighbors] - shifts
    if len(gaps) and np.abs(gaps).max() > 1e-6:
        raise UnsupportedError(
            "bonds lead from an atom to its own periodic image, so the structure is not made of molecules; "
            "use a teacher that takes it whole"
        )
    place = np.empty(len(numbers), dtype=np.int64)
    for members in atoms:
        place[members] = np.arange(len(members))
    pairs = np.column_stack([centers, neighbors])[centers < neighbors]
    bonds = [place[pairs[owner[pairs[:, 0]] == k]].reshape(-1, 2) for k in range(n_fragments)]
    return Fragments(atoms, bonds, unwrapped)


def _second_bonds_of_hydrogen(
    numbers: Indices, centers: Indices, neighbors: Indices, lengths: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return which edges have a hydrogen atom with a shorter edge: a short hydrogen bond is not a covalent bond."""
    shortest = np.full(len(numbers), np.inf)
    np.minimum.at(shortest, centers, lengths)
    # An edge and its reverse have the same length to a few ulp.
    longer = lengths[:, None] > shortest[np.column_stack([centers, neighbors])] * (1 + 1e-12)
    is_hydrogen = numbers[np.column_stack([centers, neighbors])] == 1
    second: npt.NDArray[np.bool_] = (longer & is_hydrogen).any(axis=1)
    return second
