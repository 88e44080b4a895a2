"""Potentials and structures whose thermodynamics are known."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from mlff_core.card import ModelCard
from mlff_core.dynamics import MDSettings
from mlff_core.model.derivatives import forces_from_edge_gradients, sum_over_systems, virial_from_edge_gradients
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import Potential
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction


class LennardJones(Potential):
    """4ε[(σ/r)¹² − (σ/r)⁶]·(1 − (r/r_c)²)³ for argon, in float64; ε = 0 is an ideal gas."""

    supports = frozenset({"energy", "forces", "stress"})
    uses_edges = True

    def __init__(self, epsilon=0.0104, sigma=3.4, cutoff=6.5):
        self.device, self.dtype = torch.device("cpu"), torch.float64
        self.card = ModelCard(name="lennard-jones", elements=(1, 18), cutoff=cutoff)
        self.epsilon, self.sigma = epsilon, sigma

    def predict_checked(self, batch, want, edges=None):
        if edges is None:
            edges = find_neighbors(batch, self.card.cutoff)
        vectors = edge_vectors(batch, edges)
        if self.epsilon:  # an ideal gas may overlap
            check_distances(batch, edges, vectors)
        r = vectors.norm(dim=1)
        s6, x = (self.sigma / r) ** 6, r / self.card.cutoff
        pair, envelope = 4 * self.epsilon * (s6 * s6 - s6), (1 - x * x) ** 3
        derivative = 4 * self.epsilon * (6 * s6 - 12 * s6 * s6) / r * envelope
        derivative = derivative - pair * 6 * x * (1 - x * x) ** 2 / self.card.cutoff
        gradients = (0.5 * derivative / r)[:, None] * vectors
        atom = torch.zeros(batch.n_atoms, dtype=torch.float64).index_add(0, edges.centers, 0.5 * pair * envelope)
        stress = None
        if "stress" in want:
            virial = virial_from_edge_gradients(vectors, gradients, edges.centers, batch.system_idx, batch.n_systems)
            stress = -virial / torch.linalg.det(batch.cell).abs()[:, None, None]
        return Prediction(
            energy=sum_over_systems(atom, batch.system_idx, batch.n_systems),
            forces=forces_from_edge_gradients(gradients, edges.centers, edges.neighbors, batch.n_atoms),
            stress=stress,
        )


class IdealGas(LennardJones):
    """No forces at all."""

    uses_edges = False

    def __init__(self):
        super().__init__()

    def predict_checked(self, batch, want, edges=None):
        zero = torch.zeros(batch.n_atoms, 3, dtype=torch.float64)
        stress = torch.zeros(1, 3, 3, dtype=torch.float64) if "stress" in want else None
        return Prediction(energy=torch.zeros(1, dtype=torch.float64), forces=zero, stress=stress)


@pytest.fixture(scope="session")
def argon():
    return LennardJones()


@pytest.fixture(scope="session")
def ideal_gas():
    return IdealGas()


@pytest.fixture
def crystal() -> Atoms:
    """32 atoms of solid argon, a little off their sites."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    atoms.positions += np.random.default_rng(1).normal(scale=0.05, size=atoms.positions.shape)
    return atoms


@pytest.fixture
def cluster() -> Atoms:
    """13 argon atoms in vacuum."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    distances = np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1)
    cluster = atoms[np.argsort(distances)[:13]]
    cluster.pbc = False
    cluster.cell = np.zeros((3, 3))
    return cluster


@pytest.fixture(scope="session")
def settings():
    """Return a function that makes the settings of a short run."""

    def make(ensemble="nve", **changes):
        values = {
            "n_steps": 20,
            "timestep_fs": 5.0,
            "temperature_kelvin": 40.0,
            "log_every": 5,
            "frame_every": 10,
            "checkpoint_every": 10,
        }
        return MDSettings(ensemble, **{**values, **changes})

    return make


@pytest.fixture(scope="session")
def rows():
    """Return a function that reads the log of a run."""

    def read(folder):
        with (folder / "log.csv").open(newline="") as stream:
            return list(csv.DictReader(stream))

    return read
