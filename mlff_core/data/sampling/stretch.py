"""Bonds made longer or shorter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.bonds import bonds, side
from mlff_core.data.sampling.strategy import Displacement, SamplingContext
from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Stretch(Displacement):
    """A change of the length of a random bond; one side of it moves along, or in a ring only its two atoms."""

    kind: ClassVar[str] = "stretch"

    shortest: float = -0.12
    longest: float = 0.25
    """Range of the change of length, as a share of the bond."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -0.5 < self.shortest <= self.longest:
            raise InputError(f"wanted −0.5 < shortest ≤ longest, got {self.shortest:g} and {self.longest:g}")

    def displaced(
        self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext
    ) -> Callable[[], Array] | None:
        """Return a function that draws positions with a changed bond; None for a single atom."""
        pairs = bonds(start)

        def draw() -> Array:
            i, j = pairs[rng.integers(len(pairs))]
            positions = start.positions.astype(np.float64)
            change = rng.uniform(self.shortest, self.longest) * (positions[j] - positions[i])
            moving = side(start.n_atoms, pairs, i, j)
            if moving is None:
                positions[i] -= change / 2
                positions[j] += change / 2
            else:
                positions[moving] += change
            return positions

        return draw if pairs else None
