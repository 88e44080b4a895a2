"""A molecule stretched and sheared as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.strategy import SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Strain(Strategy):
    """A random affine deformation, then a little noise.

    Parameters
    ----------
    enabled
        Whether it is used.
    n
        Geometries for each start.
    strain
        Standard deviation of each of the nine entries of the deformation.
    sigma
        Standard deviation of the noise on every coordinate, Å.
    """

    kind: ClassVar[str] = "strain"

    n: int = 1
    strain: float = 0.03
    sigma: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strain < 0.3 or self.sigma < 0:
            raise InputError(f"strain must lie in 0…0.3 and sigma be ≥ 0 Å, got {self.strain:g} and {self.sigma:g}")

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` strained geometries."""
        center = start.positions.mean(axis=0)
        made = []
        for _ in range(self.n):
            deformation = np.eye(3) + self.strain * rng.standard_normal((3, 3))
            noise = self.sigma * rng.standard_normal(start.positions.shape)
            made.append(at(start, (start.positions - center) @ deformation + center + noise, self.kind))
        return made
