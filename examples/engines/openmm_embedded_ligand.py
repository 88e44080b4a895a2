"""ML/MM of acetate in water with electrostatic embedding: python examples/engines/openmm_embedded_ligand.py MODEL.

MODEL is a student that gives charges. The force field has TIP3P water, and charges and Lennard-Jones terms of acetate
(OPLS-AA's); the bonded terms come from the model, so it needs none.
"""

import io
import sys

import numpy as np
import openmm
from openmm import app, unit

from mlff_core.structures.reading import read_structures
from mlff_plugins.openmm import atom_charges, create_mixed_system

ACETATE = """
<ForceField>
  <AtomTypes>
    <Type name="ac-CT" class="ac-CT" element="C" mass="12.011"/>
    <Type name="ac-C" class="ac-C" element="C" mass="12.011"/>
    <Type name="ac-O" class="ac-O" element="O" mass="15.999"/>
    <Type name="ac-H" class="ac-H" element="H" mass="1.008"/>
  </AtomTypes>
  <Residues>
    <Residue name="ACE">
      <Atom name="C0" type="ac-CT"/> <Atom name="C1" type="ac-C"/> <Atom name="O2" type="ac-O"/>
      <Atom name="O3" type="ac-O"/> <Atom name="H4" type="ac-H"/> <Atom name="H5" type="ac-H"/>
      <Atom name="H6" type="ac-H"/>
      <Bond atomName1="C0" atomName2="C1"/> <Bond atomName1="C1" atomName2="O2"/> <Bond atomName1="C1" atomName2="O3"/>
      <Bond atomName1="C0" atomName2="H4"/> <Bond atomName1="C0" atomName2="H5"/> <Bond atomName1="C0" atomName2="H6"/>
    </Residue>
  </Residues>
  <NonbondedForce coulomb14scale="0.833333" lj14scale="0.5">
    <Atom type="ac-CT" charge="-0.28" sigma="0.350" epsilon="0.276144"/>
    <Atom type="ac-C" charge="0.70" sigma="0.375" epsilon="0.43932"/>
    <Atom type="ac-O" charge="-0.80" sigma="0.296" epsilon="0.87864"/>
    <Atom type="ac-H" charge="0.06" sigma="0.250" epsilon="0.12552"/>
  </NonbondedForce>
</ForceField>
"""
BONDS = [(0, 1), (1, 2), (1, 3), (0, 4), (0, 5), (0, 6)]

(ligand,) = read_structures("CC(=O)[O-]")
topology = app.Topology()
residue = topology.addResidue("ACE", topology.addChain())
atoms = [topology.addAtom(f"{s}{k}", app.Element.getBySymbol(s), residue) for k, s in enumerate(ligand.symbols)]
for i, j in BONDS:
    topology.addBond(atoms[i], atoms[j])

force_field = app.ForceField("tip3p.xml", io.StringIO(ACETATE))
modeller = app.Modeller(topology, ligand.positions * unit.angstrom)
modeller.addSolvent(force_field, boxSize=openmm.Vec3(2, 2, 2) * unit.nanometer, neutralize=False)
mm_system = force_field.createSystem(
    modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer, rigidWater=True
)
ml_atoms = list(range(len(ligand)))
system = create_mixed_system(modeller.topology, mm_system, ml_atoms, sys.argv[1], embedding="electrostatic", charge=-1)
system.addForce(openmm.MonteCarloBarostat(1 * unit.bar, 300 * unit.kelvin))

integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 2 / unit.picosecond, 0.5 * unit.femtosecond)
simulation = app.Simulation(modeller.topology, system, integrator, openmm.Platform.getPlatformByName("CPU"))
simulation.context.setPositions(modeller.positions)
simulation.minimizeEnergy(maxIterations=100)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
for _ in range(4):
    simulation.step(25)
    charges = atom_charges(simulation.context, sys.argv[1], simulation.topology, atoms=ml_atoms, charge=-1)
    print(f"{simulation.context.getTime()}: charges {np.round(charges, 3)} e")
