"""Surfaces and stacking faults."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.build import surface

from mlff_core.data.sampling.crystal.base import CrystalStrategy
from mlff_core.data.sampling.strategy import Limits, Ranges
from mlff_core.errors import InputError

PLANES = ((1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (2, 1, 1))
"""Miller indices by default, of the cell of the start."""

DENSE = ((1, 1, 1), (1, 1, 0), (0, 0, 1))
"""Dense planes of face-centred, body-centred and hexagonal cells; shifted layers of other planes clash."""


@dataclass(frozen=True)
class _Planes(CrystalStrategy):
    """A crystal cut along a random plane."""

    planes: tuple[tuple[int, int, int], ...] = PLANES
    """Miller indices, of the cell of the start."""
    thickness_min: float = 6.0
    """Least thickness of the stack, Å; the largest is that of ``atoms_max``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.planes or any(len(plane) != 3 or not any(plane) for plane in self.planes):
            raise InputError(f"planes must be a list of three Miller indices each, not all zero, got {self.planes}")

    def cut(self, crystal: Atoms, rng: np.random.Generator) -> Atoms | None:
        """Return a periodic stack of layers, the plane's vectors first; None if one of this plane has too many atoms.

        It is repeated within its plane as far as ``atoms_max`` allows.
        """
        plane = self.planes[rng.integers(len(self.planes))]
        layer = surface(crystal, plane, 1, periodic=True)
        spacing = layer.get_volume() / np.linalg.norm(np.cross(*layer.cell.array[:2]))
        least, most = ceil(self.thickness_min / spacing), self.atoms_max // len(layer)
        if least > most:
            return None
        stack = surface(crystal, plane, int(rng.integers(least, most + 1)), periodic=True)
        wider = [(i, j, 1) for i in (1, 2, 3) for j in (1, 2, 3) if len(stack) * i * j <= self.atoms_max]
        return stack.repeat(wider[rng.integers(len(wider))])


@dataclass(frozen=True)
class SurfaceSlab(_Planes):
    """A slab with vacuum on both sides; all three directions stay periodic."""

    kind: ClassVar[str] = "surface"
    ranges: ClassVar[Ranges] = (*CrystalStrategy.ranges, ("vacuum_min", "vacuum_max", 0.0))

    vacuum_min: float = 4.0
    vacuum_max: float = 12.0
    """Range of the empty space between a slab and its image, Å."""

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a slab; None if one of the plane drawn has too many atoms."""
        slab = self.cut(crystal, rng)
        if slab is None:
            return None
        height = np.ptp(slab.positions @ _normal(slab)) + rng.uniform(self.vacuum_min, self.vacuum_max)
        return _with_height(slab, height)


@dataclass(frozen=True)
class StackingFault(_Planes):
    """Layers shifted within their plane against their images: one generalised stacking fault in each cell."""

    kind: ClassVar[str] = "stacking_fault"
    limits: ClassVar[Limits] = (*CrystalStrategy.limits, ("opening", 0.0, 1.0))

    planes: tuple[tuple[int, int, int], ...] = DENSE
    opening: float = 0.15
    """Largest widening of the gap at the fault, as a share of the distance of nearest neighbours."""

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a faulted stack: its third vector is shifted by a random part of the first two.

        None if a stack of the plane drawn has too many atoms.
        """
        stack = self.cut(crystal, rng)
        if stack is None:
            return None
        cell = stack.cell.array.copy()
        shift = rng.uniform(size=2) @ cell[:2]
        cell[2] += shift + rng.uniform(0.0, self.opening) * distance * _normal(stack)
        stack.set_cell(cell, scale_atoms=False)
        return stack


def _normal(stack: Atoms) -> np.ndarray:
    """Return the unit normal of the first two lattice vectors, shape (3,), on the side of the third."""
    a, b, c = stack.cell.array
    normal = np.cross(a, b)
    normal /= np.linalg.norm(normal)
    return np.asarray(normal * np.sign(normal @ c))


def _with_height(slab: Atoms, height: float) -> Atoms:
    """Return the slab in a cell whose third vector is normal to the others, with that length, Å."""
    made = slab.copy()
    made.set_cell(np.vstack([slab.cell.array[:2], height * _normal(slab)]), scale_atoms=False)
    return made
