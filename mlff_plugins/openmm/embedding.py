"""What electrostatic embedding takes from a force field's System: its charges, and how they act."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openmm
import openmm.app
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mlff_core.errors import InputError, UnsupportedError
from mlff_plugins.openmm.point_charges import Screening

EWALD = (openmm.NonbondedForce.Ewald, openmm.NonbondedForce.PME, openmm.NonbondedForce.LJPME)
WHOLE = 0.02
"""Deviation from a whole number, e, that the charge of a molecule may have by the rounding of a force field."""

IMPLICIT_SOLVENT = (openmm.GBSAOBCForce, openmm.CustomGBForce)


@dataclass(frozen=True)
class Embedding:
    """The electrostatic surroundings of the ML atoms.

    Attributes
    ----------
    reference
        Charges of the ML atoms in the force field, shape (n_atoms,), e.
    molecule
        Index of the molecule of each ML atom, shape (n_atoms,).
    particles
        Indices of the other particles that have charges.
    charges
        Their charges, shape (n_charges,), e.
    screening
        How charges act on each other.
    """

    reference: npt.NDArray[np.float64]
    molecule: npt.NDArray[np.int64]
    particles: tuple[int, ...]
    charges: npt.NDArray[np.float64]
    screening: Screening

    @property
    def totals(self) -> npt.NDArray[np.float64]:
        """Charge of each molecule in the force field, shape (n_molecules,), e."""
        sums: npt.NDArray[np.float64] = np.bincount(self.molecule, self.reference).astype(np.float64)
        return sums


def read_embedding(topology: openmm.app.Topology, system: openmm.System, atoms: Sequence[int]) -> Embedding:
    """Return the electrostatic surroundings of the ML atoms, by the force field.

    Parameters
    ----------
    topology
        Its bonds make the molecules.
    system
        The whole System with the force field.
    atoms
        Indices of the ML atoms, whole molecules.

    Raises
    ------
    UnsupportedError
        There is not exactly one NonbondedForce, its charges depend on parameters, it has exceptions between ML atoms
        and others, or there is implicit solvent.
    InputError
        The charges of a molecule do not add up to a whole number.
    """
    for force in system.getForces():
        if isinstance(force, IMPLICIT_SOLVENT):
            raise UnsupportedError(
                f"implicit solvent ({type(force).__name__}) screens the force field's charges and not the model's; "
                "use explicit solvent, or embedding='mechanical'"
            )
    found = [force for force in system.getForces() if isinstance(force, openmm.NonbondedForce)]
    if len(found) != 1:
        raise UnsupportedError(
            f"electrostatic embedding reads charges from one NonbondedForce, but the System has {len(found)}"
        )
    (force,) = found
    if force.getNumParticleParameterOffsets():
        raise UnsupportedError(
            "the charges of the NonbondedForce depend on parameters of the Context (particle parameter offsets), which "
            "electrostatic embedding does not follow; use embedding='mechanical'"
        )
    chosen = set(atoms)
    for index in range(force.getNumExceptions()):
        first, second, *_ = force.getExceptionParameters(index)
        if (first in chosen) != (second in chosen):
            raise UnsupportedError(
                f"the NonbondedForce has an exception for atoms {first} and {second}, of which one is an ML atom; "
                "electrostatic embedding has no scaled interactions between the two parts"
            )
    charges = np.array([force.getParticleParameters(k)[0]._value for k in range(force.getNumParticles())])
    others = tuple(k for k in range(len(charges)) if k not in chosen and charges[k] != 0.0)
    embedding = Embedding(
        reference=charges[list(atoms)],
        molecule=_molecules(topology, atoms),
        particles=others,
        charges=charges[list(others)],
        screening=_screening(force),
    )
    for molecule, total in enumerate(embedding.totals):
        if abs(total - round(total)) > WHOLE:
            first = atoms[int(np.argmax(embedding.molecule == molecule))]
            raise InputError(
                f"the force field's charges of the molecule with atom {first} add up to {total:+.3f} e, which is no "
                "whole number; check that the topology has all bonds and the force field the charges of this molecule"
            )
    return embedding


def total_of(embedding: Embedding, charge: float | None) -> float:
    """Return the charge of the ML atoms, e: that of the force field.

    Raises
    ------
    InputError
        Another one was given.
    """
    total = float(round(embedding.totals.sum()))
    if charge is not None and charge != total:
        raise InputError(
            f"the charge of the ML atoms is {charge:+g} e, but their charges in the force field add up to {total:+g} "
            "e; correct one of them"
        )
    return total


def _screening(force: openmm.NonbondedForce) -> Screening:
    method = force.getNonbondedMethod()
    if method == openmm.NonbondedForce.NoCutoff:
        return Screening(None, math.inf, False)
    cutoff = force.getCutoffDistance().value_in_unit(openmm.unit.nanometer)
    dielectric = math.inf if method in EWALD else float(force.getReactionFieldDielectric())
    return Screening(cutoff, dielectric, method != openmm.NonbondedForce.CutoffNonPeriodic)


def _molecules(topology: openmm.app.Topology, atoms: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the number of each atom's molecule, shape (n_atoms,), counted from 0."""
    place = {atom: k for k, atom in enumerate(atoms)}
    bonds = [
        (place[bond.atom1.index], place[bond.atom2.index])
        for bond in topology.bonds()
        if bond.atom1.index in place and bond.atom2.index in place
    ]
    first, second = np.array(bonds, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(bonds)), (first, second)), shape=(len(atoms), len(atoms)))
    numbers: npt.NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers
