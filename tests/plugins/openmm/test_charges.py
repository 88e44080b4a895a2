"""Charges of the atoms of a Context."""

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

from mlff_core.errors import UnsupportedError
from mlff_core.structures import examples
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import charged_student, small_student
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.openmm import atom_charges, create_force
from mlff_plugins.openmm.convert import reduced_box


def expected(potential, atoms):
    return potential.predict(batch_from_atoms(atoms, dtype=torch.float64), want=("charges",)).charges.numpy()


def moved(atoms, potential, particles=None, others=0):
    """Return a Context in which the atoms have moved, and the atoms where they are then."""
    system = openmm.System()
    for mass in [*atoms.get_masses(), *[16.0] * others]:
        system.addParticle(mass)
    rotation = np.eye(3)
    if atoms.pbc.all():
        box, rotation = reduced_box(atoms.cell)
        system.setDefaultPeriodicBoxVectors(*(box / ANGSTROM_PER_NM))
    numbers = [*atoms.numbers, *[8] * others]
    periodic = bool(atoms.pbc.all())
    system.addForce(create_force(potential, numbers, atoms=particles, backend="pythonforce", periodic=periodic))
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.5 * unit.femtosecond), platform)
    positions = np.concatenate([atoms.positions @ rotation, 50.0 + 3.0 * np.arange(3 * others).reshape(-1, 3)])
    context.setPositions(positions / ANGSTROM_PER_NM)
    context.setVelocitiesToTemperature(300, 1)
    context.getIntegrator().step(5)
    after = atoms.copy()
    now = context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    after.positions = now[: len(atoms)] @ rotation.T
    return context, after, numbers


@pytest.mark.parametrize("name", ["ethanol", "triclinic_crystal"])
def test_charges_are_those_of_the_model_at_the_present_positions(name):
    potential, atoms = charged_student(dtype=torch.float64), getattr(examples, name)()
    context, after, numbers = moved(atoms, potential)
    charges = atom_charges(context, potential, numbers, periodic=bool(atoms.pbc.all()))
    np.testing.assert_allclose(charges, expected(potential, after), atol=1e-10)
    assert np.abs(charges - expected(potential, atoms)).max() > 1e-5


def test_only_the_chosen_atoms_have_charges_and_see_one_another():
    potential, atoms = charged_student(dtype=torch.float64), examples.ethanol()
    particles = list(range(len(atoms)))
    context, after, numbers = moved(atoms, potential, particles, others=2)
    charges = atom_charges(context, potential, numbers, atoms=particles)
    np.testing.assert_allclose(charges, expected(potential, after), atol=1e-10)


def test_a_topology_gives_the_box_and_the_charge():
    potential, atoms = charged_student(dtype=torch.float64), examples.ethanol()
    topology = app.Topology()
    residue = topology.addResidue("ETH", topology.addChain())
    for symbol in atoms.symbols:
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
    context, after, _ = moved(atoms, potential)
    np.testing.assert_allclose(atom_charges(context, potential, topology), expected(potential, after), atol=1e-10)


def test_a_model_without_charges_is_refused():
    atoms, potential = examples.ethanol(), small_student(dtype=torch.float64)
    context, _, numbers = moved(atoms, potential)
    with pytest.raises(UnsupportedError, match="gives no charges of atoms; fit them"):
        atom_charges(context, potential, numbers)
