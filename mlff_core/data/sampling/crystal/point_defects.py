"""Vacancies and interstitials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms

from mlff_core.data.sampling.crystal.base import CrystalStrategy
from mlff_core.data.sampling.crystal.supercell import periodic_distances, pushed_apart
from mlff_core.data.sampling.strategy import Limits, Ranges

TRIALS = 200
"""Number of random places for an interstitial."""


@dataclass(frozen=True)
class Vacancy(CrystalStrategy):
    """A supercell without some of its atoms."""

    kind: ClassVar[str] = "vacancy"
    limits: ClassVar[Limits] = (*CrystalStrategy.limits, ("most", 1, 100))

    most: int = 2
    """Most atoms that are taken out."""

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a supercell with vacancies; None if half of the atoms would go."""
        cell = self.repeated(crystal, rng)
        n = int(rng.integers(1, self.most + 1))
        if 2 * n > len(cell):
            return None
        del cell[rng.choice(len(cell), n, replace=False)]
        return cell


@dataclass(frozen=True)
class Interstitial(CrystalStrategy):
    """A supercell with one atom more, in one of its larger holes, and its neighbours pushed away."""

    kind: ClassVar[str] = "interstitial"
    ranges: ClassVar[Ranges] = (*CrystalStrategy.ranges, ("contact_min", "contact_max", 0.3))

    contact_min: float = 0.75
    contact_max: float = 0.92
    """Range of the least distance, as a share of the distance of nearest neighbours in the crystal."""

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a supercell with an interstitial: of random places, one of the tenth that is farthest from atoms.

        None if its neighbours could not be pushed away.
        """
        cell = self.repeated(crystal, rng)
        places = rng.uniform(size=(TRIALS, 3)) @ cell.cell.array
        best = np.argsort(periodic_distances(places, cell))[-TRIALS // 10 :]
        number = cell.numbers[rng.integers(len(cell))]
        cell.extend(Atoms([number], positions=[places[best[rng.integers(len(best))]]]))
        apart = pushed_apart(cell, distance * rng.uniform(self.contact_min, self.contact_max))
        return cell if apart else None
