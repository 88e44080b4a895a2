"""ML/MM: the removed and added energies, term by term, and the same through openmm-ml.

Over 300 lines, in one file because its tests share one system of both kinds of atoms.
"""

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.structures.batch import single
from mlff_core.testing import small_student
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV
from mlff_plugins.openmm import create_mixed_system
from mlff_plugins.openmm.mixed import LAMBDA

BACKENDS = ["torchforce", "pythonforce"]
ML = [0, 1, 2, 3]
BOX_NM = 2.0


def peroxide_in_water(periodic, method):
    """Return (topology, System by a force field, positions in nm) of H2O2 and two waters."""
    topology = app.Topology()
    chain = topology.addChain()
    names = [["O", "O", "H", "H"], ["O", "H", "H"], ["O", "H", "H"]]
    bonds = [[(0, 1), (0, 2), (1, 3)], [(0, 1), (0, 2)], [(0, 1), (0, 2)]]
    shape = [
        [[0, 0, 0], [1.45, 0, 0], [-0.3, 0.92, 0.1], [1.75, -0.3, 0.87]],
        [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]],
        [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]],
    ]
    offsets = [[0, 0, 0], [0.5, 3.0, 0.5], [-2.5, -1.0, -2.0]]
    system, positions = openmm.System(), []
    stretch, bend, twist = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    stretch.setForceGroup(1), bend.setForceGroup(2), twist.setForceGroup(3)
    pairs = openmm.NonbondedForce()
    pairs.setForceGroup(4)
    all_bonds = []
    for symbols, links, places, offset in zip(names, bonds, shape, offsets, strict=True):
        residue = topology.addResidue("X", chain)
        atoms = [topology.addAtom(s, app.Element.getBySymbol(s), residue) for s in symbols]
        start = atoms[0].index
        for symbol in symbols:
            system.addParticle(16.0 if symbol == "O" else 1.0)
            heavy = symbol == "O"
            charge = {4: -0.4, 3: -0.8}[len(symbols)] if heavy else 0.4
            pairs.addParticle(charge, 0.31 if heavy else 0.12, 0.65 if heavy else 0.05)
        for i, j in links:
            topology.addBond(atoms[i], atoms[j])
            stretch.addBond(start + i, start + j, 0.1 if i == 0 and j > 1 else 0.14, 4e5)
            all_bonds.append((start + i, start + j))
        if len(symbols) == 4:
            bend.addAngle(1, 0, 2, 1.7, 400), bend.addAngle(0, 1, 3, 1.7, 400)
            twist.addTorsion(2, 0, 1, 3, 2, 0.3, 5.0)
            system.addConstraint(0, 2, 0.097)
        else:
            bend.addAngle(start + 1, start, start + 2, 1.8, 400)
        positions += (np.array(places) + offset).tolist()
    pairs.createExceptionsFromBonds(all_bonds, 0.8333, 0.5)
    pairs.setNonbondedMethod(method)
    for force in (stretch, bend, twist, pairs):
        system.addForce(force)
    if periodic:
        box = BOX_NM * np.eye(3)
        system.setDefaultPeriodicBoxVectors(*box)
        topology.setPeriodicBoxVectors(box * unit.nanometer)
        pairs = system.getForce(3)
        pairs.setCutoffDistance(0.9)
        pairs.setEwaldErrorTolerance(1e-6)
    return topology, system, np.array(positions) / ANGSTROM_PER_NM + (0.8 if periodic else 0)


CASES = [(False, openmm.NonbondedForce.NoCutoff), (True, openmm.NonbondedForce.PME)]
IDS = ["no cutoff", "PME"]


