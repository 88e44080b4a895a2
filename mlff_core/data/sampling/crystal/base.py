"""The base of the kinds for crystals: a supercell, changed by each kind, then strained and heated."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms

from mlff_core.data.sampling.crystal.supercell import (
    atoms_of,
    heated,
    nearest_distance,
    strained,
    structure_of,
    supercell,
)
from mlff_core.data.sampling.strategy import Limits, Ranges, SamplingContext, Strategy, Structures
from mlff_core.data.structure import LabelledStructure


def fully_periodic(start: LabelledStructure) -> bool:
    """Return whether a structure is periodic in all three directions."""
    return start.pbc is not None and bool(np.all(start.pbc))


@dataclass(frozen=True)
class CrystalStrategy(Strategy):
    """A change of a supercell of a crystal, then a strain and thermal noise; off by default."""

    molecules: ClassVar[bool] = False
    crystals: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = (("atoms_min", "atoms_max", 1), ("melting_min", "melting_max", 0.0))
    limits: ClassVar[Limits] = (("strain", 0.0, 0.3),)

    enabled: bool = False
    n: int = 4
    """Geometries for each start."""
    atoms_min: int = 8
    atoms_max: int = 36
    """Range of the number of atoms of the supercell, before the change."""
    strain: float = 0.03
    """Largest entry of the strain."""
    melting_min: float = 0.02
    melting_max: float = 0.6
    """Range of the temperature of the thermal noise, in units of the melting point."""

    def serves(self, start: LabelledStructure) -> bool:
        """Return whether the start is periodic in all three directions."""
        return fully_periodic(start)

    @abstractmethod
    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a changed crystal; None if there is nothing to change.

        Parameters
        ----------
        crystal
            The start's cell, not repeated: :meth:`repeated` makes a supercell.
        distance
            Distance of nearest neighbours, Å.
        rng
            Random numbers.
        """

    def repeated(self, crystal: Atoms, rng: np.random.Generator) -> Atoms:
        """Return a random supercell in the range of the settings."""
        return supercell(crystal, self.atoms_min, self.atoms_max, rng)

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return up to ``n`` geometries."""
        crystal, distance = atoms_of(start), nearest_distance(start)
        made = []
        for _ in range(self.n):
            changed = self.changed(crystal, distance, rng)
            if changed is not None:
                warm = heated(
                    strained(changed, self.strain, rng), distance, rng.uniform(self.melting_min, self.melting_max), rng
                )
                made.append(structure_of(warm, start, self.kind))
        return made
