"""Electrostatic embedding: energies against OpenMM's own Coulomb terms, forces, conservation, and refusals.

Over 300 lines, in one file because its tests share one system of two ML molecules in water.
"""

import copy

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.batch import single
from mlff_core.testing import charged_student, small_student
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.openmm import create_mixed_system
from mlff_plugins.openmm.mixed import LAMBDA

FORCE = openmm.NonbondedForce
METHODS = {
    "no cutoff": FORCE.NoCutoff,
    "cutoff": FORCE.CutoffNonPeriodic,
    "periodic cutoff": FORCE.CutoffPeriodic,
    "PME": FORCE.PME,
}
CUTOFF_NM = 0.8
BOX_NM = np.array([[2.0, 0, 0], [0.5, 1.9, 0], [-0.4, 0.6, 1.8]])
ML = [3, 4, 5, 6, 7, 8, 9]
"""Two molecules, H2O2 and water, after the first water."""


def solution(method):
    """Return (topology, System by a force field, positions in nm): water, H2O2, and four waters more."""
    peroxide = [[0, 0, 0], [1.45, 0, 0], [-0.3, 0.92, 0.1], [1.75, -0.3, 0.87]]
    water = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    molecules = [
        ("OHH", water, [0.3, 3.1, 0.5]),
        ("OOHH", peroxide, [0, 0, 0]),
        ("OHH", water, [-2.5, -1.0, -2.2]),
        ("OHH", water, [3.0, -3.0, 1.5]),
        ("OHH", water, [7.5, 0.5, 1.0]),
        ("OHH", water, [-4.0, 4.0, 2.5]),
    ]
    topology, system, positions = app.Topology(), openmm.System(), []
    chain = topology.addChain()
    stretch, bend, pairs = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), FORCE()
    bonded = []
    for symbols, places, offset in molecules:
        residue = topology.addResidue("X", chain)
        atoms = [topology.addAtom(s, app.Element.getBySymbol(s), residue) for s in symbols]
        start, peroxides = atoms[0].index, len(symbols) == 4
        for symbol in symbols:
            system.addParticle(16.0 if symbol == "O" else 1.0)
            charge = (-0.41 if peroxides else -0.82) if symbol == "O" else 0.41
            pairs.addParticle(charge, 0.31 if symbol == "O" else 0.12, 0.65 if symbol == "O" else 0.05)
        for i, j in [(0, 1), (0, 2), (1, 3)] if peroxides else [(0, 1), (0, 2)]:
            topology.addBond(atoms[i], atoms[j])
            stretch.addBond(start + i, start + j, 0.14 if (peroxides and (i, j) == (0, 1)) else 0.096, 4e5)
            bonded.append((start + i, start + j))
        if not peroxides:
            bend.addAngle(start + 1, start, start + 2, 1.82, 400)
        positions += (np.array(places) + offset).tolist()
    pairs.createExceptionsFromBonds(bonded, 0.8333, 0.5)
    pairs.setNonbondedMethod(method)
    pairs.setCutoffDistance(CUTOFF_NM)
    pairs.setEwaldErrorTolerance(1e-6)
    for force in (stretch, bend, pairs):
        system.addForce(force)
    if method in (FORCE.CutoffPeriodic, FORCE.PME):
        system.setDefaultPeriodicBoxVectors(*BOX_NM)
        topology.setPeriodicBoxVectors(BOX_NM * unit.nanometer)
    return topology, system, np.array(positions) / ANGSTROM_PER_NM + 0.8


