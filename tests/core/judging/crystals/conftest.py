"""A potential of bonds between nearest neighbours: every property of its crystals is known in closed form."""

from collections.abc import Collection

import pytest
import torch
from ase.data import atomic_numbers

from mlff_core.card import ModelCard
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial


class Bonds(Potential):
    """−depth + ½ k (r − length)² for each pair that is nearer than 1.09 lengths.

    Second neighbours are at 1.41 lengths in the face-centred and at 1.15 in the body-centred crystal, so bonds are at
    their minimum in every crystal, slab and around every vacancy.
    """

    supports = frozenset({"energy", "forces", "stress"})

    def __init__(self, depth=0.3, k=2.0, length=2.55, elements=("Cu",)):
        self.depth, self.k, self.length = depth, k, length
        self.card = ModelCard(
            name="bonds",
            elements=tuple(atomic_numbers[e] for e in elements),
            cutoff=1.09 * length,
            architecture="bonds",
        )
        self.device, self.dtype = torch.device("cpu"), torch.float64

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        edges = find_neighbors(batch, self.card.cutoff)
        vectors = edge_vectors(batch, edges)
        r = vectors.norm(dim=1)
        owner = batch.system_idx[edges.centers]
        energy = torch.zeros(batch.n_systems, dtype=r.dtype)
        energy.index_add_(0, owner, 0.5 * (-self.depth + 0.5 * self.k * (r - self.length) ** 2))
        pull = (self.k * (r - self.length) / r)[:, None] * vectors
        forces = torch.zeros_like(batch.positions).index_add(0, edges.centers, pull)
        virial = torch.zeros(batch.n_systems, 3, 3, dtype=r.dtype)
        virial.index_add_(0, owner, -0.5 * pull[:, :, None] * vectors[:, None, :])
        return Prediction(energy=energy, forces=forces, stress=stress_from_virial(virial, batch.cell))


@pytest.fixture(name="bonds")
def fixture_bonds():
    return Bonds()


@pytest.fixture(name="bonds_of")
def fixture_bonds_of():
    return Bonds
