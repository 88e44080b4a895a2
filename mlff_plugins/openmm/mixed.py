"""``create_mixed_system``: a model for part of a System, and a force field for the rest and between the two."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import openmm
import openmm.app

from mlff_core import load
from mlff_core.errors import InputError, UnsupportedError
from mlff_plugins.openmm.bonded import BONDED, split_bonded
from mlff_plugins.openmm.embedded_force import embedded_force
from mlff_plugins.openmm.force import create_force
from mlff_plugins.openmm.point_charges import COULOMB_KJ_MOL_NM

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential

LAMBDA = "lambda_interpolate"
"""Global parameter of the Context: 0 is the force field alone, 1 the mixed system; openmm-ml's name for it."""

EMBEDDINGS = ("mechanical", "electrostatic")

UNTOUCHED = (
    openmm.CMMotionRemover,
    openmm.AndersenThermostat,
    openmm.MonteCarloBarostat,
    openmm.MonteCarloAnisotropicBarostat,
    openmm.MonteCarloMembraneBarostat,
    openmm.MonteCarloFlexibleBarostat,
    openmm.CustomExternalForce,
    openmm.GBSAOBCForce,
    openmm.CustomGBForce,
)
"""Forces without energy among atoms, and implicit solvents. The latter are kept: the model describes its atoms in
vacuum, and the force field's charges of all atoms polarize the solvent, as in openmm-ml."""

PAIR_ENERGY = f"{COULOMB_KJ_MOL_NM}*charge_product/r + 4*epsilon*((sigma/r)^12 - (sigma/r)^6)"


def create_mixed_system(
    topology: openmm.app.Topology,
    mm_system: openmm.System,
    ml_atoms: Iterable[int],
    model: str | Path | Potential,
    *,
    embedding: str = "mechanical",
    backend: str = "auto",
    interpolate: bool = False,
    remove_constraints: bool = True,
    charge: float | None = None,
    spin_multiplicity: int | None = None,
) -> openmm.System:
    """Return a new System in which the model describes some molecules, embedded in a force field.

    Bonded terms among ML atoms only, and Lennard-Jones and Coulomb energies between them, are replaced by the model's
    energy. The force field's Lennard-Jones interactions of ML atoms with others stay, and so does implicit solvent.
    With a cutoff or Ewald method, interactions of ML atoms with their own periodic images stay too, as in openmm-ml for
    a model without long-range terms.

    With mechanical embedding, the force field's charges of the ML atoms act on other atoms. With electrostatic
    embedding, the model's charges do, which change with the geometry of the ML atoms: to the force field's Coulomb
    energy is added Σ_i Σ_j (q_i − q⁰_i) Q_j k f(r_ij), in which q_i is the model's charge of ML atom i, q⁰_i its charge
    in the force field, and Q_j the charge of another particle. All forces are exact, those through dq/dx included. The
    model's charges are shifted alike within each molecule, so that they sum to its charge in the force field. There is
    no damping at short distances, as in the force field whose Lennard-Jones terms go with it.

    f is 1/r without a cutoff, and OpenMM's reaction field with a cutoff; so the sum of both terms is the Coulomb energy
    of the NonbondedForce with the model's charges. With Ewald methods, all that the force field's charges do is in the
    lattice sum, and the differences, which add up to zero in each molecule, act up to the cutoff only, with
    f = 1/r + r²/(2 r_c³) − 3/(2 r_c): energy and force are continuous there. Other atoms do not polarize the model's
    charges.

    Parameters
    ----------
    topology
        Topology of the whole System; a periodic box in the System makes the model periodic.
    mm_system
        The whole System with the force field; it is not changed.
    ml_atoms
        Indices of the atoms of the model; they must be whole molecules, since bonds are not cut.
    model
        A name, a path, or a potential.
    embedding
        ``"mechanical"`` or ``"electrostatic"``; the latter needs a student with charges.
    backend
        As in :func:`~mlff_plugins.openmm.create_force`; interpolation and electrostatic embedding need
        ``"pythonforce"``.
    interpolate
        Give the Context a parameter ``lambda_interpolate``: 0 is the force field alone, 1 (as at the start) the mixed
        System, and energies in between are linear in it.
    remove_constraints
        Remove constraints between ML atoms, since the model describes their bonds.
    charge
        Total charge of the ML atoms, e; None means the sum of their formal charges in the topology, else neutral.
    spin_multiplicity
        2S + 1 of the ML atoms; None means singlet.

    Raises
    ------
    InputError
        Atoms do not exist, the topology has another size than the System, the System is empty, the embedding is
        unknown, or the force field's charges do not fit electrostatic embedding.
    UnsupportedError
        There is a bond between an ML atom and another one, a force that cannot be split, a CustomNonbondedForce with
        interpolation, or the model does not support an element or the charge; or, with electrostatic embedding, the
        model has no charges, or there is implicit solvent.
    """
    if embedding not in EMBEDDINGS:
        raise InputError(f"embedding must be one of {', '.join(EMBEDDINGS)}, got {embedding!r}")
    atoms = [int(atom) for atom in ml_atoms]
    if topology.getNumAtoms() != mm_system.getNumParticles():
        raise InputError(
            f"the topology has {topology.getNumAtoms()} atoms, the System {mm_system.getNumParticles()} particles; "
            "give the topology that the System was made from"
        )
    chosen = set(atoms)
    for bond in topology.bonds():
        if (bond.atom1.index in chosen) != (bond.atom2.index in chosen):
            raise UnsupportedError(
                f"the bond of atoms {bond.atom1.index} and {bond.atom2.index} leaves the ML atoms; choose whole "
                'molecules, or use openmm-ml\'s MLPotential("mlff", …), which caps bonds with link atoms'
            )
    if embedding == "electrostatic" and backend == "torchforce":
        raise UnsupportedError("electrostatic embedding needs backend='pythonforce'; a TorchForce has no point charges")
    if interpolate and backend == "torchforce":
        # openmmtorch 1.10 ends the process with a segmentation fault when its force is copied, as CustomCVForce does.
        raise UnsupportedError("interpolation copies its forces, which openmmtorch cannot; use backend='pythonforce'")
    if interpolate and backend == "auto":
        backend = "pythonforce"
    potential = load(model) if isinstance(model, str | Path) else model
    periodic = mm_system.usesPeriodicBoundaryConditions()
    if embedding == "electrostatic":
        force = embedded_force(
            potential, topology, mm_system, atoms, charge=charge, spin_multiplicity=spin_multiplicity
        )
    else:
        force = create_force(
            potential,
            topology,
            atoms=atoms,
            backend=backend,
            periodic=periodic,
            charge=charge,
            spin_multiplicity=spin_multiplicity,
        )
    mixed = copy.deepcopy(mm_system)
    removed: list[openmm.Force] = []
    for index in reversed(range(mixed.getNumForces())):
        if interpolate and isinstance(mixed.getForce(index), openmm.CustomNonbondedForce):
            raise UnsupportedError(
                "the energy of ML atoms in a CustomNonbondedForce cannot be separated from its rest, so it cannot be "
                "interpolated; leave interpolate off, as openmm-ml requires too"
            )
        replaced = _take_out(mixed.getForce(index), atoms, periodic, removed)
        if replaced is not None:
            mixed.removeForce(index)
            mixed.addForce(replaced)
    if remove_constraints:
        for index in reversed(range(mixed.getNumConstraints())):
            first, second, _ = mixed.getConstraintParameters(index)
            if first in chosen and second in chosen:
                mixed.removeConstraint(index)
    if not interpolate:
        mixed.addForce(force)
        return mixed
    terms = [f"mm{k}" for k in range(len(removed))]
    combined = openmm.CustomCVForce(f"{LAMBDA}*ml + (1 - {LAMBDA})*({' + '.join(terms) or '0'})")
    combined.addGlobalParameter(LAMBDA, 1.0)
    combined.addCollectiveVariable("ml", force)
    for name, term in zip(terms, removed, strict=True):
        combined.addCollectiveVariable(name, term)
    mixed.addForce(combined)
    return mixed


