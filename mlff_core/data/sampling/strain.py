"""Deformations of a whole molecule by stretch and shear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.strategy import Displacement, Limits, SamplingContext, check_strain
from mlff_core.data.structure import Array, LabelledStructure


@dataclass(frozen=True)
class Strain(Displacement):
    """A random affine deformation, then a little noise."""

    kind: ClassVar[str] = "strain"
    limits: ClassVar[Limits] = (("sigma", 0.0, inf),)

    strain: float = 0.03
    """Standard deviation of each of the nine entries of the deformation."""
    sigma: float = 0.03
    """Standard deviation of the noise on every coordinate, Å."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strain(self.strain)

    def displaced(
        self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext
    ) -> Callable[[], Array]:
        """Return a function that draws strained positions."""
        center = start.positions.mean(axis=0)

        def draw() -> Array:
            deformation = np.eye(3) + self.strain * rng.standard_normal((3, 3))
            noise = self.sigma * rng.standard_normal(start.positions.shape)
            return np.asarray((start.positions - center) @ deformation + center + noise)

        return draw
