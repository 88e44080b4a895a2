"""Neighbours in a fixed number of slots for each atom, made from a list of edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.neighbors import EdgeList

SLOTS = 16
"""The capacity is a multiple of this."""
LARGEST_SHIFT = 2**20 - 1
"""Largest number that fits into 21 bits with its sign."""


@dataclass(frozen=True, slots=True)
class PaddedNeighbors:
    """Neighbours of each atom in slots, of which the first ones are in use.

    Parameters
    ----------
    candidates
        Indices of the neighbours, shape (n_atoms, capacity), int32.
    shifts
        Cell shifts, three in one number, shape (n_atoms, capacity), int64.
    reverse
        The slot of the neighbour that holds the same pair, shape (n_atoms, capacity), int32.
    n_candidates
        Number of neighbours, shape (n_atoms,), int32; larger than the capacity if the slots overflowed.
    """

    candidates: Tensor
    shifts: Tensor
    reverse: Tensor
    n_candidates: Tensor

    @property
    def capacity(self) -> int:
        """Number of slots of an atom."""
        return self.candidates.shape[1]


def rounded_capacity(most: int) -> int:
    """Return the number of slots for so many neighbours."""
    return max(SLOTS, -(-most // SLOTS) * SLOTS)


def empty_neighbors(n_atoms: int, capacity: int, device: torch.device) -> PaddedNeighbors:
    """Return empty slots."""
    return PaddedNeighbors(
        torch.zeros(n_atoms, capacity, dtype=torch.int32, device=device),
        torch.zeros(n_atoms, capacity, dtype=torch.int64, device=device),
        torch.zeros(n_atoms, capacity, dtype=torch.int32, device=device),
        torch.zeros(n_atoms, dtype=torch.int32, device=device),
    )


def pack_shifts(shifts: Tensor) -> Tensor:
    """Return three whole numbers as one, shape (n_edges,), int64.

    Parameters
    ----------
    shifts
        Shape (n_edges, 3), int64, each at most 20 bits and a sign.
    """
    moved = shifts + 2**20
    return moved[:, 0] | (moved[:, 1] << 21) | (moved[:, 2] << 42)


def reverse_edges(centers: Tensor, neighbors: Tensor, shifts: Tensor) -> Tensor:
    """Return for each edge the index of the reverse edge, which is the same pair from the other end, shape (n_edges,).

    The edges are sorted once by (center, neighbour, shift) and once by that triple of their reverse edges. Entries at
    the same place of the two orders are reverse to each other.

    Parameters
    ----------
    centers, neighbors
        Shape (n_edges,), int64.
    shifts
        Shape (n_edges, 3), int64.

    Raises
    ------
    InputError
        A pair occurs in one direction only.
    """
    n = int(torch.stack([centers, neighbors]).max()) + 1 if len(centers) else 1
    forth, back = pack_shifts(shifts), pack_shifts(-shifts)
    straight = forth.argsort(stable=True)
    straight = straight[(centers * n + neighbors)[straight].argsort(stable=True)]
    turned = back.argsort(stable=True)
    turned = turned[(neighbors * n + centers)[turned].argsort(stable=True)]
    same = (centers[straight] == neighbors[turned]) & (neighbors[straight] == centers[turned])
    if not bool((same & (forth[straight] == back[turned])).all()):
        raise InputError("every pair of an edge list must occur in both directions, but one does not; search it again")
    reverse = torch.empty_like(centers)
    reverse[turned] = straight
    return reverse


def padded_neighbors(edges: EdgeList, n_atoms: int) -> PaddedNeighbors:
    """Return a list of edges in slots.

    Raises
    ------
    InputError
        The edges are not sorted by center, an index is not that of an atom, or a pair occurs in one direction only.
    UnsupportedError
        An atom is more than a million cells away from its neighbour.
    """
    centers, neighbors = edges.centers, edges.neighbors
    shifts = edges.cell_shifts.round().to(torch.int64)
    if edges.n_edges:
        both = torch.stack([centers, neighbors])
        if int(both.min()) < 0 or int(both.max()) >= n_atoms:
            raise InputError(f"centers and neighbors must be indices of the batch's {n_atoms} atoms")
        if bool((centers[1:] < centers[:-1]).any()):
            raise InputError("edges must be sorted by center; search them again")
        if int(shifts.abs().max()) > LARGEST_SHIFT:
            raise UnsupportedError(f"cell shifts beyond {LARGEST_SHIFT} are too large; wrap the atoms into the cell")
    starts = torch.searchsorted(centers, torch.arange(n_atoms + 1, device=centers.device))
    counts = starts[1:] - starts[:-1]
    slots = torch.arange(edges.n_edges, device=centers.device) - starts[centers]
    result = empty_neighbors(n_atoms, rounded_capacity(int(counts.max()) if n_atoms else 0), centers.device)
    result.n_candidates.copy_(counts)
    result.candidates[centers, slots] = neighbors.to(torch.int32)
    result.shifts[centers, slots] = pack_shifts(shifts)
    result.reverse[centers, slots] = slots[reverse_edges(centers, neighbors, shifts)].to(torch.int32)
    return result
