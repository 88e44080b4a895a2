"""Pairs of atoms at short distances, for which other kinds give no data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from ase.data import covalent_radii

from mlff_core.data.sampling.strategy import Displacement, Ranges, SamplingContext, Structures
from mlff_core.data.structure import Array, LabelledStructure

REACH = 4.0
"""Largest distance of two atoms that are moved together, Å: beyond it other atoms are between them."""


@dataclass(frozen=True)
class Collision(Displacement):
    """A random atom moved towards another one nearby, to a share of the sum of their covalent radii.

    The settings ``clash`` and ``max_force`` of the run decide which geometries are kept; their defaults keep few.
    """

    kind: ClassVar[str] = "collision"
    ranges: ClassVar[Ranges] = (("contact_min", "contact_max", 0.1),)
    positive: ClassVar[tuple[str, ...]] = ("weight",)

    enabled: bool = False
    n: int = 4
    contact_min: float = 0.4
    contact_max: float = 0.95
    """Range of the distance, as a share of the sum of the covalent radii."""
    weight: float = 0.1
    """Weight of these structures in a loss, small because their forces are large."""

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` geometries with one short distance each; none for a single atom."""
        return [replace(made, weight=self.weight) for made in super().sample(start, rng, context)]

    def displaced(
        self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext
    ) -> Callable[[], Array] | None:
        """Return a function that draws positions with one short distance; None for a single atom."""
        positions = start.positions.astype(np.float64)
        distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
        pairs = np.argwhere((distances > 0) & (distances < REACH))

        def draw() -> Array:
            i, j = pairs[rng.integers(len(pairs))]
            radii = covalent_radii[start.atomic_numbers[i]] + covalent_radii[start.atomic_numbers[j]]
            moved = positions.copy()
            toward = (positions[i] - positions[j]) / distances[i, j]
            moved[i] = positions[j] + toward * radii * rng.uniform(self.contact_min, self.contact_max)
            return moved

        return draw if len(pairs) else None
