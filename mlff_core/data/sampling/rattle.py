"""Every atom moved a little at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.strategy import Ranges, SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure


@dataclass(frozen=True)
class Rattle(Strategy):
    """Normal noise on every coordinate; each geometry draws its own width.

    Parameters
    ----------
    enabled
        Whether it is used.
    n
        Geometries for each start.
    sigma_min, sigma_max
        Range of the noise's standard deviation, Å.
    """

    kind: ClassVar[str] = "rattle"
    ranges: ClassVar[Ranges] = (("sigma_min", "sigma_max", 0.0),)

    n: int = 1
    sigma_min: float = 0.02
    sigma_max: float = 0.08

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` rattled geometries."""
        made = []
        for _ in range(self.n):
            noise = rng.uniform(self.sigma_min, self.sigma_max) * rng.standard_normal(start.positions.shape)
            made.append(at(start, start.positions + noise, self.kind))
        return made
