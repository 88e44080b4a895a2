"""SO3LR through its own ASE calculator, with its own weights; its long-range terms reach 12 Å."""

import os
from importlib import metadata

import numpy as np
import torch
from ase import Atoms
from so3krates_torch.calculator.so3 import SO3LRCalculator


def prepare(system, arguments):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    calculator = SO3LRCalculator(default_dtype="float32")
    parts = [system.system_idx == k for k in range(len(system.cells))]
    structures = [
        Atoms(system.numbers[part], system.positions[0][part], cell=cell, pbc=pbc)
        for part, cell, pbc in zip(parts, system.cells, system.pbc, strict=True)
    ]

    def step(positions):
        energies, forces = [], []
        for atoms, part in zip(structures, parts, strict=True):
            atoms.set_positions(positions[part])
            calculator.calculate(atoms, ["energy", "forces"])
            energies.append(calculator.results["energy"])
            forces.append(calculator.results["forces"])
        return np.array(energies), np.concatenate(forces)

    return step


def describe(arguments):
    model = SO3LRCalculator(default_dtype="float32").models[0]
    return {
        "model": f"SO3LR, {sum(p.numel() for p in model.parameters())} parameters, its own weights",
        "neighbours": "its ASE calculator's (matscipy), every step; a batch is one structure after the other",
        "versions": {name: metadata.version(name) for name in ("so3krates-torch", "torch", "numpy", "matscipy")},
    }
