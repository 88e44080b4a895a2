"""Shared by the scripts of the peers; imported in the peers' environments, which do not have this package."""

import os

import numpy as np
import torch
from ase import Atoms


def settle_torch():
    """Set torch's threads to those given to the process; denormal numbers become zero."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)


def structures_of(system):
    """Return the structures of a system at its first frame, and the atoms of each."""
    parts = [system.system_idx == k for k in range(len(system.cells))]
    structures = [
        Atoms(system.numbers[part], system.positions[0][part], cell=cell, pbc=pbc)
        for part, cell, pbc in zip(parts, system.cells, system.pbc, strict=True)
    ]
    return structures, parts


def calculator_steps(calculator, system):
    """Return steps with an ASE calculator, one structure after the other."""
    structures, parts = structures_of(system)

    def step(positions):
        energies, forces = [], []
        for atoms, part in zip(structures, parts, strict=True):
            atoms.set_positions(positions[part])
            calculator.calculate(atoms, ["energy", "forces"])
            energies.append(calculator.results["energy"])
            forces.append(calculator.results["forces"])
        return np.array(energies), np.concatenate(forces)

    return step
