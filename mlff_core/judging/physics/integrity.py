"""Whether molecules are intact: broken bonds during a run."""

from __future__ import annotations

import numpy as np

from mlff_core.judging.physics.torsion import bonds
from mlff_core.judging.physics.trajectory import Array
from mlff_core.structures.batch import AtomicBatch

BROKEN = 1.5
"""A bond is broken once it is longer than this many times its length at the start: at 500 K the widest vibration, that
of a hydrogen, reaches 1.2."""


def broken_bonds(start: AtomicBatch, now: AtomicBatch) -> int:
    """Return how many bonds of one molecule are longer than 1.5 times their length at the start.

    Parameters
    ----------
    start
        One molecule near its minimum; covalent radii decide which atoms are bonded.
    now
        The same atoms later, without a cell.
    """
    pairs = np.argwhere(np.triu(bonds(start)))
    before, after = (_lengths(batch.positions.double().cpu().numpy(), pairs) for batch in (start, now))
    # NaN counts as broken.
    return int((~(after <= BROKEN * before)).sum())


def _lengths(positions: Array, pairs: np.ndarray) -> Array:
    """Return the distances of pairs (n, 2) of atoms at positions (n_atoms, 3), shape (n,), Å."""
    lengths: Array = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    return lengths
