"""Perfect crystals: strained, heated, and with atoms exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms

from mlff_core.data.sampling.crystal.base import CrystalStrategy
from mlff_core.data.sampling.strategy import Limits


@dataclass(frozen=True)
class Lattice(CrystalStrategy):
    """A supercell under large strain, shear included, with little heat."""

    kind: ClassVar[str] = "lattice"

    strain: float = 0.12
    melting_min: float = 0.0
    melting_max: float = 0.1

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a supercell."""
        return self.repeated(crystal, rng)


@dataclass(frozen=True)
class Thermal(CrystalStrategy):
    """A supercell with thermal noise up to beyond the melting point."""

    kind: ClassVar[str] = "thermal"

    melting_min: float = 0.05
    melting_max: float = 1.5

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a supercell."""
        return self.repeated(crystal, rng)


@dataclass(frozen=True)
class Exchange(CrystalStrategy):
    """Atoms of different elements exchanged: from one pair of antisites to full disorder at the same composition."""

    kind: ClassVar[str] = "exchange"
    limits: ClassVar[Limits] = (*CrystalStrategy.limits, ("disorder", 0.0, 1.0))

    disorder: float = 0.5
    """Share of the geometries in which all atoms are shuffled; in the others one pair is exchanged."""

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a supercell with exchanged atoms; None for a single element."""
        cell = self.repeated(crystal, rng)
        if len(set(cell.numbers)) < 2:
            return None
        if rng.uniform() < self.disorder:
            cell.numbers = rng.permutation(cell.numbers)
            return cell
        i = rng.integers(len(cell))
        others = np.flatnonzero(cell.numbers != cell.numbers[i])
        j = others[rng.integers(len(others))]
        cell.numbers[[i, j]] = cell.numbers[[j, i]]
        return cell
