"""One step of GROMACS's NNPot with an exported file: python gromacs_nnpot.py nnp.pt STRUCTURE.

Needs torch and ASE only. STRUCTURE is any file that ASE reads, such as a .gro file.
"""

import sys

import ase.io
import torch

file, structure = sys.argv[1:]
module = torch.jit.load(file)
atoms = ase.io.read(structure)

positions = torch.tensor(atoms.positions / 10, dtype=torch.float32, requires_grad=True)  # nm
inputs = [positions, torch.tensor(atoms.numbers, dtype=torch.int32)]
if atoms.pbc.any():
    inputs += [torch.tensor(atoms.cell.array / 10, dtype=torch.float32), torch.tensor(atoms.pbc)]
energy = module(*inputs)
energy.backward()
print(f"{energy.item():.6f} kJ/mol, largest force {positions.grad.norm(dim=1).max().item():.4f} kJ/mol/nm")
