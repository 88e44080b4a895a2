"""Relaxation, MD, batches and second derivatives in ASE: python ase_calculator.py MODEL."""

import sys

from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from mlff_plugins.ase import MLFFCalculator

atoms = molecule("CH3CH2OH")
atoms.calc = MLFFCalculator(sys.argv[1])

BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
print(f"energy {atoms.get_potential_energy():.4f} eV")

dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
dynamics.run(100)
print(f"total energy after 100 steps {atoms.get_total_energy():.4f} eV")

# Many structures at once, in large batches.
frames = []
for k in range(8):
    frames.append(molecule("CH3CH2OH"))
    frames[-1].rattle(0.05, seed=k)
for result in atoms.calc.calculate_many(frames):
    print(f"{result['energy']:.4f} eV, largest force {abs(result['forces']).max():.3f} eV/Å")

# Second derivatives, shape (27, 27), eV/Å².
hessian = atoms.calc.get_hessian(atoms)
print(hessian.shape)
