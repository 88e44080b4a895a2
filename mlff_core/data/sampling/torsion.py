"""One part of a molecule turned about a bond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.bonds import bonds, rotation, side
from mlff_core.data.sampling.strategy import SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure


@dataclass(frozen=True)
class Torsion(Strategy):
    """A random bond outside rings, with a branch at both ends, turned by a random angle.

    Parameters
    ----------
    enabled
        Whether it is used.
    n
        Geometries for each start.
    """

    kind: ClassVar[str] = "torsion"

    n: int = 1

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` turned geometries; none of a molecule without such a bond."""
        pairs = bonds(start)
        degree = np.bincount(np.array(pairs, dtype=np.int64).reshape(-1), minlength=start.n_atoms)
        turnable = []
        for i, j in pairs:
            if degree[i] > 1 and degree[j] > 1 and (moving := side(start.n_atoms, pairs, i, j)) is not None:
                turnable.append((i, j, moving))
        made = []
        for _ in range(self.n if turnable else 0):
            i, j, moving = turnable[rng.integers(len(turnable))]
            positions = start.positions.astype(np.float64)
            turn = rotation(positions[j] - positions[i], rng.uniform(-np.pi, np.pi))
            positions[moving] = (positions[moving] - positions[j]) @ turn.T + positions[j]
            made.append(at(start, positions, self.kind))
        return made
