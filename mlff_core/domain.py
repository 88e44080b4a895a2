"""The domain of a model: ranges of cheap quantities over its training data, and the bounds that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from mlff_core.errors import InputError

MARGIN = {"atom_energy": 1.0, "distance": 0.1, "force": 1.5}
"""How far beyond the range of the training data a structure may lie without a warning: eV, Å, and a factor. A range is
measured on a sample, and dynamics at a few hundred kelvin goes a little beyond any finite set."""


@dataclass(frozen=True)
class Domain:
    """Ranges over the training data of a model, as its card stores them.

    Parameters
    ----------
    atom_energies
        Lowest and highest energy that the model predicts for an atom of each element, relative to the element's
        reference energy, eV.
    reference_energies
        Reference energy of each element, eV.
    distances
        Shortest distance of each pair of elements, Å; keys are pairs of atomic numbers, the smaller one first. A pair
        that was never within the cutoff is left out.
    largest_force
        Largest force component in the labels, eV/Å.
    is_even
        True if every structure has an even number of electrons.
    pure
        Atomic numbers of the elements for which some structure consists of that element only.
    n_structures
        Number of structures that the ranges were measured on.
    margin
        See :data:`MARGIN`.

    Raises
    ------
    InputError
        A range or a margin is not a valid one.
    """

    atom_energies: Mapping[int, tuple[float, float]]
    reference_energies: Mapping[int, float]
    distances: Mapping[tuple[int, int], float]
    largest_force: float
    is_even: bool
    n_structures: int
    pure: frozenset[int] = frozenset()
    margin: Mapping[str, float] = field(default_factory=lambda: dict(MARGIN))

    def __post_init__(self) -> None:
        if not self.atom_energies or set(self.atom_energies) != set(self.reference_energies):
            raise InputError("the domain of a model needs a range of energies and a reference energy for each element")
        for number, (least, largest) in self.atom_energies.items():
            if not (math.isfinite(least) and math.isfinite(largest) and least <= largest):
                raise InputError(
                    f"energies of {chemical_symbols[number]} must be a range in eV, got {least} to {largest}"
                )
        for name, value in (*self.distances.items(), ("largest_force", self.largest_force)):
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"the domain of a model must hold finite distances and forces, got {value} for {name}")
        if set(self.margin) != set(MARGIN) or not all(
            math.isfinite(value) and value >= 0 for value in self.margin.values()
        ):
            raise InputError(
                f"the margin of a domain must have finite {', '.join(MARGIN)}, not negative, got {dict(self.margin)}"
            )

    def energy_bounds(self, number: int) -> tuple[float, float]:
        """Return the lowest and highest energy that an atom of this element may have without a warning, eV.

        The reference energy is included. For an element that no training structure had, the range is 0 ± the margin.
        """
        least, largest = self.atom_energies.get(number, (0.0, 0.0))
        reference = self.reference_energies.get(number, 0.0)
        return reference + least - self.margin["atom_energy"], reference + largest + self.margin["atom_energy"]

    def closest(self, one: int, other: int) -> float:
        """Return the distance below which a pair of these elements causes a warning, Å.

        It is never longer than a single bond (the sum of the covalent radii), so that a pair of rare elements that is
        only far apart in the training data may come into contact.
        """
        bond = float(covalent_radii[one] + covalent_radii[other])
        seen = self.distances.get((min(one, other), max(one, other)))
        return bond if seen is None else min(bond, max(0.0, seen - self.margin["distance"]))

    @property
    def force_bound(self) -> float:
        """Force component above which there is a warning, eV/Å."""
        return self.largest_force * self.margin["force"]

    def to_dict(self) -> dict[str, Any]:
        """Return the domain as the plain values that a model card stores."""
        symbols = chemical_symbols
        return {
            "n_structures": self.n_structures,
            "electrons": "even" if self.is_even else "any",
            "pure": [symbols[z] for z in sorted(self.pure)],
            "reference_energies": {symbols[z]: energy for z, energy in sorted(self.reference_energies.items())},
            "atom_energies": {symbols[z]: list(ends) for z, ends in sorted(self.atom_energies.items())},
            "distances": {f"{symbols[a]}-{symbols[b]}": d for (a, b), d in sorted(self.distances.items())},
            "largest_force": self.largest_force,
            "margin": dict(self.margin),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Domain:
        """Return the domain that :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            An entry is missing or has the wrong type.
        """
        try:
            electrons = plain["electrons"]
            if electrons not in ("even", "any"):
                raise InputError(f"electrons must be even or any, got {electrons!r}")
            distances = {}
            for pair, distance in plain["distances"].items():
                a, b = sorted(atomic_numbers[symbol] for symbol in pair.split("-"))
                distances[a, b] = float(distance)
            return cls(
                atom_energies={
                    atomic_numbers[symbol]: (float(least), float(largest))
                    for symbol, (least, largest) in plain["atom_energies"].items()
                },
                reference_energies={
                    atomic_numbers[symbol]: float(energy) for symbol, energy in plain["reference_energies"].items()
                },
                distances=distances,
                largest_force=float(plain["largest_force"]),
                is_even=electrons == "even",
                n_structures=int(plain["n_structures"]),
                pure=frozenset(atomic_numbers[symbol] for symbol in plain["pure"]),
                margin={name: float(value) for name, value in plain["margin"].items()},
            )
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the domain of the model card cannot be read: {type(error).__name__}: {error}") from None
