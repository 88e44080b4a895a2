"""Crystals of several potentials beside each other and beside experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlff_core.judging.crystals.experiment import SOURCES, element
from mlff_core.judging.crystals.properties import PROPERTIES, CrystalReport

GROUPS = {
    "lattice constants": ("lattice_constant",),
    "elastic constants": ("bulk_modulus", "c11", "c12", "c44"),
    "vacancies": ("vacancy",),
    "surfaces": ("surface_111", "surface_100", "surface_110"),
    "phonons": ("phonon_x_longitudinal", "phonon_x_transverse", "phonon_l_longitudinal", "phonon_l_transverse"),
}
"""Properties whose deviations are reported together."""


@dataclass(frozen=True)
class Deviation:
    """How far a group of properties is from another potential's, over all crystals that both have."""

    group: str
    mean: float
    """Mean of |value / reference − 1|."""
    largest: float
    where: str
    """The crystal and property of the largest."""
    count: int


def deviations(found: Sequence[CrystalReport], reference: Sequence[CrystalReport]) -> list[Deviation]:
    """Return the relative deviations of a potential's properties from those of another, by group.

    Parameters
    ----------
    found, reference
        Reports of the two potentials.
    """
    of_reference = {one.symbol: one.values for one in reference}
    reported = []
    for group, keys in GROUPS.items():
        pairs = [
            (abs(one.values[key] / of_reference[one.symbol][key] - 1.0), f"{one.symbol} {PROPERTIES[key].label}")
            for one in found
            for key in keys
            if key in one.values and key in of_reference.get(one.symbol, {})
        ]
        if pairs:
            largest, where = max(pairs)
            reported.append(Deviation(group, sum(x for x, _ in pairs) / len(pairs), largest, where, len(pairs)))
    return reported


def to_json(reports: Sequence[Sequence[CrystalReport]]) -> dict[str, Any]:
    """Return everything as plain values.

    Parameters
    ----------
    reports
        Those of each potential; the last potential is the one that deviations are from.
    """
    symbols = list(dict.fromkeys(one.symbol for rows in reports for one in rows))
    last = reports[-1] if reports else ()
    return {
        "units": {key: unit for key, (_, unit) in PROPERTIES.items()},
        "experiment": {symbol: dict(element(symbol).measured) for symbol in symbols},
        "sources": list(SOURCES),
        "models": [
            {
                "model": rows[0].model,
                "crystals": {one.symbol: one.values for one in rows},
                "skipped": {one.symbol: one.skipped for one in rows if one.skipped},
                "deviations": []
                if rows is last
                else [
                    {
                        "from": last[0].model,
                        "group": one.group,
                        "mean": one.mean,
                        "largest": one.largest,
                        "where": one.where,
                        "n": one.count,
                    }
                    for one in deviations(rows, last)
                ],
            }
            for rows in reports
            if rows
        ],
    }
