"""Energy and gradient of water through QCEngine: python qcengine_gradient.py MODEL."""

import sys

import qcengine
from qcelemental.models import Molecule

from mlff_plugins.qcengine import register

register()
water = Molecule.from_data("""
O 0.000 0.000  0.119
H 0.000 0.763 -0.477
H 0.000 -0.763 -0.477
""")
task = {"molecule": water, "driver": "gradient", "model": {"method": sys.argv[1]}, "keywords": {}}
result = qcengine.compute(task, "mlff", raise_error=True)
print(result.properties.return_energy, "hartree")
print(result.return_result, "hartree/bohr")
