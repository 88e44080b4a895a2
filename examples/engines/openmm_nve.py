"""NVE of a molecule in OpenMM, driven by a model: python examples/engines/openmm_nve.py MODEL."""

import sys

import openmm
from ase.build import molecule
from openmm import unit

from mlff_plugins.openmm import create_force

atoms = molecule("CH3CH2OH")
system = openmm.System()
for mass in atoms.get_masses():
    system.addParticle(mass)
system.addForce(create_force(sys.argv[1], atoms.numbers))

integrator = openmm.VerletIntegrator(0.25 * unit.femtosecond)
context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"))
context.setPositions(atoms.positions * unit.angstrom)
context.setVelocitiesToTemperature(100 * unit.kelvin, 1)
for _ in range(4):
    integrator.step(10)
    state = context.getState(energy=True)
    total = state.getPotentialEnergy() + state.getKineticEnergy()
    print(f"{state.getTime().in_units_of(unit.femtosecond)}: total energy {total}")
