"""Random displacements of every atom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.strategy import Displacement, Ranges, SamplingContext
from mlff_core.data.structure import Array, LabelledStructure


@dataclass(frozen=True)
class Rattle(Displacement):
    """Normal noise on every coordinate, with a different width for each geometry."""

    kind: ClassVar[str] = "rattle"
    ranges: ClassVar[Ranges] = (("sigma_min", "sigma_max", 0.0),)

    sigma_min: float = 0.02
    sigma_max: float = 0.08
    """Range of the noise's standard deviation, Å."""

    def displaced(
        self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext
    ) -> Callable[[], Array]:
        """Return a function that draws rattled positions."""
        shape = start.positions.shape
        return lambda: start.positions + rng.uniform(self.sigma_min, self.sigma_max) * rng.standard_normal(shape)
