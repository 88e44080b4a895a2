"""Pairs of molecules in contact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlff_core.data.molecules import joined
from mlff_core.data.sampling.strategy import Limits, Ranges, SamplingContext, Strategy, Structures, at
from mlff_core.data.structure import Array, LabelledStructure
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Dimer(Strategy):
    """The start beside a random partner in random orientation, their nearest atoms at a random distance."""

    kind: ClassVar[str] = "dimer"
    ranges: ClassVar[Ranges] = (("contact_min", "contact_max", 0.5),)

    limits: ClassVar[Limits] = (("probability", 0.0, 1.0),)

    n: int = 1
    """Geometries for each start that gets a partner."""
    probability: float = 0.35
    """Share of starts that get a partner."""
    contact_min: float = 1.6
    contact_max: float = 4.0
    """Range of the distance between the nearest atoms, Å."""
    max_atoms: int = 60
    """Largest number of atoms of a pair; larger pairs are left out."""

    def sample(self, start: LabelledStructure, rng: np.random.Generator, context: SamplingContext) -> Structures:
        """Return ``n`` pairs, or none at random, see ``probability``, or if there is no partner."""
        if context.partner is None or rng.random() >= self.probability:
            return []
        made = []
        for _ in range(self.n):
            partner = context.partner(rng)
            if start.n_atoms + partner.n_atoms > self.max_atoms:
                continue
            contact = rng.uniform(self.contact_min, self.contact_max)
            pair = beside(start, partner, contact, rng)
            made.append(at(pair, pair.positions, self.kind))
        return made


def beside(
    first: LabelledStructure, second: LabelledStructure, contact: float, rng: np.random.Generator
) -> LabelledStructure:
    """Return both molecules in one structure, the second rotated at random and moved into contact.

    Parameters
    ----------
    first, second
        Molecules without periodic directions.
    contact
        Distance of the nearest atoms of the two, Å.
    rng
        Source of the orientation and the direction.

    Raises
    ------
    InputError
        Both are radicals, so that the multiplicity of the pair is not known.
    """
    if first.spin_multiplicity != 1 and second.spin_multiplicity != 1:
        raise InputError(
            "at most one of a pair may be a radical, got two, whose multiplicity together is not known; leave one out"
        )
    fixed = first.positions - first.positions.mean(axis=0, dtype=np.float64)
    turned = (second.positions - second.positions.mean(axis=0, dtype=np.float64)) @ random_rotation(rng).T
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    far = np.linalg.norm(fixed, axis=1).max() + np.linalg.norm(turned, axis=1).max() + contact

    def nearest(distance: float) -> float:
        moved = turned + distance * direction
        return float(np.linalg.norm(fixed[:, None] - moved[None], axis=2).min())

    # From the outside inwards, so that the second molecule is never inside a ring of the first.
    inner = float(far)
    while inner > 0 and nearest(inner) > contact:
        inner -= 0.1
    outer = inner + 0.1
    for _ in range(30):
        middle = 0.5 * (inner + outer)
        inner, outer = (middle, outer) if nearest(middle) < contact else (inner, middle)
    smiles = f"{first.smiles}.{second.smiles}" if first.smiles and second.smiles else None
    return LabelledStructure(
        atomic_numbers=np.concatenate([first.atomic_numbers, second.atomic_numbers]),
        positions=np.concatenate([fixed, turned + outer * direction]),
        charge=first.charge + second.charge,
        spin_multiplicity=max(first.spin_multiplicity, second.spin_multiplicity),
        molecule_id=first.molecule_id if smiles is None else None,
        smiles=smiles,
        **joined([(one.n_atoms, one.fragment, one.fragment_charge, one.charge) for one in (first, second)]),
    )


def random_rotation(rng: np.random.Generator) -> Array:
    """Return a rotation matrix, shape (3, 3), uniform over all rotations."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
