"""Rotations of one part of a molecule about a bond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.bonds import bonds, rotation, side
from mlff_core.data.sampling.strategy import Displacement, SamplingContext
from mlff_core.data.structure import Array, LabelledStructure


@dataclass(frozen=True)
class Torsion(Displacement):
    """Rotations by a random angle about a random bond outside rings with further atoms at both ends."""

    kind: ClassVar[str] = "torsion"

    def displaced(
        self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext
    ) -> Callable[[], Array] | None:
        """Return a function that draws rotated positions; None for a molecule without such a bond."""
        pairs = bonds(start)
        degree = np.bincount(np.array(pairs, dtype=np.int64).reshape(-1), minlength=start.n_atoms)
        rotatable = []
        for i, j in pairs:
            if degree[i] > 1 and degree[j] > 1 and (moving := side(start.n_atoms, pairs, i, j)) is not None:
                rotatable.append((i, j, moving))

        def draw() -> Array:
            i, j, moving = rotatable[rng.integers(len(rotatable))]
            positions = start.positions.astype(np.float64)
            turn = rotation(positions[j] - positions[i], rng.uniform(-np.pi, np.pi))
            positions[moving] = (positions[moving] - positions[j]) @ turn.T + positions[j]
            return positions

        return draw if rotatable else None
