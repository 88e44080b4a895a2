"""Splitting of OpenMM's bonded forces into the terms among some atoms and all other terms."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import openmm

BONDED = (
    openmm.HarmonicBondForce,
    openmm.HarmonicAngleForce,
    openmm.PeriodicTorsionForce,
    openmm.RBTorsionForce,
    openmm.CMAPTorsionForce,
    openmm.CustomBondForce,
    openmm.CustomAngleForce,
    openmm.CustomTorsionForce,
)
"""Forces that are sums over terms of a few named atoms."""

TERMS = {"Bonds": "Bond", "Angles": "Angle", "Torsions": "Torsion"}
"""Names in OpenMM's XML: the list of terms of a force, and one term."""

ATOMS = ("p1", "p2", "p3", "p4", "a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4")
"""Attributes of a term that are atoms."""


def split_bonded(force: openmm.Force, atoms: set[int]) -> tuple[openmm.Force, openmm.Force | None]:
    """Return (the force without the terms whose atoms are all among ``atoms``, a force of those terms or None).

    OpenMM's own XML is used, since it describes all kinds of force in the same way.
    """
    text = openmm.XmlSerializer.serialize(force)
    kept, taken = ElementTree.fromstring(text), ElementTree.fromstring(text)
    n_taken = 0
    for tree, wanted in ((kept, False), (taken, True)):
        for terms, term in _terms(tree):
            inside = all(int(term.attrib[name]) in atoms for name in ATOMS if name in term.attrib)
            if inside is not wanted:
                terms.remove(term)
            elif wanted:
                n_taken += 1
    if n_taken == 0:
        return copy.deepcopy(force), None
    return _deserialized(kept), _deserialized(taken)


def _terms(tree: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
    for plural, singular in TERMS.items():
        for terms in tree.findall(plural):
            for term in list(terms.findall(singular)):
                yield terms, term


def _deserialized(tree: ElementTree.Element) -> Any:
    return openmm.XmlSerializer.deserialize(ElementTree.tostring(tree, encoding="unicode"))
