"""Clusters of a few molecules, equilibrated with GFN-FF: water, a solute in water, or a solvent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import numpy as np

from mlff_core.data.sampling.dimer import beside
from mlff_core.data.sampling.gfnff_md import GfnffMd, frames
from mlff_core.data.sampling.strategy import Limits, Ranges, SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import LabelledStructure

CONTACT = (1.8, 2.6)
"""Range of the distance between the nearest atoms of two molecules before MD, Å."""


@dataclass(frozen=True)
class Cluster(Strategy):
    """Frames of MD of clusters; a third each of water, the start in water, and a random solvent."""

    kind: ClassVar[str] = "cluster"
    ranges: ClassVar[Ranges] = (
        ("molecules_min", "molecules_max", 1.0),
        ("temperature_min_k", "temperature_max_k", 1.0),
    )

    limits: ClassVar[Limits] = (("probability", 0.0, 1.0), ("max_atoms", 6, inf))  # two waters have six atoms

    n: int = 4
    """Frames of each cluster."""
    probability: float = 0.12
    """Share of starts that give a cluster."""
    molecules_min: int = 3
    molecules_max: int = 9
    """Range of the number of solvent molecules."""
    max_atoms: int = 60
    """Largest number of atoms of a cluster; larger starts give none."""
    temperature_min_k: float = 250.0
    temperature_max_k: float = 500.0
    """Range of a run's temperature, K."""

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` frames of one cluster, or none at random, see ``probability``.

        Raises
        ------
        InputError
            GFN-FF does not support a molecule, or its run became unphysical.
        MissingDependencyError
            gfnff is not installed.
        """
        if rng.random() >= self.probability:
            return []
        sort = ("water", "solvated", "solvent")[rng.integers(3)]
        unit = context.solvent(rng) if sort == "solvent" and context.solvent is not None else water()
        cluster, n_added = start if sort == "solvated" else unit, 0
        for _ in range(int(rng.integers(self.molecules_min, self.molecules_max + 1))):
            if cluster.n_atoms + unit.n_atoms > self.max_atoms:
                break
            cluster = beside(cluster, unit, rng.uniform(*CONTACT), rng)
            n_added += 1
        if n_added == 0:
            return []
        settings = GfnffMd(n=self.n, temperature_min_k=self.temperature_min_k, temperature_max_k=self.temperature_max_k)
        return [at(frame, frame.positions, self.kind) for frame in frames(cluster, rng, settings)]


def water() -> LabelledStructure:
    """Return a water molecule: 0.9572 Å, 104.52°."""
    half = np.radians(104.52) / 2
    positions = 0.9572 * np.array(
        [[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]], dtype=np.float64
    )
    bare = LabelledStructure(atomic_numbers=np.array([8, 1, 1], dtype=np.uint8), positions=positions)
    return replace(bare, smiles="O", kind="minimum")
