"""The charge of each molecule of a structure, found from its bonds by RDKit's bond perception."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.symbols import Symbols

from mlff_core.errors import InputError
from mlff_core.structures.fragments import Fragments

CHARGES = (0, 1, -1, 2, -2, 3, -3)
"""Charges that are tried, e."""

COST = {
    ("C", 1): 4.0,
    ("C", -1): 2.5,
    ("N", 1): 1.0,
    ("N", -1): 1.5,
    ("O", 1): 2.5,
    ("O", -1): 1.0,
    ("P", 1): 1.0,
    ("S", 1): 1.5,
    ("S", -1): 1.0,
}
"""Cost of a charged atom in a molecule, higher for unusual ones; any other costs :data:`RARE`."""
RARE = 5.0
CUMULENE = 2.0
"""Cost of a nitrogen cation with two neighbours: it occurs in azides, rarely elsewhere."""
COST_OF_CHARGE = 0.5
"""Cost of each e of the whole molecule: nitromethane is CH3NO2, not CH3NO2²⁻, which has the same bonds."""


def fragment_charges(fragments: Fragments, atomic_numbers: Sequence[int], total: float) -> list[int]:
    """Return the charge of each molecule, e.

    A molecule gets the charge for which RDKit finds bond orders for all its bonds and the charged atoms have the lowest
    total cost (:data:`COST`).

    Parameters
    ----------
    fragments
        The molecules.
    atomic_numbers
        Atomic numbers of all atoms, shape (n_atoms,).
    total
        Charge of the structure, e.

    Raises
    ------
    InputError
        No charge fits the bonds of a molecule, more than one does, or the charges do not add up to the total.
    """
    numbers = np.asarray(atomic_numbers)
    charges = [
        _charge(tuple(numbers[atoms].tolist()), tuple(map(tuple, bonds.tolist())))
        for atoms, bonds in zip(fragments.atoms, fragments.bonds, strict=True)
    ]
    if sum(charges) != total:
        found = " + ".join(
            f"{Symbols(numbers[atoms]).get_chemical_formula()} {charge:+d}"
            for atoms, charge in zip(fragments.atoms, charges, strict=True)
        )
        raise InputError(
            f"the molecules' charges by their bonds, {found}, add up to {sum(charges):+d} e, but the total charge is "
            f"{total:+g} e; set the total charge, or check the structure for broken bonds"
        )
    return charges


@functools.lru_cache(maxsize=4096)
def _charge(numbers: tuple[int, ...], bonds: tuple[tuple[int, int], ...]) -> int:
    """Return the charge that fits the bonds, e; it is cached, so that frames of one molecule share it."""
    electrons = sum(numbers)
    found: dict[int, float] = {}
    for charge in CHARGES:
        if (electrons - charge) % 2 == 0 and (cost := _cost(numbers, bonds, charge)) is not None:
            found[charge] = cost
    formula = Symbols(numbers).get_chemical_formula()
    if not found:
        raise InputError(
            f"no charge of a closed-shell molecule fits the bonds of {formula}; it is a radical, or its bonds are "
            "stretched or broken; leave it out"
        )
    best = [charge for charge, cost in found.items() if cost == min(found.values())]
    if len(best) > 1:
        raise InputError(
            f"the charge of {formula} is not clear from its bonds: {', '.join(f'{charge:+d}' for charge in best)} "
            "e fit them; leave it out, or label its molecules separately"
        )
    return best[0]


def _cost(numbers: tuple[int, ...], bonds: tuple[tuple[int, int], ...], charge: int) -> float | None:
    """Return the cost of the bond orders that RDKit finds for a charge; None if it finds none."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    if len(numbers) == 1:
        is_known = (numbers[0] == 1 and charge == 1) or (numbers[0] in (9, 17, 35, 53) and charge == -1)
        return 0.0 if is_known else None
    elements, n_nitro = _perceived(numbers, bonds)
    written = charge - n_nitro
    molecule = Chem.RWMol()
    for number in elements:
        atom = Chem.Atom(chemical_symbols[number])
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
    for i, j in bonds:
        molecule.AddBond(i, j, Chem.BondType.SINGLE)
    with rdBase.BlockLogs():
        try:
            rdDetermineBonds.DetermineBondOrders(
                molecule, charge=written, allowChargedFragments=True, embedChiral=False
            )
        except ValueError:
            return None
    atoms = list(molecule.GetAtoms())
    charged = [atom for atom in atoms if atom.GetFormalCharge()]
    if sum(atom.GetFormalCharge() for atom in charged) != written or any(a.GetNumRadicalElectrons() for a in atoms):
        return None
    return COST_OF_CHARGE * abs(charge) + sum(map(_cost_of_atom, charged))


def _cost_of_atom(atom: Any) -> float:
    """Return the cost of a charged RDKit atom."""
    kind = atom.GetSymbol(), atom.GetFormalCharge()
    if kind == ("N", 1):
        if sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds()) < 4:
            return RARE  # a nitrenium ion
        return COST[kind] if atom.GetDegree() > 2 else CUMULENE
    return COST.get(kind, RARE)


def _perceived(numbers: tuple[int, ...], bonds: tuple[tuple[int, int], ...]) -> tuple[list[int], int]:
    """Return the elements for RDKit, and the number of nitro groups, by which its molecule is more negative.

    RDKit lacks phosphonium ions: phosphorus in one is replaced by nitrogen. It often finds no bond orders beside a
    nitro group: carbon in its place makes a carboxylate, which has the same bonds.
    """
    neighbors: list[list[int]] = [[] for _ in numbers]
    for i, j in bonds:
        neighbors[i].append(j)
        neighbors[j].append(i)
    ends = {k for k, near in enumerate(neighbors) if len(near) == 1 and numbers[k] in (7, 8, 16)}
    found = list(numbers)
    n_nitro = 0
    for k, near in enumerate(neighbors):
        if numbers[k] == 15 and len(near) == 4 and not ends.intersection(near):
            found[k] = 7
        elif numbers[k] == 7 and len(near) == 3 and sum(numbers[i] == 8 and i in ends for i in near) >= 2:
            found[k] = 6
            n_nitro += 1
    return found, n_nitro
