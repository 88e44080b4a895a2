"""Any engine with an exported file only, here ASE: python exported_file.py onnx model.onnx."""

import sys
from pathlib import Path

from ase.build import molecule

from mlff_core.plugins.host import runtime
from mlff_plugins.ase import MLFFCalculator

name, file = sys.argv[1:]  # onnx model.onnx, torchscript model.ts or aoti model.pt2
atoms = molecule("CH3CH2OH")
atoms.calc = MLFFCalculator(runtime(name).open(Path(file)))
print(atoms.get_potential_energy(), "eV")
