"""Check that no two atoms are at the same place; labels of such a structure cannot be right."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from mlff_core.data.open_set import OpenSet
from mlff_core.data.structure import Array
from mlff_core.errors import InputError

SAME_PLACE = 0.1
"""Distance, Å; less than half of the shortest distance of two hydrogen atoms in a collision."""


def check_apart(dataset: OpenSet, start: int, stop: int) -> None:
    """Check that no two atoms, periodic images included, are at the same place in structures start … stop − 1.

    Raises
    ------
    InputError
        The message names the structure and its two atoms.
    """
    bounds = dataset.offsets[start : stop + 1] - dataset.offsets[start]
    owner = np.repeat(np.arange(stop - start), np.diff(bounds))
    positions = dataset.column("positions", start, stop).astype(np.float64)
    # Structures are separated along a fourth coordinate, so that one search covers all.
    near = _pairs(np.column_stack([positions, owner]), SAME_PLACE)
    if dataset.has("pbc"):
        pbc, cells = dataset.column("pbc", start, stop).astype(bool), dataset.column("cell", start, stop)
        images = [
            bounds[k] + _images_at_one_place(positions[bounds[k] : bounds[k + 1]], cells[k], pbc[k])
            for k in np.flatnonzero(pbc.any(axis=1))
        ]
        near = np.concatenate([near, *images])
    if len(near):
        first, second = near[near.min(axis=1).argmin()]
        structure = int(owner[first])
        one, other = sorted((int(first - bounds[structure]), int(second - bounds[structure])))
        raise InputError(
            f"{dataset.path}: data set 'positions': two atoms must not be at the same place, but atoms {one} and "
            f"{other} of structure {start + structure} are less than {SAME_PLACE:g} Å apart; remove the structure or "
            "make it again"
        )


def _images_at_one_place(positions: Array, cell: Array, pbc: Array) -> Array:
    """Return pairs of atoms where a periodic image of one is at the place of the other, shape (n_pairs, 2)."""
    periodic = np.flatnonzero(pbc)
    to_fractions = np.linalg.pinv(cell[periodic])
    fractions = positions @ to_fractions
    across = positions - fractions @ cell[periodic]  # the part outside the span of the lattice vectors
    # A distance d changes a fraction by at most d times the norm of its column.
    scale = 1.0 / np.linalg.norm(to_fractions, axis=0)
    box = np.concatenate([scale, np.zeros(3)])
    points = np.column_stack([(fractions - np.floor(fractions)) * scale, across])
    points[:, : len(scale)] %= scale
    pairs = _pairs(points, SAME_PLACE * 3, box)
    shift = fractions[pairs[:, 1]] - fractions[pairs[:, 0]]
    vector = positions[pairs[:, 1]] - positions[pairs[:, 0]] - np.rint(shift) @ cell[periodic]
    return np.asarray(pairs[np.linalg.norm(vector, axis=1) < SAME_PLACE])


def _pairs(points: Array, distance: float, box: Array | None = None) -> Array:
    """Return pairs of points closer than ``distance``, one pair for each point that has any, shape (n_pairs, 2)."""
    tree = cKDTree(points, boxsize=box)
    # Counted first: listing all pairs of a structure whose atoms all lie at one place would take all memory.
    if tree.count_neighbors(tree, distance) == len(points):
        return np.empty((0, 2), dtype=np.int64)
    distances, nearest = tree.query(points, k=2, distance_upper_bound=distance)
    itself = np.arange(len(points))
    # For points at exactly the same place either may come first.
    other = np.where(nearest[:, 0] == itself, nearest[:, 1], nearest[:, 0])
    near = np.isfinite(distances[:, 1])
    return np.asarray(np.column_stack([itself, other])[near])
