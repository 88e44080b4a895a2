"""The properties of a crystal that are judged, and their computation for one potential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.build import bulk
from ase.data import atomic_numbers

from mlff_core.data.crystals import Crystal
from mlff_core.errors import InputError, MlffError, UnsupportedError, first_line
from mlff_core.judging.crystals.defects import surface_energies, vacancy_energy
from mlff_core.judging.crystals.lattice import elastic_constants, relaxed_cubic
from mlff_core.judging.crystals.phonons import Phonons

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.judging.crystals.experiment import Element
    from mlff_core.potentials.interface import Potential


class Property(NamedTuple):
    """How a property is shown."""

    label: str
    unit: str


PROPERTIES = {
    "lattice_constant": Property("lattice constant", "Å"),
    "bulk_modulus": Property("bulk modulus", "GPa"),
    "c11": Property("C11", "GPa"),
    "c12": Property("C12", "GPa"),
    "c44": Property("C44", "GPa"),
    "bcc": Property("bcc − fcc", "meV/atom"),
    "vacancy": Property("vacancy", "eV"),
    "surface_111": Property("surface (111)", "J/m²"),
    "surface_100": Property("surface (100)", "J/m²"),
    "surface_110": Property("surface (110)", "J/m²"),
    "phonon_x_longitudinal": Property("phonon X, longitudinal", "THz"),
    "phonon_x_transverse": Property("phonon X, transverse", "THz"),
    "phonon_l_longitudinal": Property("phonon L, longitudinal", "THz"),
    "phonon_l_transverse": Property("phonon L, transverse", "THz"),
    "phonon_lowest": Property("lowest phonon", "THz"),
}
"""By key, in the order of tables. The lowest phonon is that on a mesh; a negative one is imaginary: the crystal is not
stable."""

PLANES = ((1, 1, 1), (1, 0, 0), (1, 1, 0))

X, L = np.array([0.5, 0.0, 0.5]), np.array([0.5, 0.5, 0.5])
"""Wave vectors in the reciprocal vectors of the face-centred primitive cell."""

CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
"""Vectors of the cubic cell in those of the primitive cell."""

STEPS = 6
"""Calls of ``on_step`` for a crystal, at most."""

REPEATS = 3
"""Cubic cells of the supercell of phonons, in each direction."""


@dataclass(frozen=True)
class CrystalReport:
    """What a potential gives for one crystal."""

    model: str
    """Name of the potential."""
    symbol: str
    values: dict[str, float]
    """By the keys of :data:`PROPERTIES`."""
    skipped: dict[str, str] = field(default_factory=dict)
    """What could not be computed, and why."""


def judge_crystal(
    potential: Potential, element: Element, on_step: Callable[[str], None] | None = None
) -> CrystalReport:
    """Return the properties of the crystal of one element.

    Parameters
    ----------
    potential
        The potential.
    element
        One of :data:`mlff_core.judging.crystals.experiment.ELEMENTS`.
    on_step
        Called with a word on what is computed next.

    Raises
    ------
    InputError
        The potential has no such crystal.
    UnsupportedError
        The potential does not know the element.
    """
    say = on_step or (lambda _: None)
    say("lattice")
    start = Crystal(element.symbol, element.prototype, element.lattice_constant).atoms(np.random.default_rng(0))
    crystal, energy = relaxed_cubic(potential, start)
    values = {"lattice_constant": float(crystal.cell.lengths()[0])}
    skipped: dict[str, str] = {}

    def attempt(what: str, compute: Callable[[], dict[str, float]]) -> None:
        say(what)
        try:
            values.update(compute())
        except (InputError, UnsupportedError) as error:
            skipped[what] = first_line(error)

    attempt("elastic constants", lambda: _elastic(potential, crystal))
    if element.prototype == "fcc":
        attempt("bcc", lambda: {"bcc": 1e3 * (_bcc(potential, element.symbol, crystal) - energy)})
        attempt("vacancy", lambda: {"vacancy": vacancy_energy(potential, crystal, energy)})
        attempt("surfaces", lambda: _surfaces(potential, crystal, energy))
    attempt("phonons", lambda: _phonons(potential, element, values["lattice_constant"]))
    ordered = {key: values[key] for key in PROPERTIES if key in values}
    return CrystalReport(potential.card.name, element.symbol, ordered, skipped)


def judge_crystals(
    potential: Potential, elements: list[Element], on_step: Callable[[str], None] | None = None
) -> list[CrystalReport]:
    """Return the properties of several crystals; one that the potential does not have is in ``skipped``.

    Parameters
    ----------
    potential
        The potential.
    elements
        Those it does not know are left out.
    on_step
        Called with what is computed next, such as ``"Cu: phonons"``.
    """
    found = []
    for element in known(potential, elements):
        say = None if on_step is None else (lambda what, of=element.symbol: on_step(f"{of}: {what}"))
        try:
            found.append(judge_crystal(potential, element, say))
        except MlffError as error:
            found.append(CrystalReport(potential.card.name, element.symbol, {}, {"lattice": first_line(error)}))
    return found


def known(potential: Potential, elements: list[Element]) -> list[Element]:
    """Return those whose element the potential knows."""
    return [one for one in elements if atomic_numbers[one.symbol] in potential.card.elements]


def _elastic(potential: Potential, crystal: Atoms) -> dict[str, float]:
    c11, c12, c44 = elastic_constants(potential, crystal)
    return {"bulk_modulus": (c11 + 2.0 * c12) / 3.0, "c11": c11, "c12": c12, "c44": c44}


def _bcc(potential: Potential, symbol: str, fcc: Atoms) -> float:
    """Return the energy of an atom of the body-centred crystal at its own volume, eV."""
    # Two of the four atoms of the cubic cell.
    a = float((fcc.get_volume() / 2.0) ** (1.0 / 3.0))
    return relaxed_cubic(potential, bulk(symbol, "bcc", a=a, cubic=True))[1]


def _surfaces(potential: Potential, crystal: Atoms, energy: float) -> dict[str, float]:
    found = surface_energies(potential, crystal, energy, PLANES)
    return {"surface_" + "".join(map(str, plane)): value for plane, value in zip(PLANES, found, strict=True)}


def _phonons(potential: Potential, element: Element, a: float) -> dict[str, float]:
    phonons = Phonons(potential, bulk(element.symbol, element.prototype, a=a), REPEATS * CUBIC)
    lowest = {"phonon_lowest": phonons.lowest()}
    if len(phonons.primitive) > 1:
        return lowest
    # Of one atom there are three: two transverse ones alike, below the longitudinal one.
    x, ell = phonons.frequencies(X), phonons.frequencies(L)
    return {
        "phonon_x_longitudinal": float(x[2]),
        "phonon_x_transverse": float(x[:2].mean()),
        "phonon_l_longitudinal": float(ell[2]),
        "phonon_l_transverse": float(ell[:2].mean()),
        **lowest,
    }
