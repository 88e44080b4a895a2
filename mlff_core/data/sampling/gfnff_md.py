"""Langevin dynamics with GFN-FF, a general force field that costs a millisecond a step.

S. Spicher and S. Grimme, Angew. Chem. Int. Ed. 59, 15665 (2020), doi:10.1002/anie.202004239.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase.data import atomic_masses

from mlff_core.data.sampling.langevin import langevin
from mlff_core.data.sampling.strategy import Ranges, SamplingContext, Strategy, Structures, at, check_count
from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

HEAVIEST = 86
"""GFN-FF is parametrised up to radon."""


@dataclass(frozen=True)
class GfnffMd(Strategy):
    """Frames of a short hot run in GFN-FF, begun at the start.

    Parameters
    ----------
    enabled
        Whether it is used.
    n
        Frames for each start.
    temperature_min_k, temperature_max_k
        Range from which each run draws its temperature, K.
    timestep_fs
        fs.
    steps_between
        Steps before each frame.
    friction_per_ps
        1/ps.
    """

    kind: ClassVar[str] = "md"
    ranges: ClassVar[Ranges] = (("temperature_min_k", "temperature_max_k", 1.0),)

    n: int = 4
    temperature_min_k: float = 300.0
    temperature_max_k: float = 1000.0
    timestep_fs: float = 1.0
    steps_between: int = 30
    friction_per_ps: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.steps_between)
        if self.timestep_fs <= 0 or self.friction_per_ps < 0:
            raise InputError(
                f"timestep_fs must be positive and friction_per_ps not negative, got {self.timestep_fs:g} "
                f"and {self.friction_per_ps:g}"
            )

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` frames.

        Raises
        ------
        InputError
            GFN-FF cannot type the molecule, or its run fell apart.
        MissingDependencyError
            gfnff is not installed.
        """
        return frames(start, rng, self)


def frames(start: LabelledStructure, rng: np.random.Generator, settings: GfnffMd) -> list[LabelledStructure]:
    """Return frames of a GFN-FF run, see :meth:`GfnffMd.sample`."""
    if start.n_atoms < 2:
        return []
    trajectory = langevin(
        gfnff_force(start),
        start.positions,
        atomic_masses[start.atomic_numbers],
        rng,
        temperature_k=rng.uniform(settings.temperature_min_k, settings.temperature_max_k),
        timestep_fs=settings.timestep_fs,
        friction_per_ps=settings.friction_per_ps,
        n_frames=settings.n,
        steps_between=settings.steps_between,
    )
    return [at(start, positions, settings.kind) for positions in trajectory]


def gfnff_force(start: LabelledStructure) -> Callable[[Array], Array]:
    """Return the force of GFN-FF, bonds taken from ``start``: positions (n_atoms, 3) Å in, (n_atoms, 3) eV/Å out.

    Raises
    ------
    InputError
        GFN-FF cannot type the molecule.
    MissingDependencyError
        gfnff is not installed.
    """
    try:
        from gfnff import GFNFFCalculator
    except ImportError as error:
        raise MissingDependencyError(
            "MD in GFN-FF needs the package gfnff: pip install 'mlff-hub[data]', or switch the kinds md and cluster off"
        ) from error
    numbers = np.asarray(start.atomic_numbers, dtype=np.int32)
    if numbers.max() > HEAVIEST:
        raise InputError(f"GFN-FF knows elements up to {HEAVIEST}, got {numbers.max()}")
    try:
        calculator = GFNFFCalculator(
            numbers, np.ascontiguousarray(start.positions, dtype=np.float64) / ANGSTROM_PER_BOHR, charge=start.charge
        )
    except RuntimeError as error:
        raise InputError(f"GFN-FF cannot type this molecule: {error}") from error

    def force(positions: Array) -> Array:
        try:
            _, gradient, _ = calculator.singlepoint(numbers, positions / ANGSTROM_PER_BOHR)
        except RuntimeError as error:
            raise InputError(f"GFN-FF failed at a geometry: {error}") from error
        return np.asarray(-gradient * (EV_PER_HARTREE / ANGSTROM_PER_BOHR))

    return force
