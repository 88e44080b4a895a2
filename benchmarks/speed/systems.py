"""Structures and random students, shared by the benchmarks of speed."""

from __future__ import annotations

import numpy as np
import torch

from mlff_core.card import ModelCard
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.batch import AtomicBatch, concatenate, single


def molecule(n_atoms: int, seed: int = 0) -> AtomicBatch:
    """Return a cluster of H, C, N, O at the density of an organic molecule, no two atoms closer than 1 Å."""
    rng = np.random.default_rng(seed)
    points: list[np.ndarray] = []
    while len(points) < n_atoms:
        trial = rng.uniform(0, (n_atoms * 9.5) ** (1 / 3), 3)
        if all(np.linalg.norm(trial - point) > 1.0 for point in points):
            points.append(trial)
    return single(points, rng.choice([1, 6, 7, 8], n_atoms))


def water(n_molecules: int, seed: int = 0) -> AtomicBatch:
    """Return a periodic box of water at 1 g/cm³, with molecules on a randomized grid and rotated at random."""
    rng = np.random.default_rng(seed)
    length, k = (n_molecules * 29.9) ** (1 / 3), int(np.ceil(n_molecules ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(k)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n_molecules] * (length / k)
    points = []
    for oxygen in grid + rng.normal(0, 0.15, grid.shape):
        basis, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        bend = np.deg2rad(104.5)
        points += [
            oxygen,
            oxygen + 0.96 * basis[0],
            oxygen + 0.96 * (np.cos(bend) * basis[0] + np.sin(bend) * basis[1]),
        ]
    return single(points, [8, 1, 1] * n_molecules, np.eye(3) * length, True)


SYSTEMS = {
    "22 atoms": lambda: molecule(22),
    "49 atoms": lambda: molecule(49),
    "32 x 49 atoms": lambda: concatenate([molecule(49, seed) for seed in range(32)]),
    "water 504": lambda: water(168),
    "water 2001": lambda: water(667),
}


def random_student(config: PaiNNConfig, kernel: str) -> StudentPotential:
    """Return a student with random weights, the same for every kernel."""
    torch.manual_seed(0)
    card = ModelCard(name="random", elements=config.elements, cutoff=config.cutoff)
    return StudentPotential(PaiNN(config), card, kernel=kernel)