def context_of(system, positions, share=None, step_ps=0.001):
    context = openmm.Context(system, openmm.VerletIntegrator(step_ps), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    if share is not None:
        context.setParameter(LAMBDA, share)
    return context


def evaluated(context, positions=None):
    """Return (energy, kJ/mol, forces, kJ/mol/nm)."""
    if positions is not None:
        context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def learned_charges(student, topology, positions, periodic):
    """Return the model's charges of the ML atoms, shifted so that each of the two molecules is neutral."""
    numbers = [atom.element.atomic_number for atom in topology.atoms()]
    batch = single(
        positions[ML] * ANGSTROM_PER_NM,
        [numbers[k] for k in ML],
        BOX_NM * ANGSTROM_PER_NM if periodic else None,
        periodic,
        dtype=torch.float64,
    )
    charges = student.predict(batch, want=("charges",)).charges.numpy()
    return np.concatenate([charges[:4] - charges[:4].mean(), charges[4:] - charges[4:].mean()])


@pytest.mark.parametrize("name", METHODS)
def test_the_coulomb_energy_is_that_of_a_nonbonded_force_with_the_models_charges(name):
    topology, system, positions = solution(METHODS[name])
    student = charged_student(dtype=torch.float64)
    found, forces = evaluated(context_of(embedded(topology, system, student), positions))
    mechanical, _ = evaluated(context_of(create_mixed_system(topology, system, ML, student), positions))
    other = copy.deepcopy(system)
    charges = learned_charges(student, topology, positions, other.usesPeriodicBoundaryConditions())
    assert np.abs(charges).max() > 0.2
    for atom, charge in zip(ML, charges, strict=True):
        _, *rest = other.getForce(2).getParticleParameters(atom)
        other.getForce(2).setParticleParameters(atom, charge, *rest)
    wanted, _ = evaluated(context_of(create_mixed_system(topology, other, ML, student), positions))
    assert abs(wanted - mechanical) > 1.0
    # Beyond the cutoff of 8 Å, the differences of two neutral molecules' charges are left out of the lattice sum.
    assert found == pytest.approx(wanted, abs=0.25 * abs(wanted - mechanical) if name == "PME" else 1e-6)
    # The lattice sum of PME lives on a grid, so its own forces do not sum to zero exactly.
    assert np.abs(forces.sum(axis=0)).max() < (0.02 if name == "PME" else 1e-6)


def embedded(topology, system, student, **given):
    return create_mixed_system(topology, system, ML, student, embedding="electrostatic", **given)


@pytest.mark.parametrize("share", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", METHODS)
def test_forces_on_all_atoms_are_the_derivative_of_the_energy(name, share):
    topology, system, positions = solution(METHODS[name])
    student = charged_student(dtype=torch.float64)
    context = context_of(embedded(topology, system, student, interpolate=share is not None), positions, share)
    _, forces = evaluated(context)
    # Through atoms of both ML molecules, of waters near and across the boundary.
    for atom, axis in ((3, 0), (5, 1), (7, 2), (9, 0), (0, 1), (11, 2), (13, 0), (17, 2)):
        energies = []
        for step in (1e-5, -1e-5):
            moved = positions.copy()
            moved[atom, axis] += step
            energies.append(evaluated(context, moved)[0])
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-5, rel=1e-5, abs=0.05)


@pytest.mark.parametrize("name", ["no cutoff", "PME"])
def test_lambda_leads_linearly_from_the_force_field_to_the_embedded_system(name):
    topology, system, positions = solution(METHODS[name])
    student = charged_student(dtype=torch.float64)
    mm, mm_forces = evaluated(context_of(system, positions))
    ml, ml_forces = evaluated(context_of(embedded(topology, system, student), positions))
    both = embedded(topology, system, student, interpolate=True)
    for share in (0.0, 0.5, 1.0):
        energy, forces = evaluated(context_of(both, positions, share))
        assert energy == pytest.approx((1 - share) * mm + share * ml, abs=2e-3)
        assert np.allclose(forces, (1 - share) * mm_forces + share * ml_forces, rtol=0, atol=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_without_charges_around_it_is_mechanical_embedding(name):
    topology, system, positions = solution(METHODS[name])
    pairs = system.getForce(2)
    for k in set(range(pairs.getNumParticles())) - set(ML):
        _, *rest = pairs.getParticleParameters(k)
        pairs.setParticleParameters(k, 0.0, *rest)
    student = charged_student(dtype=torch.float64)
    wanted, wanted_forces = evaluated(context_of(create_mixed_system(topology, system, ML, student), positions))
    found, forces = evaluated(context_of(embedded(topology, system, student), positions))
    assert found == pytest.approx(wanted, abs=1e-7)
    assert np.allclose(forces, wanted_forces, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["no cutoff", "PME"])
def test_dynamics_conserve_the_energy_as_the_time_step_goes_to_zero(name):
    topology, system, positions = solution(METHODS[name])
    mixed = embedded(topology, system, charged_student(dtype=torch.float64))
    spreads = []
    for step_ps, n_steps in ((0.0002, 100), (0.0001, 200)):
        context = context_of(mixed, positions, step_ps=step_ps)
        context.setVelocitiesToTemperature(300, 1)
        kinetic, totals = [], []
        for _ in range(20):
            context.getIntegrator().step(n_steps // 20)
            state = context.getState(energy=True)
            kinetic.append(state.getKineticEnergy()._value)
            totals.append(state.getPotentialEnergy()._value + kinetic[-1])
        spreads.append(np.ptp(totals))
    assert np.ptp(kinetic) > 20.0
    # Verlet's error is quadratic in the step; a force that is not the derivative leaves an error that is not.
    assert spreads[1] < 0.3 * spreads[0]
    assert spreads[1] < 0.02 * np.ptp(kinetic)


def test_openmm_ml_offers_the_embedding_and_gives_the_same_system():
    openmmml = pytest.importorskip("openmmml")
    topology, system, positions = solution(FORCE.PME)
    system.addConstraint(3, 5, 0.096)
    student = charged_student(dtype=torch.float64)
    potential = openmmml.MLPotential("mlff", modelPath=student)
    assert "mlff-electrostatic" in potential.getSupportedEmbeddings()
    for interpolate in (False, True):
        theirs = potential.createMixedSystem(
            topology, system, ML, embedding="mlff-electrostatic", interpolate=interpolate, forceGroup=7
        )
        assert theirs.getNumConstraints() == 0
        assert theirs.getForce(theirs.getNumForces() - 1).getForceGroup() == 7
        wanted = evaluated(context_of(embedded(topology, system, student, interpolate=interpolate), positions))
        found = evaluated(context_of(theirs, positions))
        assert found[0] == pytest.approx(wanted[0], abs=1e-8)
        assert np.allclose(found[1], wanted[1], rtol=0, atol=1e-6)
    info = potential.createMixedSystem(topology, system, ML, embedding="mlff-electrostatic", returnInfo=True)
    assert info["topology"] is topology
    with pytest.raises(InputError, match="charg"):
        potential.createMixedSystem(topology, system, ML, embedding="mlff-electrostatic", charg=1)
    bare = openmmml.MLPotential("mlff", modelPath=small_student())
    with pytest.raises(UnsupportedError, match="gives no charges"):
        bare.createMixedSystem(topology, system, ML, embedding="mlff-electrostatic")


def test_a_system_from_xml_has_the_same_energy():
    topology, system, positions = solution(FORCE.PME)
    mixed = embedded(topology, system, charged_student(dtype=torch.float64))
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(mixed))
    assert evaluated(context_of(again, positions))[0] == pytest.approx(
        evaluated(context_of(mixed, positions))[0], abs=1e-8
    )


def test_charges_on_virtual_sites_move_their_atoms():
    topology, system, positions = solution(FORCE.NoCutoff)
    # The charge of the oxygen of the first water moves to a site 0.15 Å towards the hydrogens.
    site = system.addParticle(0.0)
    system.setVirtualSite(site, openmm.ThreeParticleAverageSite(0, 1, 2, 0.74, 0.13, 0.13))
    pairs = system.getForce(2)
    pairs.setParticleParameters(0, 0.0, 0.31, 0.65)
    pairs.addParticle(-0.82, 0.1, 0.0)
    for k in range(3):
        pairs.addException(k, site, 0.0, 0.1, 0.0)
    topology.addAtom("M", None, topology.addResidue("M", topology.addChain()))
    positions = np.concatenate([positions, [[0.74, 0.13, 0.13] @ positions[:3]]])
    context = context_of(embedded(topology, system, charged_student(dtype=torch.float64)), positions)
    _, forces = evaluated(context)
    energies = []
    for step in (1e-5, -1e-5):
        moved = positions.copy()
        moved[1, 0] += step
        context.setPositions(moved)
        context.computeVirtualSites()
        energies.append(evaluated(context)[0])
    assert forces[1, 0] == pytest.approx(-(energies[0] - energies[1]) / 2e-5, rel=1e-5, abs=0.05)


def without(system):
    system.removeForce(2)


def with_another(system):
    system.addForce(copy.deepcopy(system.getForce(2)))


def with_parameters(system):
    system.getForce(2).addGlobalParameter("scale", 1.0)
    system.getForce(2).addParticleParameterOffset("scale", 0, 0.1, 0, 0)


def with_exception(system):
    system.getForce(2).addException(0, 3, 0.1, 0.3, 0.1)


def with_implicit_solvent(system):
    force = openmm.GBSAOBCForce()
    for _ in range(system.getNumParticles()):
        force.addParticle(0.0, 0.15, 0.8)
    system.addForce(force)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, "the System has 0"),
        (with_another, "the System has 2"),
        (with_parameters, "particle parameter offsets"),
        (with_exception, "exception for atoms 0 and 3"),
        (with_implicit_solvent, "implicit solvent"),
    ],
)
def test_a_force_field_that_cannot_be_read_is_refused(change, message):
    topology, system, _ = solution(FORCE.NoCutoff)
    change(system)
    with pytest.raises(UnsupportedError, match=message):
        embedded(topology, system, charged_student())


def test_charges_that_fit_no_molecule_are_refused():
    topology, system, _ = solution(FORCE.NoCutoff)
    with pytest.raises(InputError, match=r"the charge of the ML atoms is \+1 e"):
        embedded(topology, system, charged_student(), charge=1)
    system.getForce(2).setParticleParameters(8, 0.2, 0.3, 0.5)
    with pytest.raises(InputError, match=r"molecule with atom 7 add up to -0\.210 e"):
        embedded(topology, system, charged_student())


def test_models_and_options_that_cannot_be_embedded_are_refused():
    topology, system, _ = solution(FORCE.NoCutoff)
    with pytest.raises(UnsupportedError, match="gives no charges of atoms"):
        embedded(topology, system, small_student())
    with pytest.raises(UnsupportedError, match="backend='pythonforce'"):
        embedded(topology, system, charged_student(), backend="torchforce")
    with pytest.raises(InputError, match="embedding must be one of mechanical, electrostatic"):
        create_mixed_system(topology, system, ML, charged_student(), embedding="electric")
