"""Energy curves of two atoms, from 0.5 Å to beyond the cutoff, where there is no data and a network may have a hole."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from ase.data import chemical_symbols, covalent_radii

from mlff_core.judging.physics.trajectory import Array
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.wrapping import SpinUnchecked
from mlff_core.structures.batch import AtomicBatch

CORE = 0.7
"""Below this many sums of covalent radii two atoms must repel each other."""


@dataclass(frozen=True, eq=False)
class DimerCurve:
    """Energy and force of a pair of atoms as functions of distance."""

    numbers: tuple[int, int]
    """Both atomic numbers."""
    distances: Array
    """Ascending, shape (n,), Å."""
    energy: Array
    """Energy relative to the largest distance, shape (n,), eV."""
    force: Array
    """Force, repulsion positive, shape (n,), eV/Å."""

    @property
    def symbols(self) -> str:
        """Symbols of the pair, such as ``"C-H"``."""
        return "-".join(chemical_symbols[z] for z in self.numbers)

    @property
    def core_radius(self) -> float:
        """Distance below which the atoms must repel each other, Å; at least the first point of the curve."""
        radius = CORE * float(covalent_radii[list(self.numbers)].sum())
        return max(radius, float(self.distances[0]))

    @property
    def is_repulsive(self) -> bool:
        """Whether the atoms repel each other everywhere below the core radius."""
        return bool((self.force[self.distances <= self.core_radius] > 0).all())

    @property
    def hole_depth(self) -> float:
        """Largest drop of the energy on going inwards from the core radius, eV; 0 if it only rises."""
        inward = self.energy[self.distances <= self.core_radius][::-1]
        return float((np.maximum.accumulate(inward) - inward).max()) if len(inward) else 0.0


def dimer_curve(potential: Potential, numbers: tuple[int, int], distances: Array | None = None) -> DimerCurve:
    """Return the curve of one pair of elements.

    Parameters
    ----------
    potential
        Gives energy and forces.
    numbers
        Both atomic numbers.
    distances
        Ascending, shape (n,), Å; by default from 0.5 Å in steps of 0.02 Å to 0.5 Å beyond the cutoff (6 Å if there is
        none).
    """
    if distances is None:
        distances = np.arange(0.5, (potential.card.cutoff or 5.5) + 0.5, 0.02)
    n = len(distances)
    positions = torch.zeros(2 * n, 3, dtype=torch.float64)
    positions[1::2, 0] = torch.from_numpy(distances)
    batch = AtomicBatch(
        positions,
        torch.tensor(numbers).repeat(n),
        torch.zeros(n, 3, 3, dtype=torch.float64),
        torch.zeros(n, 3, dtype=torch.bool),
        torch.arange(n).repeat_interleave(2),
    )
    # Half of the pairs of elements have an odd number of electrons; only the repulsive wall is checked here.
    found = SpinUnchecked(potential).predict(batch)
    forces = found.need("forces", potential.card.name)
    energy = found.energy.double().cpu().numpy()
    return DimerCurve(numbers, distances, energy - energy[-1], forces[1::2, 0].double().cpu().numpy())


def dimer_curves(potential: Potential, elements: tuple[int, ...] | None = None) -> list[DimerCurve]:
    """Return the curve of every pair of ``elements`` (atomic numbers; by default all that the potential supports)."""
    pairs = combinations_with_replacement(elements or potential.card.elements, 2)
    return [dimer_curve(potential, pair) for pair in pairs]