def _take_out(
    force: openmm.Force, atoms: list[int], periodic: bool, removed: list[openmm.Force]
) -> openmm.Force | None:
    """Remove the terms among ``atoms`` from a force of the mixed System, and append them to ``removed``.

    Returns the replacement of the force, or None if it was changed in place or holds no such terms.
    """
    chosen = set(atoms)
    if isinstance(force, BONDED):
        kept, taken = split_bonded(force, chosen)
        if taken is None:
            return None
        removed.append(taken)
        return kept
    if isinstance(force, openmm.NonbondedForce):
        removed.append(_exclude_pairs(force, atoms, periodic))
        return None
    if isinstance(force, openmm.CustomNonbondedForce):
        excluded = {frozenset(force.getExclusionParticles(index)) for index in range(force.getNumExclusions())}
        for first, second in itertools.combinations(atoms, 2):
            if frozenset((first, second)) not in excluded:
                force.addExclusion(first, second)
        return None
    if isinstance(force, UNTOUCHED):
        return None
    raise UnsupportedError(
        f"a {type(force).__name__} mixes terms that mechanical embedding must separate, and is not supported; "
        "add it to the mixed System afterwards if it does not act among the ML atoms"
    )


def _exclude_pairs(force: openmm.NonbondedForce, atoms: list[int], periodic: bool) -> openmm.CustomBondForce:
    """Make every pair of ``atoms`` an exception without interaction; return the previous interactions.

    With Ewald methods an exception replaces the direct Coulomb energy of the pair. The difference of two exceptions is
    therefore a plain Coulomb term for every method. A pair without an exception gets the energy of one.
    """
    before: dict[tuple[int, int], list[float]] = {}
    for index in range(force.getNumExceptions()):
        first, second, *values = force.getExceptionParameters(index)
        before[min(first, second), max(first, second)] = _plain(values)
    particles = {atom: _plain(force.getParticleParameters(atom)) for atom in atoms}
    taken = openmm.CustomBondForce(PAIR_ENERGY)
    for name in ("charge_product", "sigma", "epsilon"):
        taken.addPerBondParameter(name)
    taken.setUsesPeriodicBoundaryConditions(periodic)
    force.setExceptionsUsePeriodicBoundaryConditions(periodic)
    for k, first in enumerate(atoms):
        for second in atoms[:k]:
            pair = (min(first, second), max(first, second))
            (q1, s1, e1), (q2, s2, e2) = particles[first], particles[second]
            charge_product, sigma, epsilon = before.get(pair, [q1 * q2, 0.5 * (s1 + s2), (e1 * e2) ** 0.5])
            force.addException(*pair, 0.0, 1.0, 0.0, True)
            if charge_product or epsilon:
                taken.addBond(*pair, [charge_product, sigma, epsilon])
    return taken


def _plain(values: Iterable[openmm.unit.Quantity]) -> list[float]:
    """Return charge (product), e or e², sigma, nm, and epsilon, kJ/mol, as numbers."""
    return [value.value_in_unit_system(openmm.unit.md_unit_system) for value in values]
