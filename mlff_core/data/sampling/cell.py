"""Deformations of a periodic cell with noise on the atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.strategy import Ranges, SamplingContext, Strategy, Structures, at, check_strain
from mlff_core.data.structure import LabelledStructure


@dataclass(frozen=True)
class Cell(Strategy):
    """A symmetric strain and a change of volume of cell and atoms, then noise on the atoms."""

    kind: ClassVar[str] = "cell"
    molecules: ClassVar[bool] = False
    crystals: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = (("volume_min", "volume_max", 0.3), ("sigma_min", "sigma_max", 0.0))

    n: int = 6
    """Geometries for each start."""
    strain: float = 0.02
    """Standard deviation of the entries of the symmetric strain."""
    volume_min: float = 0.92
    volume_max: float = 1.10
    """Range of the factor on the volume."""
    sigma_min: float = 0.01
    sigma_max: float = 0.08
    """Range of the noise's standard deviation, Å."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strain(self.strain)

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` deformed cells; vectors along directions without periodicity stay the same."""
        if start.cell is None or start.pbc is None:
            return []
        periodic = np.asarray(start.pbc, dtype=bool)
        made = []
        for _ in range(self.n):
            raw = self.strain * rng.standard_normal((3, 3))
            scale = rng.uniform(self.volume_min, self.volume_max) ** (1.0 / periodic.sum())
            sigma = rng.uniform(self.sigma_min, self.sigma_max)
            noise = sigma * rng.standard_normal(start.positions.shape)
            cell = start.cell.copy()
            cell[periodic] = scale * cell[periodic] @ (np.eye(3) + 0.5 * (raw + raw.T))
            # Vectors along directions without periodicity may be zero: complete the basis before inverting it.
            basis, moved = _complete(start.cell, periodic), _complete(start.cell, periodic)
            moved[periodic] = cell[periodic]
            positions = start.positions @ np.linalg.inv(basis) @ moved
            made.append(at(start, positions + noise, self.kind, cell=cell))
        return made


def _complete(cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """Return the cell with unit vectors, orthogonal to the periodic ones, along the other directions; (3, 3), Å."""
    complete = cell.astype(np.float64).copy()
    if not periodic.all():
        _, _, basis = np.linalg.svd(complete[periodic])
        complete[~periodic] = basis[periodic.sum() :]
    return complete
