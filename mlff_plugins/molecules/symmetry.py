"""The rotational symmetry number of a molecule, found from its geometry."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

TOLERANCE = 0.1
"""Atoms of a rotated molecule are where others were if they are closer than this, Å."""

MOST = 120
"""Rotations and reflections of an icosahedron, the largest finite group of a molecule that is not linear."""


def symmetry_number(numbers: npt.NDArray[np.int64], positions: npt.NDArray[np.float64]) -> int:
    """Return how many rotations take a molecule to itself.

    Parameters
    ----------
    numbers
        Proton numbers, shape (n_atoms,), int64.
    positions
        Shape (n_atoms, 3), Å.

    Examples
    --------
    >>> symmetry_number(np.array([8, 1, 1]), np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]))
    2
    """
    centred = positions - positions.mean(axis=0)
    distances = np.linalg.norm(centred[:, None] - centred[None], axis=2)
    return sum(_is_rotation(centred, centred[order]) for order in _isometries(numbers, distances))


def _isometries(numbers: npt.NDArray[np.int64], distances: npt.NDArray[np.float64]) -> Iterator[list[int]]:
    """Yield the orders of the atoms that leave species and all distances as they are."""
    n_atoms, n_found = len(numbers), 0
    orders: list[list[int]] = [[]]
    while orders:
        order = orders.pop()
        k = len(order)
        if k == n_atoms:
            yield order
            n_found += 1
            if n_found == MOST:
                return
            continue
        for candidate in np.flatnonzero(numbers == numbers[k]):
            if candidate in order:
                continue
            if k == 0 or np.abs(distances[candidate, order] - distances[k, :k]).max() < TOLERANCE:
                orders.append([*order, int(candidate)])


def _is_rotation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    """Return whether a proper rotation takes centred positions ``a`` to ``b``, shape (n_atoms, 3), Å (W. Kabsch)."""
    left, _, right = np.linalg.svd(a.T @ b)
    sign = np.sign(np.linalg.det(left @ right)) or 1.0
    rotation = left @ np.diag([1.0, 1.0, sign]) @ right
    return bool(np.linalg.norm(a @ rotation - b, axis=1).max() < TOLERANCE)
