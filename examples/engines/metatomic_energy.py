"""An exported file through metatomic's own ASE calculator: python metatomic_energy.py student.pt."""

import sys

from ase.build import molecule
from metatomic_ase import MetatomicCalculator

atoms = molecule("CH3CH2OH")
atoms.calc = MetatomicCalculator(sys.argv[1])
print(atoms.get_potential_energy(), "eV")
print(abs(atoms.get_forces()).max(), "eV/Å")
