"""One bond made longer or shorter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.bonds import bonds, side
from mlff_core.data.sampling.strategy import SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Stretch(Strategy):
    """A random bond changed in length, what hangs on it moved along; in a ring, its two atoms alone.

    Parameters
    ----------
    enabled
        Whether it is used.
    n
        Geometries for each start.
    shortest, longest
        Range of the change of length, as a share of the bond.
    """

    kind: ClassVar[str] = "stretch"

    n: int = 1
    shortest: float = -0.12
    longest: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -0.5 < self.shortest <= self.longest:
            raise InputError(f"wanted −0.5 < shortest ≤ longest, got {self.shortest:g} and {self.longest:g}")

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` stretched geometries; none of an atom."""
        pairs = bonds(start)
        made = []
        for _ in range(self.n if pairs else 0):
            i, j = pairs[rng.integers(len(pairs))]
            positions = start.positions.astype(np.float64)
            change = rng.uniform(self.shortest, self.longest) * (positions[j] - positions[i])
            moving = side(start.n_atoms, pairs, i, j)
            if moving is None:
                positions[i] -= change / 2
                positions[j] += change / 2
            else:
                positions[moving] += change
            made.append(at(start, positions, self.kind))
        return made
