"""Orb v3, conservative, at most 20 neighbours an atom, through its own ASE calculator; random weights."""

import os
import warnings
from importlib import metadata

import numpy as np
import torch
from ase import Atoms

warnings.simplefilter("ignore")

from orb_models.forcefield.atomic_system import SystemConfig
from orb_models.forcefield.calculator import ORBCalculator
from orb_models.forcefield.pretrained import orb_v3_conservative_architecture


def make_model():
    torch.manual_seed(0)
    settings = SystemConfig(radius=6.0, max_num_neighbors=20)
    return orb_v3_conservative_architecture(device="cpu", system_config=settings).eval().requires_grad_(False)


def prepare(system, arguments):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    calculator = ORBCalculator(make_model(), device="cpu")
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
    return {
        "model": f"Orb v3 conservative, {sum(p.numel() for p in make_model().parameters())} parameters, "
        "random weights, eager",
        "neighbours": "its ASE calculator's, every step; a batch is one structure after the other",
        "versions": {name: metadata.version(name) for name in ("orb-models", "torch", "numpy")},
    }
