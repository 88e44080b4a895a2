"""Measured properties of crystals of elements, with their sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from mlff_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = (
    "lattice constants: room temperature; C. Kittel, Introduction to Solid State Physics, 8th ed. (2005), ch. 1",
    "C11, C12, C44: room temperature; CRC Handbook of Chemistry and Physics, Elastic Constants of Single Crystals; the "
    "bulk modulus is (C11 + 2 C12) / 3",
    "vacancies: H. Ullmaier (ed.), Landolt-Börnstein III/25, Atomic Defects in Metals (1991)",
    "surfaces: a mean over all orientations at 0 K, from the tension of the liquid; W. R. Tyson, W. A. Miller, "
    "Surf. Sci. 62, 267 (1977), doi:10.1016/0039-6028(77)90442-3",
)
"""Where the values are from. A potential is judged at 0 K without zero-point motion, where lattice constants are a few
tenths of a percent smaller than at room temperature, and elastic constants 3 to 9 % larger."""


@dataclass(frozen=True)
class Element:
    """A crystal of one element, and what was measured of it."""

    symbol: str
    prototype: str
    """``"fcc"`` or ``"diamond"``."""
    lattice_constant: float
    """Å."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """By the keys of :data:`mlff_core.judging.crystals.properties.PROPERTIES`, in the units given there."""


def _element(
    symbol: str,
    prototype: str,
    a: float,
    elastic: tuple[float, float, float],
    vacancy: float | None = None,
    surface: float | None = None,
) -> Element:
    c11, c12, c44 = elastic
    measured = {"lattice_constant": a, "bulk_modulus": (c11 + 2 * c12) / 3, "c11": c11, "c12": c12, "c44": c44}
    if vacancy is not None:
        measured["vacancy"] = vacancy
    if surface is not None:
        measured |= {"surface_111": surface, "surface_100": surface, "surface_110": surface}
    return Element(symbol, prototype, a, MappingProxyType(measured))


ELEMENTS = {
    element.symbol: element
    for element in (
        _element("Al", "fcc", 4.050, (106.75, 60.41, 28.34), 0.67, 1.143),
        _element("Ni", "fcc", 3.524, (248.1, 154.9, 124.2), 1.79, 2.380),
        _element("Cu", "fcc", 3.615, (168.3, 122.1, 75.7), 1.28, 1.790),
        _element("Pd", "fcc", 3.891, (227.10, 176.04, 71.73), 1.85, 2.003),
        _element("Ag", "fcc", 4.086, (123.99, 93.67, 46.12), 1.11, 1.246),
        _element("Pt", "fcc", 3.924, (346.70, 250.70, 76.50), 1.35, 2.489),
        _element("Au", "fcc", 4.078, (192.44, 162.98, 42.00), 0.93, 1.506),
        _element("Si", "diamond", 5.431, (165.78, 63.94, 79.62)),
    )
}
"""The crystals that are judged, by symbol."""


def element(symbol: str) -> Element:
    """Return the crystal of an element.

    Raises
    ------
    InputError
        There is none of this symbol.
    """
    if symbol not in ELEMENTS:
        raise InputError(f"there is no crystal of {symbol!r} to judge; there are {', '.join(ELEMENTS)}")
    return ELEMENTS[symbol]
