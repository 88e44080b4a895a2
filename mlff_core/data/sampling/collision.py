"""Two atoms pushed into each other, where a network would otherwise be left to guess."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from ase.data import covalent_radii

from mlff_core.data.sampling.strategy import Ranges, SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure
from mlff_core.errors import InputError

REACH = 4.0
"""Only atoms this near each other collide, Å: others have atoms between them."""


@dataclass(frozen=True)
class Collision(Strategy):
    """A random atom moved along the line to another one nearby, to a share of the sum of their covalent radii.

    The run's own ``clash`` and ``max_force`` decide what is kept; their defaults keep little of this kind.

    Parameters
    ----------
    enabled
        Whether it is used.
    n
        Geometries for each start.
    contact_min, contact_max
        Range of the distance, as a share of the sum of the covalent radii.
    weight
        Of these structures in a loss: their forces are large.
    """

    kind: ClassVar[str] = "collision"
    ranges: ClassVar[Ranges] = (("contact_min", "contact_max", 0.1),)

    enabled: bool = False
    n: int = 4
    contact_min: float = 0.4
    contact_max: float = 0.95
    weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight > 0:
            raise InputError(f"weight must be above 0, got {self.weight:g}")

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` geometries with one short distance each; none of an atom."""
        positions = start.positions.astype(np.float64)
        distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
        pairs = np.argwhere((distances > 0) & (distances < REACH))
        made = []
        for _ in range(self.n if len(pairs) else 0):
            i, j = pairs[rng.integers(len(pairs))]
            radii = covalent_radii[start.atomic_numbers[i]] + covalent_radii[start.atomic_numbers[j]]
            moved = positions.copy()
            toward = (positions[i] - positions[j]) / distances[i, j]
            moved[i] = positions[j] + toward * radii * rng.uniform(self.contact_min, self.contact_max)
            made.append(replace(at(start, moved, self.kind), weight=self.weight))
        return made
