"""Liquids: random packings, and melts by dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms

from mlff_core.data.sampling.crystal.base import CrystalStrategy, fully_periodic
from mlff_core.data.sampling.crystal.supercell import atoms_of, pushed_apart, structure_of, supercell
from mlff_core.data.sampling.langevin import langevin_md
from mlff_core.data.sampling.strategy import Ranges, SamplingContext, Strategy, Structures
from mlff_core.data.structure import LabelledStructure
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Packing(CrystalStrategy):
    """Atoms at random places of the supercell, pushed apart to a least distance: a liquid without dynamics."""

    kind: ClassVar[str] = "packing"
    ranges: ClassVar[Ranges] = (
        *CrystalStrategy.ranges,
        ("volume_min", "volume_max", 0.3),
        ("contact_min", "contact_max", 0.3),
    )

    strain: float = 0.0
    melting_min: float = 0.0
    melting_max: float = 0.0
    volume_min: float = 1.0
    volume_max: float = 1.25
    """Range of the factor on the volume of the crystal."""
    contact_min: float = 0.7
    contact_max: float = 0.88
    """Range of the least distance, as a share of the distance of nearest neighbours in the crystal; random packings
    denser than the largest one do not come about."""

    def changed(self, crystal: Atoms, distance: float, rng: np.random.Generator) -> Atoms | None:
        """Return a packing; None if the atoms could not be pushed apart."""
        cell = self.repeated(crystal, rng)
        scale = rng.uniform(self.volume_min, self.volume_max) ** (1.0 / 3.0)
        cell.set_cell(scale * cell.cell.array, scale_atoms=False)
        cell.positions = rng.uniform(size=(len(cell), 3)) @ cell.cell.array
        least = distance * rng.uniform(self.contact_min, self.contact_max)
        return cell if pushed_apart(cell, least) else None


@dataclass(frozen=True)
class Melt(Strategy):
    """Frames of Langevin dynamics of a supercell far above the melting point, with the forces of the teacher.

    With an expensive teacher let a student make these geometries, and label them afterwards by ``mlff data label``.
    """

    kind: ClassVar[str] = "melt"
    needs_teacher: ClassVar[bool] = True
    molecules: ClassVar[bool] = False
    crystals: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = (
        ("atoms_min", "atoms_max", 1),
        ("temperature_min_k", "temperature_max_k", 1.0),
        ("volume_min", "volume_max", 0.3),
    )
    positive: ClassVar[tuple[str, ...]] = ("timestep_fs", "friction_per_ps")

    enabled: bool = False
    n: int = 4
    """Frames for each start."""
    atoms_min: int = 16
    atoms_max: int = 36
    """Range of the number of atoms of the supercell."""
    temperature_min_k: float = 1000.0
    temperature_max_k: float = 4000.0
    """Range of the temperatures of the starts, K."""
    volume_min: float = 1.0
    volume_max: float = 1.2
    """Range of the factor on the volume of the crystal."""
    steps_between: int = 150
    """Steps before each frame."""
    timestep_fs: float = 3.0
    """Length of a step, fs."""
    friction_per_ps: float = 5.0

    def serves(self, start: LabelledStructure) -> bool:
        """Return whether the start is periodic in all three directions."""
        return fully_periodic(start)

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` frames."""
        return self.sample_many([start], [rng], context)[0]

    def sample_many(
        self, starts: Sequence[LabelledStructure], rngs: Sequence[np.random.Generator], context: SamplingContext
    ) -> list[Structures]:
        """Return ``n`` frames of each start; one run each, so that a batch size changes no geometry."""
        if context.teacher is None:
            raise InputError("melt needs a teacher, got none; give a potential")
        made = []
        for start, rng in zip(starts, rngs, strict=True):
            cell = supercell(atoms_of(start), self.atoms_min, self.atoms_max, rng)
            scale = rng.uniform(self.volume_min, self.volume_max) ** (1.0 / 3.0)
            cell.set_cell(scale * cell.cell.array, scale_atoms=True)
            (frames,) = langevin_md(
                context.teacher,
                [structure_of(cell, start, self.kind)],
                rng,
                temperature_k=(self.temperature_min_k, self.temperature_max_k),
                n_frames=self.n,
                steps_between=self.steps_between,
                timestep_fs=self.timestep_fs,
                friction_per_ps=self.friction_per_ps,
            )
            made.append([structure_of(atoms_of(frame), start, self.kind) for frame in frames])
        return made
