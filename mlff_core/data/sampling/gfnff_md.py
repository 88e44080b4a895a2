"""Langevin dynamics with GFN-FF, a general force field that takes a millisecond per step.

S. Spicher and S. Grimme, Angew. Chem. Int. Ed. 59, 15665 (2020), doi:10.1002/anie.202004239.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
from ase.data import atomic_masses

from mlff_core.data.sampling.langevin import langevin
from mlff_core.data.sampling.strategy import Limits, Ranges, SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

HEAVIEST = 86
"""Largest atomic number of GFN-FF, radon."""


@dataclass(frozen=True)
class GfnffMd(Strategy):
    """Frames of a short run with GFN-FF at high temperature from the start."""

    kind: ClassVar[str] = "md"
    ranges: ClassVar[Ranges] = (("temperature_min_k", "temperature_max_k", 1.0),)

    positive: ClassVar[tuple[str, ...]] = ("timestep_fs",)
    limits: ClassVar[Limits] = (("steps_between", 1, inf), ("friction_per_ps", 0.0, inf))

    n: int = 4
    """Frames for each start."""
    temperature_min_k: float = 300.0
    temperature_max_k: float = 1000.0
    """Range of a run's temperature, K."""
    timestep_fs: float = 1.0
    """fs."""
    steps_between: int = 30
    """Steps before each frame."""
    friction_per_ps: float = 10.0
    """1/ps."""

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` frames.

        Raises
        ------
        InputError
            GFN-FF does not support the molecule, or its run became unphysical.
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
        GFN-FF does not support the molecule.
    MissingDependencyError
        gfnff is not installed.
    """
    try:
        from gfnff import GFNFFCalculator
    except ImportError as error:
        raise MissingDependencyError(
            "MD in GFN-FF needs the package gfnff: pip install 'mlff-hub[data]', or disable the kinds md and cluster"
        ) from error
    numbers = np.asarray(start.atomic_numbers, dtype=np.int32)
    if numbers.max() > HEAVIEST:
        raise InputError(f"GFN-FF supports elements up to {HEAVIEST}, got {numbers.max()}; leave this molecule out")
    try:
        calculator = GFNFFCalculator(
            numbers, np.ascontiguousarray(start.positions, dtype=np.float64) / ANGSTROM_PER_BOHR, charge=start.charge
        )
    except RuntimeError as error:
        raise InputError(f"GFN-FF does not support this molecule: {error}") from error

    def force(positions: Array) -> Array:
        try:
            _, gradient, _ = calculator.singlepoint(numbers, positions / ANGSTROM_PER_BOHR)
        except RuntimeError as error:
            raise InputError(f"GFN-FF failed at a geometry: {error}") from error
        return np.asarray(-gradient * (EV_PER_HARTREE / ANGSTROM_PER_BOHR))

    return force
