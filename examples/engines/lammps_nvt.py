"""A periodic structure at 300 K in LAMMPS, driven by a model: python lammps_nvt.py MODEL STRUCTURE."""

import sys
import tempfile
from pathlib import Path

import ase.io

from mlff_plugins.lammps import attach, open_lammps

model, structure = sys.argv[1:]
atoms = ase.io.read(structure)
species = sorted(set(atoms.symbols))

lmp = open_lammps(["-screen", "none", "-log", "none"])
with tempfile.TemporaryDirectory() as folder:
    data = Path(folder) / "start.data"
    ase.io.write(data, atoms, format="lammps-data", masses=True, specorder=species)
    lmp.commands_list(["units metal", "atom_style atomic", f"read_data {data}"])
lmp.commands_list(["pair_style zero 1.0 nocoeff", "pair_coeff * *", "neigh_modify every 1 delay 0 check yes"])

attach(lmp, model, species)

lmp.commands_list(["minimize 0.0 1.0e-3 200 400", "velocity all create 300 1", "timestep 0.0005"])
lmp.commands_list(["fix move all nvt temp 300 300 0.05", "run 50"])
print(f"{lmp.get_thermo('temp'):.0f} K, {lmp.get_thermo('pe'):.4f} eV, {lmp.get_thermo('press'):.0f} bar")
lmp.close()
