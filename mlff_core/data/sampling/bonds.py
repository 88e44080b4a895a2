"""Bonds from distances, without a chemistry package, for rotating and stretching them."""

from __future__ import annotations

import numpy as np
import torch
from ase.data import covalent_radii

from mlff_core.data.structure import Array, LabelledStructure, batch_from_structures
from mlff_core.structures.bonds import bonded
from mlff_core.structures.neighbors import edge_vectors, find_neighbors


def bonds(start: LabelledStructure) -> list[tuple[int, int]]:
    """Return the bonded pairs i < j of a structure without a cell."""
    i, j = np.nonzero(np.triu(bonded(start.positions.astype(np.float64), start.atomic_numbers)))
    return list(zip(i.tolist(), j.tolist(), strict=True))


def side(n_atoms: int, pairs: list[tuple[int, int]], i: int, j: int) -> list[int] | None:
    """Return the atoms on the side of j when bond i–j is cut, ascending; None if the bond is in a ring."""
    adjacent: list[list[int]] = [[] for _ in range(n_atoms)]
    for a, b in pairs:
        if {a, b} != {i, j}:
            adjacent[a].append(b)
            adjacent[b].append(a)
    seen, stack = {j}, [j]
    while stack:
        for other in adjacent[stack.pop()]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return None if i in seen else sorted(seen)


def closest_contact(structure: LabelledStructure) -> float:
    """Return the smallest distance between two atoms in units of the sum of their covalent radii, including images."""
    numbers = structure.atomic_numbers
    if not structure.is_periodic:
        i, j = np.triu_indices(len(numbers), 1)
        if len(i) == 0:
            return float("inf")
        distance = np.linalg.norm(structure.positions[i].astype(np.float64) - structure.positions[j], axis=1)
        return float((distance / (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])).min())
    longest = 2.0 * float(covalent_radii[numbers].max())
    batch = batch_from_structures([structure], dtype=torch.float64)
    edges = find_neighbors(batch, longest)
    if edges.n_edges == 0:
        return float("inf")
    distances = torch.linalg.vector_norm(edge_vectors(batch, edges), dim=1).numpy()
    sums = covalent_radii[numbers[edges.centers.numpy()]] + covalent_radii[numbers[edges.neighbors.numpy()]]
    return float((distances / sums).min())


def rotation(axis: Array, angle: float) -> Array:
    """Return the matrix, shape (3, 3), that rotates column vectors by ``angle`` rad about ``axis``, shape (3,)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
