"""Crystals named by formula, prototype and lattice constants, as starts of geometries."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.formula import Formula

from mlff_core.errors import InputError

SIMPLE = {"sc": True, "fcc": True, "bcc": True, "diamond": True, "hcp": False}
"""Prototypes of one element, and whether their cubic cell is used; an alloy of that prototype is a random solution."""

COMPOUNDS = ("rocksalt", "zincblende", "cesiumchloride", "fluorite", "wurtzite")
"""Prototypes of two elements, as :func:`ase.build.bulk` names them."""

ORDERED = {"L1_2": (3, 1), "L1_0": (1, 1)}
"""Ordered alloys on the face-centred cubic lattice, and the numbers of their elements."""

PROTOTYPES = (*SIMPLE, *COMPOUNDS, *ORDERED)


@dataclass(frozen=True)
class Crystal:
    """One line of a list of crystals."""

    formula: str
    """Elements and numbers, such as ``Cu3Au``."""
    prototype: str
    """One of :data:`PROTOTYPES`."""
    a: float
    """Lattice constant, Å."""
    c: float | None = None
    """Second lattice constant, Å; None for that of equal spheres in ``hcp`` and ``wurtzite``, and a in ``L1_0``."""

    def atoms(self, rng: np.random.Generator) -> Atoms:
        """Return the crystal; an alloy of a simple prototype has its elements at random places.

        Raises
        ------
        InputError
            The prototype is unknown or does not fit the formula; the message says what does.
        """
        counts = self._counts()
        if self.prototype in SIMPLE:
            return _solution(self._simple(next(iter(counts))), counts, rng)
        if self.prototype in ORDERED:
            return self._ordered(counts)
        if self.prototype in COMPOUNDS:
            if len(counts) < 2:
                raise InputError(f"{self.prototype} needs two elements, got {self.formula}")
            try:
                return bulk(self.formula, self.prototype, a=self.a, c=self.c)
            except (ValueError, KeyError, RuntimeError) as error:
                raise InputError(f"{self.formula} is no {self.prototype}: {error}") from error
        raise InputError(f"there is no prototype {self.prototype!r}; there are {', '.join(PROTOTYPES)}")

    def _counts(self) -> dict[str, int]:
        try:
            counts: dict[str, int] = Formula(self.formula).count()
            Atoms(list(counts))
        except (ValueError, KeyError) as error:
            raise InputError(f"{self.formula!r} is no formula, such as Cu or Cu3Au") from error
        if not counts or not (0.5 < self.a < 100 and (self.c is None or 0.5 < self.c < 100)):
            raise InputError(f"lattice constants must lie in 0.5…100 Å, got {self.a:g} and {self.c or self.a:g}")
        return counts

    def _simple(self, symbol: str) -> Atoms:
        cubic = SIMPLE[self.prototype]
        if self.c is not None and cubic:
            raise InputError(f"{self.prototype} has one lattice constant, got {self.a:g} and {self.c:g}")
        return bulk(symbol, self.prototype, a=self.a, c=self.c, cubic=cubic)

    def _ordered(self, counts: dict[str, int]) -> Atoms:
        wanted = ORDERED[self.prototype]
        if sorted(counts.values(), reverse=True) != sorted(wanted, reverse=True):
            raise InputError(f"{self.prototype} has its elements as {wanted[0]} to {wanted[1]}, got {self.formula}")
        (most, _), (least, _) = sorted(counts.items(), key=lambda item: -item[1])
        atoms = bulk(most, "fcc", a=self.a, cubic=True)
        if self.prototype == "L1_2":
            atoms.symbols[0] = least
        else:
            atoms.symbols[np.isclose(atoms.positions[:, 2], 0.0)] = least
            if self.c is not None:
                atoms.set_cell([self.a, self.a, self.c], scale_atoms=True)
        return atoms


def _solution(atoms: Atoms, counts: dict[str, int], rng: np.random.Generator) -> Atoms:
    """Return the smallest supercell of 8 atoms or more that has the composition, its elements at random places."""
    if len(counts) == 1:
        return atoms
    formula_atoms = sum(counts.values())
    repeats = sorted(
        (
            n
            for n in product(range(1, 5), repeat=3)
            if len(atoms) * np.prod(n) >= 8 and len(atoms) * np.prod(n) % formula_atoms == 0
        ),
        key=lambda n: (np.prod(n), max(n)),
    )
    if not repeats:
        raise InputError(f"no supercell of up to 4 × 4 × 4 cells has {formula_atoms} atoms or a multiple; simplify it")
    cell = atoms.repeat(repeats[0])
    share = len(cell) // formula_atoms
    cell.symbols = rng.permutation([symbol for symbol, n in counts.items() for _ in range(n * share)])
    return cell


def is_random(crystal: Crystal) -> bool:
    """Return True for an alloy whose elements are at random places."""
    return crystal.prototype in SIMPLE and len(Formula(crystal.formula).count()) > 1


def parse(text: str) -> Crystal:
    """Return the crystal of a line such as ``Cu fcc 3.61`` or ``Mg hcp 3.21 5.21``.

    Raises
    ------
    InputError
        There are not three or four words, or a lattice constant is not a number.
    """
    words = text.split()
    try:
        constants = [float(word) for word in words[2:]]
    except ValueError:
        constants = []
    if len(constants) not in (1, 2):
        raise InputError(
            f"a crystal is a formula, a prototype and one or two lattice constants in Å, such as Cu fcc 3.61, "
            f"got {text!r}"
        )
    return Crystal(words[0], words[1], *constants)