def energies(system, positions_nm, parameters=None):
    """Return (energies of groups 0 to 5, forces, Context) in kJ/mol and nm."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions_nm)
    for name, value in (parameters or {}).items():
        context.setParameter(name, value)
    groups = [context.getState(energy=True, groups={k}).getPotentialEnergy()._value for k in range(6)]
    return groups, context.getState(forces=True).getForces(asNumpy=True)._value, context


def model_energy(student, topology, positions_nm, periodic):
    numbers = [atom.element.atomic_number for atom in topology.atoms()]
    cell = BOX_NM * ANGSTROM_PER_NM * np.eye(3) if periodic else None
    batch = single(positions_nm[ML] * ANGSTROM_PER_NM, [numbers[k] for k in ML], cell, periodic, dtype=torch.float64)
    return float(student.predict(batch).energy) * KJ_MOL_PER_EV


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("periodic", "method"), CASES, ids=IDS)
def test_each_term_among_ml_atoms_is_replaced_and_no_other(periodic, method, backend):
    topology, system, positions = peroxide_in_water(periodic, method)
    student = small_student(dtype=torch.float64, kernel="reference")
    before, _, _ = energies(system, positions)
    mixed = create_mixed_system(topology, system, ML, student, backend=backend)
    after, _, _ = energies(mixed, positions)

    def distance(i, j):
        return np.linalg.norm(positions[i] - positions[j])

    def angle(i, j, k):
        a, b = positions[i] - positions[j], positions[k] - positions[j]
        return np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    stretch = sum(0.5 * 4e5 * (distance(i, j) - r0) ** 2 for i, j, r0 in ((0, 1, 0.14), (0, 2, 0.1), (1, 3, 0.14)))
    bend = sum(0.5 * 400 * (angle(*atoms) - 1.7) ** 2 for atoms in ((1, 0, 2), (0, 1, 3)))
    # Of six pairs in H2O2, bonds and angles are excluded; one 1-4 pair, H and H, is left, scaled.
    r = distance(2, 3)
    pair = 0.8333 * 138.935456 * 0.16 / r + 0.5 * 4 * 0.05 * ((0.12 / r) ** 12 - (0.12 / r) ** 6)
    assert before[1] - after[1] == pytest.approx(stretch, abs=1e-6)
    assert before[2] - after[2] == pytest.approx(bend, abs=1e-6)
    assert after[3] == pytest.approx(0, abs=1e-9)
    assert before[4] - after[4] == pytest.approx(pair, abs=1e-3 if periodic else 1e-6)
    assert after[0] == pytest.approx(model_energy(student, topology, positions, periodic), abs=1e-5)
    assert system.getNumConstraints() == 1
    assert mixed.getNumConstraints() == 0
    assert energies(system, positions)[0] == before


@pytest.mark.parametrize(("periodic", "method"), CASES, ids=IDS)
def test_lambda_leads_linearly_from_the_force_field_to_the_mixed_system(periodic, method):
    topology, system, positions = peroxide_in_water(periodic, method)
    student = small_student(dtype=torch.float64, kernel="reference")
    mm, mm_forces, _ = energies(system, positions)
    ml, ml_forces, _ = energies(create_mixed_system(topology, system, ML, student), positions)
    both = create_mixed_system(topology, system, ML, student, interpolate=True)
    for share in (0.0, 0.3, 1.0):
        found, forces, _ = energies(both, positions, {LAMBDA: share})
        assert sum(found) == pytest.approx((1 - share) * sum(mm) + share * sum(ml), abs=2e-4)
        assert np.allclose(forces, (1 - share) * mm_forces + share * ml_forces, rtol=0, atol=2e-2)
    default, _, _ = energies(both, positions)
    assert sum(default) == pytest.approx(sum(ml), abs=2e-4)


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize(("periodic", "method"), CASES, ids=IDS)
def test_energies_are_those_of_openmm_ml_in_every_group(periodic, method, interpolate, tmp_path):
    openmmml = pytest.importorskip("openmmml")
    topology, system, positions = peroxide_in_water(periodic, method)
    student = small_student()
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    theirs = openmmml.MLPotential("mlff", modelPath=str(path)).createMixedSystem(
        topology, system, ML, interpolate=interpolate, backend="pythonforce"
    )
    ours = create_mixed_system(topology, system, ML, path, backend="pythonforce", interpolate=interpolate)
    for share in (0.0, 0.4, 1.0) if interpolate else (None,):
        parameters = None if share is None else {LAMBDA: share}
        wanted, wanted_forces, _ = energies(theirs, positions, parameters)
        found, forces, _ = energies(ours, positions, parameters)
        assert np.allclose(found, wanted, rtol=0, atol=1e-3)
        assert np.allclose(forces, wanted_forces, rtol=0, atol=1e-2)


def with_pairs_by_a_formula(system, topology):
    """Add a CustomNonbondedForce that excludes bonded pairs only, in group 5."""
    force = openmm.CustomNonbondedForce("scale*exp(-r/0.1)*sqrt(b1*b2)")
    force.addGlobalParameter("scale", 300.0)
    force.addPerParticleParameter("b")
    for atom in topology.atoms():
        force.addParticle([1.0 if atom.element.symbol == "O" else 0.3])
    for bond in topology.bonds():
        force.addExclusion(bond.atom2.index, bond.atom1.index)
    if system.usesPeriodicBoundaryConditions():
        force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(0.9)
    force.setForceGroup(5)
    system.addForce(force)
    return force


def with_implicit_solvent(system, topology):
    """Add the OBC model with the charges of the NonbondedForce, in group 5."""
    force = openmm.GBSAOBCForce()
    for atom in topology.atoms():
        charge = system.getForce(3).getParticleParameters(atom.index)[0]
        force.addParticle(charge, 0.15 if atom.element.symbol == "O" else 0.12, 0.8)
    force.setForceGroup(5)
    system.addForce(force)
    return force


def with_implicit_solvent_by_a_formula(system, topology):
    """Add a CustomGBForce, in group 5."""
    force = openmm.CustomGBForce()
    force.addPerParticleParameter("q")
    force.addComputedValue("I", "q2^2/(1 + r)", openmm.CustomGBForce.ParticlePairNoExclusions)
    force.addEnergyTerm("-20*q^2/(1 + I)", openmm.CustomGBForce.SingleParticle)
    for atom in topology.atoms():
        force.addParticle([system.getForce(3).getParticleParameters(atom.index)[0]._value])
    force.setForceGroup(5)
    system.addForce(force)
    return force


ADDED = [with_pairs_by_a_formula, with_implicit_solvent, with_implicit_solvent_by_a_formula]


@pytest.mark.parametrize("add", ADDED)
@pytest.mark.parametrize(("periodic", "method"), CASES, ids=IDS)
def test_pairs_by_a_formula_and_implicit_solvent_are_treated_as_by_openmm_ml(add, periodic, method, tmp_path):
    openmmml = pytest.importorskip("openmmml")
    if periodic and add is not with_pairs_by_a_formula:
        pytest.skip("implicit solvent goes with no box")
    topology, system, positions = peroxide_in_water(periodic, method)
    add(system, topology)
    student = small_student()
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    theirs = openmmml.MLPotential("mlff", modelPath=str(path)).createMixedSystem(
        topology, system, ML, backend="pythonforce"
    )
    ours = create_mixed_system(topology, system, ML, path, backend="pythonforce")
    wanted, wanted_forces, _ = energies(theirs, positions)
    found, forces, _ = energies(ours, positions)
    assert np.allclose(found, wanted, rtol=0, atol=1e-3)
    assert np.allclose(forces, wanted_forces, rtol=0, atol=1e-2)
    assert abs(found[5]) > 0.1
    before = energies(system, positions)[0][5]
    if add is with_pairs_by_a_formula:
        # Of six pairs in H2O2 three are bonded; the others were counted.
        pairs = [(2, 3, 0.3), (0, 3, 0.3**0.5), (1, 2, 0.3**0.5)]
        taken = sum(300 * b * np.exp(-np.linalg.norm(positions[i] - positions[j]) / 0.1) for i, j, b in pairs)
        assert before - found[5] == pytest.approx(taken, abs=1e-3)
    else:
        assert found[5] == pytest.approx(before, abs=1e-9)


def test_interpolation_of_pairs_by_a_formula_is_refused_here_and_by_openmm_ml(tmp_path):
    openmmml = pytest.importorskip("openmmml")
    topology, system, _ = peroxide_in_water(False, openmm.NonbondedForce.NoCutoff)
    with_pairs_by_a_formula(system, topology)
    with pytest.raises(UnsupportedError, match="CustomNonbondedForce"):
        create_mixed_system(topology, system, ML, small_student(), interpolate=True)
    with pytest.raises(NotImplementedError, match="CustomNonbondedForce"):
        openmmml.MLPotential("mlff", modelPath=small_student()).createMixedSystem(
            topology, system, ML, interpolate=True
        )


def test_lambda_leaves_implicit_solvent_alone():
    topology, system, positions = peroxide_in_water(False, openmm.NonbondedForce.NoCutoff)
    with_implicit_solvent(system, topology)
    both = create_mixed_system(topology, system, ML, small_student(), interpolate=True)
    mm = energies(system, positions)[0]
    assert sum(energies(both, positions, {LAMBDA: 0.0})[0]) == pytest.approx(sum(mm), abs=2e-4)
    assert energies(both, positions, {LAMBDA: 0.7})[0][5] == pytest.approx(mm[5], abs=1e-9)


def test_openmm_ml_makes_a_whole_system_of_the_model(tmp_path):
    openmmml = pytest.importorskip("openmmml")
    topology, _, positions = peroxide_in_water(False, openmm.NonbondedForce.NoCutoff)
    student = small_student()
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    system = openmmml.MLPotential("mlff", modelPath=str(path)).createSystem(topology)
    numbers = [atom.element.atomic_number for atom in topology.atoms()]
    wanted = float(student.predict(single(positions * ANGSTROM_PER_NM, numbers)).energy) * KJ_MOL_PER_EV
    assert sum(energies(system, positions)[0]) == pytest.approx(wanted, rel=1e-8)
    with pytest.raises(InputError, match="modelPath"):
        openmmml.MLPotential("mlff")
    with pytest.raises(InputError, match="devise"):
        openmmml.MLPotential("mlff", modelPath=str(path), devise="cpu")
    with pytest.raises(InputError, match="no option 'charg'; did you mean 'charge'"):
        openmmml.MLPotential("mlff", modelPath=str(path)).createSystem(topology, charg=1)


@pytest.mark.parametrize(
    ("atoms", "error", "message"),
    [
        ([0, 1, 2], UnsupportedError, "leaves the ML atoms"),
        ([], InputError, "no atoms"),
        ([0, 1, 2, 3, 99], InputError, "99"),
    ],
)
def test_a_choice_of_atoms_that_cannot_be_served_is_refused(atoms, error, message):
    topology, system, _ = peroxide_in_water(False, openmm.NonbondedForce.NoCutoff)
    with pytest.raises(error, match=message):
        create_mixed_system(topology, system, atoms, small_student())


def test_interpolation_with_torchforce_is_refused_before_it_crashes(tmp_path):
    openmmml = pytest.importorskip("openmmml")
    topology, system, _ = peroxide_in_water(False, openmm.NonbondedForce.NoCutoff)
    with pytest.raises(UnsupportedError, match="pythonforce"):
        create_mixed_system(topology, system, ML, small_student(), interpolate=True, backend="torchforce")
    potential = openmmml.MLPotential("mlff", modelPath=small_student())
    with pytest.raises(UnsupportedError, match="pythonforce"):
        potential.createMixedSystem(topology, system, ML, interpolate=True, backend="torchforce")


def test_a_force_that_cannot_be_split_and_a_foreign_topology_are_refused():
    topology, system, _ = peroxide_in_water(False, openmm.NonbondedForce.NoCutoff)
    system.addForce(openmm.GayBerneForce())
    with pytest.raises(UnsupportedError, match="GayBerneForce"):
        create_mixed_system(topology, system, ML, small_student())
    with pytest.raises(InputError, match="0 atoms"):
        create_mixed_system(app.Topology(), system, ML, small_student())
